"""Files of the feature store: rows of tensors by key in a safetensors file, and a note of its keys beside it.

Rows are written as they come and read one by one where they lie: at the published size a file has 512 rows of 2 MB, of
which a batch wants ten. The note is written last, so a file without one is the rest of a killed run. Letters: N rows.
"""

import json
import logging
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from story_model.manifest import publish, sha256_of, write_atomically
from story_model.tensor_files import DTYPES, SAFETENSORS, TensorInfo
from training.rows import Fields, quantised, scales_of, tensors_of

log = logging.getLogger(__name__)

NOTE = ".json"
_DIGITS = 5
_NUMBER = "[0-9]" * _DIGITS
_NAMES = DTYPES | {torch.int8: "I8"}
_MOST_BYTES = 1 << 30
"""Of one read; the operating system takes no more than twice that."""


class ShardNote(BaseModel):
    """What is known of a finished file."""

    keys: list[str]
    """Of its rows, in order."""
    capacity: int
    """Rows that it was laid out for; those beyond the keys hold nothing."""
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Layout:
    """Where each tensor of a file begins."""

    header: bytes
    starts: Mapping[str, int]
    size: int


def _layout(fields: Fields, capacity: int) -> _Layout:
    entries: dict[str, object] = {}
    starts, end = {}, 0
    for name, info in sorted(tensors_of(fields).items()):
        starts[name] = end
        end += capacity * info.num_bytes
        shape = (capacity, *info.shape)
        entries[name] = {"dtype": _NAMES[info.dtype], "shape": shape, "data_offsets": (starts[name], end)}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return _Layout(header, {name: len(header) + start for name, start in starts.items()}, len(header) + end)


