"""The processes that train one part together: who we are among them, and what all of them have to agree on.

`torchrun` starts them; without it there is one. Every process runs the same code on its own share of each batch; the
first one alone writes.
"""

import faulthandler
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType

import torch
from torch import Tensor, distributed

_BUCKET = 1 << 25
"""Numbers that are sent at once."""


@dataclass(frozen=True)
class Processes:
    """Us among `count` processes."""

    device: torch.device
    rank: int = 0
    count: int = 1
    _stop: list[bool] = field(default_factory=lambda: [False])

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """What the driver calls our device."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether SIGTERM has come, while it was noted."""
        return self._stop[0]

    @contextmanager
    def noting_sigterm(self) -> Iterator[None]:
        """Have SIGTERM noted, not obeyed, for as long as there is something to be saved first."""

        def note(_: int, __: FrameType | None) -> None:
            self._stop[0] = True

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over all processes."""
        if self.count == 1:
            return list(values)
        # Metal and some others know no float64; CPU and CUDA do.
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, many small ones at once."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket]) / self.count
            distributed.all_reduce(flat)
            for tensor, mean in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def any(self, ours: bool) -> bool:
        """Tell whether something holds for one of the processes."""
        return self.sum([float(ours)])[0] > 0

    def all_hear(self, message: bool) -> bool:
        """Tell every process what the first one says."""
        if self.count == 1:
            return message
        said = torch.tensor([message], dtype=torch.int32, device=self.device)
        distributed.broadcast(said, 0)
        return bool(said.item())


@contextmanager
def joined(device: torch.device, *, timeout_s: float) -> Iterator[Processes]:
    """Join the processes that torchrun started with this one, which may be the only one."""
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if is_cuda else "gloo", timeout=timedelta(seconds=timeout_s))
    try:
        yield Processes(device, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


@contextmanager
def watched(timeout_s: float) -> Iterator["Watch"]:
    """Have the process write where it stands and end when `timeout_s` pass without a sign of life."""
    watch = Watch(timeout_s)
    watch.sign_of_life()
    try:
        yield watch
    finally:
        faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True)
class Watch:
    """Waits for signs of life; a process that stalls would let all others wait with it."""

    timeout_s: float

    def sign_of_life(self) -> None:
        """Start waiting anew."""
        faulthandler.dump_traceback_later(self.timeout_s, exit=True)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(held.numel() for held in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
