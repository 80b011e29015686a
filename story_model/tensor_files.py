"""Files of named tensors, read one tensor at a time and written one tensor at a time.

Reads safetensors and PyTorch's zip files, single or in shards, and trusts none of them: a pickle may hold tensors and
nothing else, an index may name files of its own folder only. Nothing is read beyond names and shapes until asked for.
"""

import json
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from story_model.manifest import publish

SAFETENSORS = ".safetensors"
PICKLES = (".bin", ".pt", ".pth")
INDEXES = (
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin.index.json",
)

_MAX_PICKLE_BYTES = 64 << 20
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_NAMES = {name: dtype for dtype, name in _DTYPES.items()}


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


class SafetensorsFile:
    """One safetensors file."""

    def __init__(self, path: Path) -> None:
        """Open a file; what it holds is looked up on first use."""
        self.path = path

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Names, shapes and types."""
        found = {}
        with self._open() as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                part = file.get_slice(name)
                if part.get_dtype() not in _NAMES:
                    raise ValueError(f"{self.path}: {name} is {part.get_dtype()}, not a float tensor; {_ANOTHER_FILE}")
                found[name] = TensorInfo(tuple(part.get_shape()), _NAMES[part.get_dtype()])
        return found

    def read(self, name: str) -> Tensor:
        """Read one tensor."""
        with self._open() as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def _open(self) -> safe_open:
        try:
            return safe_open(self.path, "pt")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{self.path} is damaged or no safetensors file ({error}); {_AGAIN}") from None


class PickleFile:
    """One file of `torch.save`: opened with tensors alone allowed, its values mapped into memory, not loaded."""

    def __init__(self, path: Path) -> None:
        """Open a file; what it holds is looked up on first use."""
        self.path = path

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Names, shapes and types."""
        for name, tensor in self._mapped.items():
            if tensor.dtype not in _DTYPES:
                raise ValueError(f"{self.path}: {name} is {tensor.dtype}, not a float tensor; {_ANOTHER_FILE}")
        return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in self._mapped.items()}

    def read(self, name: str) -> Tensor:
        """Read one tensor."""
        return self._mapped[name]

    @cached_property
    def _mapped(self) -> dict[str, Tensor]:
        self._refuse_bombs()
        try:
            found = torch.load(self.path, map_location="cpu", mmap=True, weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{self.path} holds something besides tensors ({_reason(error)}); it is not loaded"
            ) from None
        except (RuntimeError, EOFError, OSError) as error:
            raise ValueError(f"{self.path} is damaged ({_reason(error)}); {_AGAIN}") from None
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise ValueError(f"{self.path} holds no named tensors; {_ANOTHER_FILE}")
        others = [name for name, value in found.items() if not isinstance(value, Tensor)]
        if others:
            raise ValueError(f"{self.path} holds something besides tensors ({others[0]!r}); it is not loaded")
        return dict(found)

    def _refuse_bombs(self) -> None:
        """Check before anything is unpacked: `torch.save` compresses nothing, and its pickle is small."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{self.path} is damaged or no PyTorch file ({error}); {_AGAIN}") from None
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"{self.path}: {entry.filename} is compressed, as PyTorch never writes; it is not loaded"
                )
            if entry.filename.endswith(".pkl") and entry.file_size > _MAX_PICKLE_BYTES:
                raise ValueError(f"{self.path}: a pickle of {entry.file_size >> 20} MB; it is not loaded")


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


def write_tensors(path: Path, infos: Mapping[str, TensorInfo], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a safetensors file from tensors that come one at a time, in any order; published when it is whole."""
    header: dict[str, object] = {}
    offsets, end = {}, 0
    for name, info in sorted(infos.items()):
        offsets[name] = end
        end += info.num_bytes
        span = [offsets[name], end]
        header[name] = {"dtype": _DTYPES[info.dtype], "shape": list(info.shape), "data_offsets": span}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file, tqdm(total=end, unit="B", unit_scale=True, desc=path.parent.name) as bar:
            file.write(struct.pack("<Q", len(head)) + head)
            file.truncate(8 + len(head) + end)
            for name, tensor in tensors:
                file.seek(8 + len(head) + offsets.pop(name))
                plain = tensor.to(infos[name].dtype).contiguous().reshape(-1)
                file.write(plain.view(torch.uint8).numpy().data)
                bar.update(infos[name].num_bytes)
        assert not offsets, f"tensors never written: {sorted(offsets)[:3]}"
        publish(temporary, path)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error}); free some space and run the same command again"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """Give the first line of a message, which is all that a person needs of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
