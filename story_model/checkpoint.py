"""Weights on disk: safetensors only, written atomically, loaded strictly."""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from story_model.manifest import publish, write_atomically
from story_model.tensor_files import DTYPES, SafetensorsFile, TensorInfo


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors so that a kill at any moment leaves the old file or the new one."""
    write_atomically(path, save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        ValueError: the file is absent or damaged.
    """
    with _explained(path):
        return load_file(path)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all parameters and buffers of a module."""
    save_tensors(module.state_dict(), path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from a file that holds exactly its parameters and buffers.

    Raises:
        ValueError: names or shapes differ; the message names the first ones.
    """
    theirs = load_tensors(path)
    _check_fit(module, {name: tensor.shape for name, tensor in theirs.items()}, path)
    module.load_state_dict(theirs)


def assign_weights(module: nn.Module, path: Path, *, device: torch.device, dtype: torch.dtype) -> None:
    """Give a module whose parameters have no memory yet those of a file, wherever and however precise they shall be.

    Values are read one tensor at a time: what is held meanwhile is the module and the largest tensor of the file.
    Buffers that no file holds (of rotary positions, say) keep the precision that they were built in.

    Raises:
        ValueError: as `load_weights`; nothing was read then.
    """
    with _explained(path), safe_open(path, "pt"):  # the library checks that the header is sound
        file = SafetensorsFile(path)
    _check_fit(module, {name: info.shape for name, info in file.tensors.items()}, path)
    # Copied in any case: torch's own memory is aligned, and what it computes from there equal from run to run.
    tensors = {name: file.read(name).to(device, dtype, copy=True) for name in file.tensors}
    module.load_state_dict(tensors, assign=True)
    module.to(device)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say what to do about a file that is not there or damaged."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"no weights at {path}; run the step that trains them first") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete its folder and run the step again") from None


def _check_fit(module: nn.Module, theirs: Mapping[str, Sequence[int]], path: Path) -> None:
    """Refuse a file whose names or shapes are not exactly the module's."""
    ours = module.state_dict()
    missing, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    wrong = [name for name in ours.keys() & theirs.keys() if tuple(ours[name].shape) != tuple(theirs[name])]
    if missing or unknown or wrong:
        raise ValueError(
            f"{path} does not fit the configured network: missing {missing[:3]}, unknown {unknown[:3]}, "
            f"of another shape {sorted(wrong)[:3]}; it was made with another configuration"
        )


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a safetensors file lies."""

    header: bytes
    """All that comes before the values."""
    offsets: dict[str, int]
    """Of a tensor's first byte in the file."""
    size: int
    """Of the whole file, in bytes."""


def layout_of(infos: Mapping[str, TensorInfo]) -> Layout:
    """Lay tensors out in a safetensors file, by name."""
    entries: dict[str, object] = {}
    starts, end = {}, 0
    for name, info in sorted(infos.items()):
        starts[name] = end
        end += info.num_bytes
        entries[name] = {"dtype": DTYPES[info.dtype], "shape": info.shape, "data_offsets": (starts[name], end)}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return Layout(header, {name: len(header) + start for name, start in starts.items()}, len(header) + end)


def write_tensors(path: Path, infos: Mapping[str, TensorInfo], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a safetensors file from tensors that come one at a time, in any order; published when it is whole.

    Raises:
        ValueError: the disk is full, or will not take the file for another reason.
    """
    layout = layout_of(infos)
    missing = set(infos)
    bar = tqdm(total=layout.size, unit="B", unit_scale=True, desc=path.parent.name)
    with written_whole(path) as file, bar:
        file.write(layout.header)
        for name, tensor in tensors:
            values = tensor.to(infos[name].dtype).contiguous().reshape(-1).view(torch.uint8)
            file.seek(layout.offsets[name])
            file.write(values.numpy().data)
            missing.remove(name)
            bar.update(len(values))
        assert not missing, f"tensors never written: {sorted(missing)[:3]}"


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that is published under its name when all of it is there; else nothing is left.

    Raises:
        ValueError: the disk is full, or will not take the file for another reason.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error}); free some space and run the same command again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
