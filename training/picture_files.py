"""The files that pictures lie in: picture files, tar shards, Parquet files. Lists what each holds, reads at a place.

Nothing is extracted. Names inside of shards and tables are labels, never paths, and no link is followed, so that a file
that others have made can neither be written out nor make us read another one. No torch here.
"""

import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
_PREFERRED = ("image", "picture", "img", "jpg", "jpeg", "png", "webp")
"""Columns that are taken where several could hold pictures."""
_MAX_BYTES = 128 << 20
"""Of one encoded picture."""
_MAX_GROUP_BYTES = 8 << 30
"""Of a row group's pictures, unpacked."""
_HELD_BYTES = 256 << 20
_BLOCK = 512
"""Of a tar's headers."""


class Place(NamedTuple):
    """Where a picture lies in its file."""

    start: int
    """Byte; of a Parquet file the row group."""
    length: int
    """Bytes; of a Parquet file the row within its group."""


class Item(NamedTuple):
    """Something in a file that should be a picture."""

    name: str
    """Within the file; empty where it is the file itself."""
    place: Place
    load: Callable[[], bytes]
    """Gives it, encoded; a ValueError or OSError says why that cannot be."""


def may_hold_pictures(name: str) -> bool:
    """Tell by its name whether a file is one to be looked into."""
    return name.lower().endswith((*_PICTURES, *_COMPRESSED, ".tar", ".parquet"))


def items_of(path: Path) -> Iterator[Item]:
    """List what a file holds; where it is damaged, an item that cannot be loaded says so."""
    name = path.name.lower()
    if path.is_symlink() or not path.is_file():
        return iter([_unusable("it is a link or no regular file, and links within a source are not followed")])
    if name.endswith(_PICTURES):
        whole = Place(0, path.stat().st_size)
        return iter([Item("", whole, partial(_read_at, path, whole))])
    if name.endswith(_COMPRESSED):
        return iter([_unusable("pictures cannot be read out of the middle of a compressed archive; repack it as .tar")])
    return _members(path) if name.endswith(".tar") else _rows(path)


class PictureReader:
    """Reads pictures at their places below a folder; from several threads as well.

    A row group is the least that Parquet reads, so those read last are held, up to a bound.
    """

    def __init__(self, root: Path, *, held_bytes: int = _HELD_BYTES) -> None:
        """Take the folder; `held_bytes` bounds what is held of row groups (one at least)."""
        self._root, self._held_bytes = root, held_bytes
        self._held: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()
        self._lock = Lock()

    def read(self, name: str, place: Place) -> bytes:
        """Read one picture.

        Raises:
            ValueError: the file ends too soon, or is no longer what it was.
            OSError: it cannot be read.
        """
        path = self._root / name
        if not name.lower().endswith(".parquet"):
            return _read_at(path, place)
        try:
            return _cell(self._group(path, name, place.start), place.length)
        except (pa.ArrowException, IndexError) as error:
            raise ValueError(_first_line(error)) from None

    def _group(self, path: Path, name: str, number: int) -> pa.ChunkedArray:
        with self._lock:
            key = (name, number)
            if key not in self._held:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    self._held[key] = _read_group(file, _column(file), number)
                while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > self._held_bytes:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]


def _read_at(path: Path, place: Place) -> bytes:
    """Read some bytes of a regular file, without a look at what lies before them."""
    if place.length > _MAX_BYTES:
        raise ValueError(f"{place.length >> 20} MiB are more than the {_MAX_BYTES >> 20} MiB that a picture may have")
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = bytearray()
        while len(found) < place.length:
            more = os.pread(file, place.length - len(found), place.start + len(found))
            if not more:
                raise ValueError("the file ends too soon")
            found += more
        return bytes(found)
    finally:
        os.close(file)


def _members(path: Path) -> Iterator[Item]:
    """List a tar's pictures. Headers alone are read here."""
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # it would remember each of millions
                if not member.name.lower().endswith(_PICTURES) or member.isdir():
                    continue
                place = Place(member.offset_data, member.size)
                if member.isreg() and not member.issparse():
                    yield Item(member.name, place, partial(_read_at, path, place))
                else:
                    yield _unusable("a link or special file, not a picture", member.name)
            # The library takes a damaged header for the end.
            rest = _read_at(path, Place(archive.offset, min(_BLOCK, path.stat().st_size - archive.offset)))
            if rest.strip(b"\0"):
                yield _unusable(f"the archive is damaged after byte {archive.offset}")
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        yield _unusable(_kept(error) or f"the archive is damaged ({_first_line(error)})")


def _rows(path: Path) -> Iterator[Item]:
    """List a Parquet file's pictures, a row group in memory at a time."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            column = _column(file)
            for group in range(file.num_row_groups):
                cells = _read_group(file, column, group)
                for row in range(len(cells)):
                    yield Item(f"row {row} of group {group}", Place(group, row), partial(_cell, cells, row))
    except (pa.ArrowException, OSError, ValueError) as error:
        yield _unusable(_kept(error) or f"no table of pictures ({_first_line(error)})")


def _column(file: pq.ParquetFile) -> str:
    """Find the stored column of pictures: binary, or the `bytes` of a struct, as Hugging Face's datasets write them."""
    found = {}
    for field in file.schema_arrow:
        if _is_binary(field.type):
            found[field.name] = field.name
        elif pa.types.is_struct(field.type) and any(one.name == "bytes" and _is_binary(one.type) for one in field.type):
            found[field.name] = f"{field.name}.bytes"
    chosen = list(found) if len(found) == 1 else [name for name in _PREFERRED if name in found]
    if not chosen:
        known = f"any of {', '.join(found)} may be it" if found else f"there are {', '.join(file.schema_arrow.names)}"
        raise ValueError(f"no column is known to hold pictures: {known}; call it image")
    return found[chosen[0]]


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _read_group(file: pq.ParquetFile, column: str, number: int) -> pa.ChunkedArray:
    chunks = file.metadata.row_group(number)
    sizes = (chunks.column(place) for place in range(chunks.num_columns))
    if any(one.path_in_schema == column and one.total_uncompressed_size > _MAX_GROUP_BYTES for one in sizes):
        raise ValueError(f"row group {number} unpacks to more than {_MAX_GROUP_BYTES >> 30} GiB")
    return file.read_row_group(number, columns=[column]).flatten().column(0)


def _cell(cells: pa.ChunkedArray, row: int) -> bytes:
    found = cells[row].as_py()
    if found is None:
        raise ValueError("it is empty; a path beside it is not followed")
    if len(found) > _MAX_BYTES:
        raise ValueError(f"{len(found) >> 20} MiB are more than the {_MAX_BYTES >> 20} MiB that a picture may have")
    return bytes(found)


def _unusable(reason: str | OSError, name: str = "") -> Item:
    def load() -> bytes:
        raise reason if isinstance(reason, OSError) else ValueError(reason)

    return Item(name, Place(0, 0), load)


def _kept(error: Exception) -> OSError | None:
    """Keep an error of the operating system, which may not be the file's fault; damaged files have no error number."""
    return error if isinstance(error, OSError) and error.errno is not None else None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
