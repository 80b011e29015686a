"""Tensors -> a file of `torch.save`, one tensor at a time: `torch.save` itself wants all of them in memory.

The format is a zip archive, nothing in it compressed: a pickle that names the tensors, and a record for the values of
each. Values begin at multiples of 64 bytes, so that the file can be mapped.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from tqdm import tqdm

from story_model.checkpoint import written_whole
from story_model.tensor_files import TensorInfo

_STORAGES = {
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
}
_ALIGNMENT = 64
_LOCAL_HEADER, _ZIP64_EXTRA, _EXTRA_HEADER = 30, 20, 4
"""Bytes of a record's header before its name, of the sizes that zip64 adds, and before any other addition."""
_VERSION = b"3\n"


def write_pickle(path: Path, infos: Mapping[str, TensorInfo], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write tensors, which come in the order of `infos`; published when the file is whole.

    Raises:
        ValueError: the disk is full, or will not take the file for another reason.
    """
    with written_whole(path) as file:
        _write_archive(file, path.stem, infos, tensors)


def _write_archive(
    file: BinaryIO, name: str, infos: Mapping[str, TensorInfo], tensors: Iterable[tuple[str, Tensor]]
) -> None:
    total = sum(info.num_bytes for info in infos.values())
    with zipfile.ZipFile(file, "w") as archive, tqdm(total=total, unit="B", unit_scale=True, desc=name) as bar:
        _write_record(archive, file, f"{name}/data.pkl", memoryview(_names_of(infos)))
        _write_record(archive, file, f"{name}/byteorder", memoryview(b"little"))
        for number, (wanted, (given, tensor)) in enumerate(zip(infos, tensors, strict=True)):
            assert wanted == given, f"{given} came in the place of {wanted}"
            values = tensor.to(infos[wanted].dtype).contiguous().reshape(-1).view(torch.uint8).numpy()
            _write_record(archive, file, f"{name}/data/{number}", values.data)
            bar.update(len(values))
        _write_record(archive, file, f"{name}/version", memoryview(_VERSION))


def _write_record(archive: zipfile.ZipFile, file: BinaryIO, name: str, data: memoryview) -> None:
    record = zipfile.ZipInfo(name)
    before = file.tell() + _LOCAL_HEADER + len(name) + _ZIP64_EXTRA + _EXTRA_HEADER
    padding = -before % _ALIGNMENT
    record.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(record, "w", force_zip64=True) as out:
        out.write(data)


@dataclass(frozen=True)
class _Storage:
    """Stands in the pickle for a record of values."""

    number: int
    info: TensorInfo


class _Named:
    """Pickles as a tensor over a record of values."""

    def __init__(self, storage: _Storage) -> None:
        self.storage = storage

    def __reduce__(self) -> tuple[Callable[..., Tensor], tuple[object, ...]]:
        shape = self.storage.info.shape
        strides = torch.empty(shape, device="meta").stride()
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, shape, strides, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, found: Any) -> tuple[object, ...] | None:  # noqa: ANN401 - pickle's own
        if not isinstance(found, _Storage):
            return None
        number_of_values = found.info.num_bytes // found.info.dtype.itemsize
        return "storage", _STORAGES[found.info.dtype], str(found.number), "cpu", number_of_values


def _names_of(infos: Mapping[str, TensorInfo]) -> bytes:
    """Pickle the dictionary of tensors, their values apart."""
    out = io.BytesIO()
    _Pickler(out, protocol=2).dump({name: _Named(_Storage(at, info)) for at, (name, info) in enumerate(infos.items())})
    return out.getvalue()
