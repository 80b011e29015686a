"""Files of named tensors, read one tensor at a time.

Safetensors and PyTorch's zip files, single or in shards, and none of them is trusted: a pickle may hold tensors and
nothing else, an index may name files of its own folder only. Nothing is read beyond names and shapes until asked for,
and no file is mapped: the largest published one exceeds many machines' memory.
"""

import json
import pickle
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

SAFETENSORS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth")
INDEXES = (
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
)

_MAX_PICKLE_BYTES = 64 << 20
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""Types that weights may have, by the names of the safetensors format."""
_NAMES = {name: dtype for dtype, name in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """What a file says about one tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Size in memory."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class TensorFile(Protocol):
    """Named floating-point tensors on disk."""

    path: Path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Names, shapes and types, without reading a value."""
        ...

    def read(self, name: str) -> Tensor:
        """Read one tensor."""
        ...


@dataclass(frozen=True)
class _Span:
    """Where a tensor's values lie in a file, and how they are to be read."""

    info: TensorInfo
    start: int
    """First byte."""
    num_bytes: int
    strides: tuple[int, ...] | None = None
    """In elements; none: one after the other."""
    first: int = 0
    """Element of the span that the tensor begins with."""

    def read(self, path: Path) -> Tensor:
        """Read into memory of its own: files larger than memory cannot be mapped everywhere."""
        values = torch.from_numpy(np.fromfile(path, np.uint8, self.num_bytes, offset=self.start)).view(self.info.dtype)
        if self.strides is None:
            return values.reshape(self.info.shape)
        return values.as_strided(self.info.shape, self.strides, self.first)


class _SpannedFile(ABC):
    """A file whose tensors lie in it uncompressed."""

    def __init__(self, path: Path) -> None:
        """Take a path; what the file holds is looked up on first use."""
        self.path = path

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Names, shapes and types."""
        return {name: span.info for name, span in self._spans.items()}

    def read(self, name: str) -> Tensor:
        """Read one tensor."""
        return self._spans[name].read(self.path)

    @cached_property
    def _spans(self) -> dict[str, _Span]:
        size = self.path.stat().st_size
        spans = self._look()
        for name, span in spans.items():
            if span.start + span.num_bytes > size:
                raise ValueError(f"{self.path} ends before the values of {name}; {_AGAIN}")
        return spans

    @abstractmethod
    def _look(self) -> dict[str, _Span]: ...


class SafetensorsFile(_SpannedFile):
    """One safetensors file."""

    def _look(self) -> dict[str, _Span]:
        try:
            with safe_open(self.path, "np"):  # the library checks that the header is sound
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.path} is damaged or no safetensors file ({error}); {_AGAIN}") from None
        with self.path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        spans = {}
        for name, entry in header.items():
            if entry["dtype"] not in _NAMES:
                raise ValueError(f"{self.path}: {name} is {entry['dtype']}, not a float tensor; {_ANOTHER_FILE}")
            start, end = entry["data_offsets"]
            info = TensorInfo(tuple(entry["shape"]), _NAMES[entry["dtype"]])
            spans[name] = _Span(info, 8 + length + start, end - start)
        return spans


class PickleFile(_SpannedFile):
    """One file of `torch.save`, opened with tensors alone allowed; its values are read when asked for."""

    def _look(self) -> dict[str, _Span]:
        self._refuse_bombs()
        try:
            # Fake tensors have no values, but know where in the file theirs lie.
            with FakeTensorMode():
                found = torch.load(self.path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{self.path} holds something besides tensors ({_reason(error)}); {_NOT_LOADED}") from None
        except (RuntimeError, EOFError, OSError) as error:
            raise ValueError(f"{self.path} is damaged ({_reason(error)}); {_AGAIN}") from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise ValueError(f"{self.path} holds no named tensors; {_ANOTHER_FILE}")
        return {name: self._span(name, value) for name, value in found.items()}

    def _span(self, name: str, value: object) -> _Span:
        if not isinstance(value, Tensor):
            raise ValueError(f"{self.path} holds something besides tensors ({name!r}); {_NOT_LOADED}")
        if value.dtype not in DTYPES:
            raise ValueError(f"{self.path}: {name} is {value.dtype}, not a float tensor; {_ANOTHER_FILE}")
        storage = value.untyped_storage()
        start = storage._checkpoint_offset
        assert start is not None, "a fake tensor that was not read from a file"
        info = TensorInfo(tuple(value.shape), value.dtype)
        return _Span(info, start, storage.nbytes(), value.stride(), int(value.storage_offset()))

    def _refuse_bombs(self) -> None:
        """Check before anything is unpacked: `torch.save` compresses nothing, and its pickle is small."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{self.path} is damaged or no PyTorch file ({error}); {_AGAIN}") from None
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{self.path}: {entry.filename} is compressed, as PyTorch never writes; {_NOT_LOADED}")
            if entry.filename.endswith(".pkl") and entry.file_size > _MAX_PICKLE_BYTES:
                raise ValueError(f"{self.path}: a pickle of {entry.file_size >> 20} MB; {_NOT_LOADED}")


