"""Weights on disk: safetensors only, written atomically, loaded strictly."""

import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from story_model.manifest import publish, write_atomically
from story_model.tensor_files import DTYPES, TensorInfo


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors so that a kill at any moment leaves the old file or the new one."""
    write_atomically(path, save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        ValueError: the file is absent or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"no weights at {path}; run the step that trains them first") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete its folder and run the step again") from None


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all parameters and buffers of a module."""
    save_tensors(module.state_dict(), path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from a file that holds exactly its parameters and buffers.

    Raises:
        ValueError: names or shapes differ; the message names the first ones.
    """
    ours, theirs = module.state_dict(), load_tensors(path)
    missing, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    wrong = [name for name in ours.keys() & theirs.keys() if ours[name].shape != theirs[name].shape]
    if missing or unknown or wrong:
        raise ValueError(
            f"{path} does not fit the configured network: missing {missing[:3]}, unknown {unknown[:3]}, "
            f"of another shape {sorted(wrong)[:3]}; it was made with another configuration"
        )
    module.load_state_dict(theirs)


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
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with (
            temporary.open("wb") as file,
            tqdm(total=layout.size, unit="B", unit_scale=True, desc=path.parent.name) as bar,
        ):
            file.write(layout.header)
            for name, tensor in tensors:
                values = tensor.to(infos[name].dtype).contiguous().reshape(-1).view(torch.uint8)
                file.seek(layout.offsets[name])
                file.write(values.numpy().data)
                missing.remove(name)
                bar.update(len(values))
            file.flush()
            os.fsync(file.fileno())
        assert not missing, f"tensors never written: {sorted(missing)[:3]}"
        publish(temporary, path)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error}); free some space and run the same command again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
