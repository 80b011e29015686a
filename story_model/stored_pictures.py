"""The pictures of a dataset's Parquet files by their sha256, read when they are asked for.

The published StoryStream's pictures are some 23 GB: what trains on them cannot hold them all. A row group is the least
that Parquet reads, so the groups read last are held, up to a bound: going through pictures in the dataset's order reads
each group once, whatever its size.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple, overload

import pyarrow as pa
import pyarrow.parquet as pq

PICTURE_FORMATS = ("JPEG", "PNG", "WEBP")
"""What encoded pictures may be; no other of Pillow's decoders is tried."""

_HELD_BYTES = 256 << 20
_AGAIN = "build the dataset anew"


class RowGroup(NamedTuple):
    """Some rows of one file, which are read together."""

    path: Path
    number: int
    """Of the group within its file."""
    story_ids: Sequence[str]


class _Place(NamedTuple):
    """Where a picture lies."""

    group: int
    row: int
    position: int
    """Of the picture within its story."""


class StoredPictures:
    """Pictures by sha256; may be read from several threads."""

    def __init__(self, *, held_bytes: int = _HELD_BYTES) -> None:
        """Begin with none; `held_bytes` bounds what is held in memory (one row group at least)."""
        self._held_bytes = held_bytes
        self._groups: list[RowGroup] = []
        self._places: dict[str, _Place] = {}
        self._held: OrderedDict[int, pa.ListArray] = OrderedDict()
        self._lock = Lock()
        self.groups_read = 0
        """Row groups read so far; more than there are tells that pictures are not asked for in the dataset's order."""

    def __len__(self) -> int:
        return len(self._places)

    def add(self, group: RowGroup, digests: Mapping[int, Sequence[str]]) -> None:
        """Learn where the pictures of a row group's stories lie: their sha256 by the row."""
        for row, story in digests.items():
            for position, digest in enumerate(story):
                self._places.setdefault(digest, _Place(len(self._groups), row, position))
        self._groups.append(group)

    def name(self, digest: str) -> str:
        """Say which picture it is: the first story that shows it, and its number there."""
        place = self._places[digest]
        return f"story {self._groups[place.group].story_ids[place.row]}, picture {place.position}"

    def read(self, digest: str) -> bytes:
        """Read one picture's file.

        Raises:
            ValueError: it is missing or another one than its sha256 says, or its row group is damaged.
        """
        place = self._places[digest]
        group = self._groups[place.group]
        images = self._images(place.group)[place.row].values
        found = (
            images.field("bytes")[place.position].as_py()
            if images is not None and place.position < len(images)
            else None
        )
        name = self.name(digest)
        if found is None:
            raise ValueError(f"{name}: not in {group.path}; {_AGAIN}")
        if hashlib.sha256(found).hexdigest() != digest:
            raise ValueError(f"{name}: its bytes in {group.path} have another sha256 than is noted there; {_AGAIN}")
        return bytes(found)

    def _images(self, number: int) -> pa.ListArray:
        """Give the pictures of a row group, story by story."""
        with self._lock:
            if number not in self._held:
                self._held[number] = self._read_group(self._groups[number])
                while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > self._held_bytes:
                    self._held.popitem(last=False)
            self._held.move_to_end(number)
            return self._held[number]

    def _read_group(self, group: RowGroup) -> pa.ListArray:
        self.groups_read += 1
        try:
            with pq.ParquetFile(group.path, page_checksum_verification=True) as file:
                table = file.read_row_group(group.number, columns=leaves(file, "images", ".bytes"))
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{group.path} is damaged ({str(error).splitlines()[0]}); {_AGAIN}") from None
        images = table.column("images").combine_chunks()
        return images.chunk(0) if isinstance(images, pa.ChunkedArray) else images


class StoryImages(Sequence[bytes]):
    """A story's pictures, each read when it is asked for."""

    def __init__(self, pictures: StoredPictures, digests: Sequence[str]) -> None:
        """Take where to read them and the sha256 of each."""
        self._pictures = pictures
        self._digests = tuple(digests)

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> "StoryImages": ...

    def __getitem__(self, index: int | slice) -> "bytes | StoryImages":
        if isinstance(index, slice):
            return StoryImages(self._pictures, self._digests[index])
        return self._pictures.read(self._digests[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoryImages) and self._digests == other._digests

    def __hash__(self) -> int:
        return hash(self._digests)


def leaves(file: pq.ParquetFile, column: str, ending: str) -> list[str]:
    """Name the stored columns below one that is nested: writers differ in what they call a list's elements."""
    paths = (file.schema.column(number).path for number in range(len(file.schema.names)))
    return [path for path in paths if path.startswith(f"{column}.") and path.endswith(ending)]