class ShardWriter:
    """One file in the making; hidden until it is finished."""

    def __init__(self, path: Path, fields: Fields, capacity: int) -> None:
        """Open a file for up to `capacity` rows."""
        self.path, self._fields, self.capacity = path, fields, capacity
        self.keys: list[str] = []
        self._layout = _layout(fields, capacity)
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._file = self._temporary.open("wb")
        self._file.write(self._layout.header)

    @property
    def room(self) -> int:
        """Rows that still fit."""
        return self.capacity - len(self.keys)

    def add(self, keys: Sequence[str], rows: Mapping[str, Tensor]) -> None:
        """Write rows (N, ...) of each field.

        Raises:
            ValueError: eight bits do not hold them.
            OSError: the disk does not take them.
        """
        for name, info in self._fields.items():
            values = rows[name]
            assert values.shape == (len(keys), *info.shape), f"{name}: {tuple(values.shape)} for {info.shape}"
            if info.dtype == torch.int8:
                values, scales = quantised(values)
                self._write(scales_of(name), scales)
            self._write(name, values.to(info.dtype))
        self.keys += keys

    def finish(self) -> None:
        """Publish the file and its note, durably; one without a row is thrown away.

        Raises:
            OSError: the disk does not take it.
        """
        if not self.keys:
            self.abandon()
            return
        self._file.truncate(self._layout.size)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        note = ShardNote(
            keys=self.keys, capacity=self.capacity, bytes=self._layout.size, sha256=sha256_of(self._temporary)
        )
        publish(self._temporary, self.path)
        write_atomically(self.path.with_suffix(NOTE), note.model_dump_json().encode())

    def abandon(self) -> None:
        """Leave nothing behind, be the disk full or not."""
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)
        if not self.path.with_suffix(NOTE).is_file():
            self.path.unlink(missing_ok=True)

    def _write(self, name: str, rows: Tensor) -> None:
        values = rows.detach().contiguous().cpu().reshape(-1).view(torch.uint8)
        self._file.seek(self._layout.starts[name] + len(values) // len(rows) * len(self.keys))
        self._file.write(values.numpy().data)


class RowWriter:
    """Rows into one file after another; leaving the context finishes the last one, whatever the reason.

    Where the disk is full, a ValueError says so, and the files that were finished stay.
    """

    def __init__(self, folder: Path, fields: Fields, *, prefix: str, shard_rows: int, total: int) -> None:
        """Take where to write and how many rows at most; no other writer may use files of this prefix meanwhile."""
        self._folder, self._fields, self._prefix = folder, fields, prefix
        self._shard_rows, self._left = shard_rows, total
        taken = [int(path.stem[-_DIGITS:]) for path in folder.glob(f"{prefix}{_NUMBER}{SAFETENSORS}")]
        self._next = 1 + max(taken, default=-1)
        self._writer: ShardWriter | None = None

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            with self._told():
                self._writer.finish()

    def add(self, keys: Sequence[str], rows: Mapping[str, Tensor]) -> None:
        """Write rows (N, ...) of each field.

        Raises:
            ValueError: the disk is full, or eight bits do not hold them.
        """
        done = 0
        while done < len(keys):
            with self._told():
                if self._writer is None:
                    path = self._folder / f"{self._prefix}{self._next:0{_DIGITS}d}{SAFETENSORS}"
                    self._writer = ShardWriter(path, self._fields, min(self._shard_rows, self._left))
                    self._next += 1
                part = slice(done, done + self._writer.room)
                self._writer.add(keys[part], {name: rows[name][part] for name in self._fields})
                done += len(keys[part])
                self._left -= len(keys[part])
                if not self._writer.room:
                    self._writer.finish()
                    self._writer = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._writer is not None:
                self._writer.abandon()
                self._writer = None
            raise ValueError(
                f"{self._folder} takes no more ({error}); free some space and run the same command again: what is "
                "finished is kept"
            ) from None


@dataclass(frozen=True)
class Shard:
    """One finished file."""

    path: Path
    note: ShardNote
    fields: Fields

    @cached_property
    def _starts(self) -> Mapping[str, int]:
        return _layout(self.fields, self.note.capacity).starts

    @cached_property
    def _infos(self) -> Mapping[str, TensorInfo]:
        return tensors_of(self.fields)

    def read(self, name: str, places: Sequence[tuple[int, int]], out: Tensor) -> None:
        """Read rows of a tensor into a contiguous `out` (N, ...) of its type: pairs of a row and its place in there.

        Raises:
            ValueError: the file is gone, or damaged.
        """
        if not places:
            return
        buffer = out.flatten(1).view(torch.uint8).numpy() if out.ndim > 1 else out[:, None].view(torch.uint8).numpy()
        size = self._infos[name].num_bytes
        try:
            file = os.open(self.path, os.O_RDONLY)
            try:
                for row, place, count in _runs(places, max(1, _MOST_BYTES // size)):
                    read = os.preadv(file, [buffer[place : place + count].data], self._starts[name] + row * size)
                    if read != count * size:
                        raise OSError(f"{read} bytes in place of {count * size}")
            finally:
                os.close(file)
        except OSError as error:
            raise ValueError(
                f"{self.path} cannot be read ({error}); run the same command again to make it anew"
            ) from None

    def is_intact(self) -> bool:
        """Tell whether the file is the one that was written."""
        return self.path.is_file() and sha256_of(self.path) == self.note.sha256


def _runs(places: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[int, int, int]]:
    """Join rows that follow one another on both sides, up to so many: row, place, count."""
    row, place = places[0]
    count = 1
    for next_row, next_place in places[1:]:
        if count < most and (next_row, next_place) == (row + count, place + count):
            count += 1
            continue
        yield row, place, count
        row, place, count = next_row, next_place, 1
    yield row, place, count


def find_shards(folder: Path, fields: Fields) -> tuple[list[Shard], list[Path]]:
    """List a folder's files by name, and the notes of those that are damaged, as far as their sizes tell."""
    shards, damaged = [], []
    for path in sorted(folder.glob(f"*{_NUMBER}{NOTE}")):
        file = path.with_suffix(SAFETENSORS)
        with suppress(FileNotFoundError, ValidationError):
            note = ShardNote.model_validate_json(path.read_bytes())
            if file.stat().st_size == note.bytes == _layout(fields, note.capacity).size:
                shards.append(Shard(file, note, fields))
                continue
        damaged.append(path)
    return shards, damaged


def drop(note: Path) -> None:
    """Delete a file that has a note: the note first, so that a kill in between leaves the rest of a killed run."""
    note.unlink(missing_ok=True)
    note.with_suffix(SAFETENSORS).unlink(missing_ok=True)


def left_behind(folder: Path, prefix: str) -> list[Path]:
    """List what a killed writer of this prefix left: files without a note, finished or not."""
    files = folder.glob(f"{prefix}{_NUMBER}{SAFETENSORS}")
    unfinished = folder.glob(f".{prefix}{_NUMBER}.*.tmp")
    return [*(path for path in files if not path.with_suffix(NOTE).is_file()), *unfinished]