class ShardedFile:
    """Several files behind one index, as Hugging Face writes large networks."""

    def __init__(self, path: Path) -> None:
        """Take the index's path."""
        self.path = path

    @cached_property
    def shards(self) -> list[TensorFile]:
        """The files, each once."""
        return [self._shard(name) for name in sorted(set(self._places.values()))]

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Names, shapes and types."""
        found = {}
        by_name = {shard.path.name: shard for shard in self.shards}
        for name, place in self._places.items():
            if name not in by_name[place].tensors:
                raise ValueError(f"{by_name[place].path} lacks {name}, which {self.path.name} says it holds; {_AGAIN}")
            found[name] = by_name[place].tensors[name]
        return found

    def read(self, name: str) -> Tensor:
        """Read one tensor; its file is not kept open, so that a shard's pages can go."""
        return self._shard(self._places[name]).read(name)

    @cached_property
    def _places(self) -> dict[str, str]:
        try:
            places = json.loads(self.path.read_text())["weight_map"]
            if not all(isinstance(name, str) and Path(name).name == name for name in places.values()):
                raise ValueError(f"{self.path} names a file outside its folder; it is not followed")
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, OSError) as error:
            raise ValueError(f"{self.path} is no index of weights ({_reason(error)}); {_AGAIN}") from None
        return dict(places)

    def _shard(self, name: str) -> TensorFile:
        path = self.path.parent / name
        if not path.is_file():
            raise ValueError(f"{path} is missing, which {self.path.name} names; {_AGAIN}")
        return open_tensors(path)


_AGAIN = "download it again"
_ANOTHER_FILE = "is it the right file?"
_NOT_LOADED = "it is not loaded"


def open_tensors(path: Path) -> TensorFile:
    """Open a file of tensors, an index of shards, or a folder that holds either.

    Raises:
        ValueError: there is none. Reading raises it too, where a file is damaged or holds anything else.
    """
    if path.is_dir():
        found = [path / name for name in INDEXES if (path / name).is_file()]
        found += [file for file in sorted(path.iterdir()) if file.suffix in (SAFETENSORS, *PICKLES)]
        if not found:
            raise ValueError(f"{path} holds no weights (*.safetensors, *.bin)")
        return open_tensors(found[0])
    if path.name in INDEXES:
        return ShardedFile(path)
    if path.suffix == SAFETENSORS:
        return SafetensorsFile(path)
    if path.suffix in PICKLES:
        return PickleFile(path)
    raise ValueError(f"{path} is no file of weights (*.safetensors, *.bin, *.pt)")


def is_finite(tensor: Tensor) -> bool:
    """Tell whether no value is NaN or infinite; takes no memory of the tensor's size."""
    return tensor.numel() == 0 or all(bool(torch.isfinite(extreme)) for extreme in tensor.aminmax())


def _reason(error: BaseException) -> str:
    """Give the first line of a message, which is all that a person needs of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
