"""The feature store: what frozen networks make of each unique picture, computed once and kept on disk.

A store is a folder for one maker (a network with its weights, the square that it sees, the types of what is kept), so
that what another maker made is never met. A process that makes rows holds the store's lock; a killed one leaves its
finished files, and the next goes on from there. Any number of processes read meanwhile. Letters: N pictures.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from story_model.dataset import BadRecords
from story_model.manifest import write_atomically
from story_model.pixels import Square
from story_model.tensor_files import SAFETENSORS, is_finite
from training.ahead import ahead
from training.rows import Fields, empty, restored, row_bytes, scales_of, tensors_of
from training.shards import NOTE, RowWriter, Shard, drop, find_shards, left_behind

log = logging.getLogger(__name__)

FORMAT = 1
STORE = "store.json"
_HELD_BYTES = 256 << 20

Item = TypeVar("Item")


@dataclass(frozen=True)
class Maker:
    """All that decides what a store holds for a picture."""

    name: str
    """Of the network; begins the folder's name."""
    digest: str
    """Of its weights, and of whatever else decides its numbers."""
    square: Square | None
    """How pictures are shown to it; none where keys are no pictures."""
    fields: Fields

    def described(self) -> str:
        """Write the maker down; makers that differ are described differently."""
        square = self.square and {
            "side": self.square.side,
            "transform": self.square.transform,
            "resampling": self.square.resampling.name,
        }
        fields = {name: {"shape": info.shape, "dtype": str(info.dtype)} for name, info in self.fields.items()}
        whole = {"format": FORMAT, "name": self.name, "digest": self.digest, "square": square, "fields": fields}
        return json.dumps(whole, indent=1, sort_keys=True)

    @property
    def folder(self) -> str:
        """Name the store's folder."""
        return f"{self.name}-{hashlib.sha256(self.described().encode()).hexdigest()[:16]}"


@dataclass
class Made:
    """What `Store.make` did."""

    hits: int = 0
    """Keys that were there already."""
    encodes: int = 0
    """Keys that were made."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reason by the key that could not be loaded."""


class Store:
    """Rows of tensors by key, on disk. Open it with `open_store`."""

    def __init__(self, folder: Path, maker: Maker, *, shard_pictures: int, held_bytes: int) -> None:
        """Take an existing folder; a store of up to `held_bytes` is held in memory once it is read."""
        self.folder, self.maker = folder, maker
        self._shard_pictures, self._held_bytes = shard_pictures, held_bytes
        self._shards: list[Shard] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._held: dict[str, Tensor] = {}
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def missing(self, keys: Sequence[str]) -> list[str]:
        """List the keys, each once, that have no row yet."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def refresh(self) -> None:
        """Look at the folder anew: other processes may have made rows."""
        self._shards, damaged = find_shards(self.folder, self.maker.fields)
        for note in damaged:
            log.warning("%s is damaged; what it held will be made anew", note.with_suffix(SAFETENSORS))
        self._places = {
            key: (number, row) for number, shard in enumerate(self._shards) for row, key in enumerate(shard.note.keys)
        }
        self._held = {}

    def verify(self) -> list[str]:
        """Read all files through and delete those that are not as they were written; gives their names."""
        bar = tqdm(self._shards, desc=f"verify {self.maker.name}", unit="file")
        damaged = [shard for shard in bar if not shard.is_intact()]
        for shard in damaged:
            log.warning("%s is damaged; what it held will be made anew", shard.path)
            drop(shard.path.with_suffix(NOTE))
        self.refresh()
        return [shard.path.name for shard in damaged]

    def rows(self, keys: Sequence[str], name: str, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Give a field's rows (N, ...) in the order of the keys.

        Raises:
            ValueError: a key has no row, or a file cannot be read.
        """
        if self.missing(keys):
            self.refresh()
            if absent := self.missing(keys):
                raise ValueError(
                    f"{self.folder} has no row for {absent[0]} and {len(absent) - 1} others; make them first"
                )
        values = self._gather(keys, name)
        if self.maker.fields[name].dtype == torch.int8:
            values = restored(values, self._gather(keys, scales_of(name)))
        return values if values.dtype == dtype else empty(tuple(values.shape), dtype).copy_(values)

    @torch.no_grad()
    def make(
        self,
        keys: Sequence[str],
        load: Callable[[str], Item],
        encode: Callable[[Sequence[Item]], Mapping[str, Tensor]],
        *,
        batch_size: int,
        desc: str,
        rank: int = 0,
        world: int = 1,
        threads: int = 2,
        bad_records: BadRecords = "raise",
    ) -> Made:
        """Make the rows that are missing; of several processes with the same keys, each its share.

        `load` runs in threads, ahead of `encode`, which turns what was loaded into each field's rows (N, ...).
        Another process that makes rows here is waited for; what it made is not made again.

        Raises:
            ValueError: a key cannot be loaded (which `skip` only notes), an output cannot be stored as it is to be, or
                the disk is full. Finished files are kept.
        """
        prefix = f"{rank:03d}-" if world > 1 else ""
        share = list(dict.fromkeys(keys))[rank::world]
        with self._alone(prefix):
            self.refresh()
            self._tidy(prefix)
            missing = self.missing(share)
            made = Made(hits=len(share) - len(missing))
            if not missing:
                return made
            self._check_room(len(missing))
            started = time.monotonic()
            writer = RowWriter(
                self.folder, self.maker.fields, prefix=prefix, shard_rows=self._shard_pictures, total=len(missing)
            )
            try:
                with tqdm(total=len(missing), desc=desc, unit="picture", mininterval=1) as bar, writer:
                    for batch, items in _batches(missing, load, made, batch_size, threads, bad_records):
                        writer.add(batch, _finite(batch, encode(items)))
                        made.encodes += len(batch)
                        bar.set_postfix(there_already=made.hits, failed=len(made.failures), refresh=False)
                        bar.update(made.encodes + len(made.failures) - bar.n)
            finally:
                self.refresh()
            log.info(
                "%s: %d made in %.1f s, %d there already, %d failed",
                *(desc, made.encodes, time.monotonic() - started, made.hits, len(made.failures)),
            )
            return made

    @contextmanager
    def _alone(self, prefix: str) -> Iterator[None]:
        """Wait until no other process makes rows under this prefix; a lock whose holder was killed is free."""
        lock = FileLock(self.folder / f".{prefix}lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process makes rows in %s; waiting for it", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _tidy(self, prefix: str) -> None:
        """Delete damaged files, and what a killed process with this prefix left behind; its lock is held."""
        for note in find_shards(self.folder, self.maker.fields)[1]:
            drop(note)
        for path in left_behind(self.folder, prefix):
            path.unlink(missing_ok=True)

    def _check_room(self, count: int) -> None:
        needed, free = count * row_bytes(self.maker.fields), shutil.disk_usage(self.folder).free
        if needed > free:
            raise ValueError(
                f"{self.folder}: what {self.maker.name} makes of {count} pictures takes {needed / 1e9:.1f} GB and "
                f"{free / 1e9:.1f} GB are free; free some space, or store less with train.features.dtype=int8"
            )

    def _gather(self, keys: Sequence[str], name: str) -> Tensor:
        """Collect a tensor's rows, as they are stored."""
        places = [self._places[key] for key in keys]
        if len(self) * row_bytes(self.maker.fields) <= self._held_bytes:
            firsts = list(accumulate((len(shard.note.keys) for shard in self._shards), initial=0))
            return self._hold(name)[[firsts[number] + row for number, row in places]]
        out = self._empty(len(keys), name)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for place, (number, row) in enumerate(places):
            wanted.setdefault(number, []).append((row, place))
        for number, pairs in wanted.items():
            self._shards[number].read(name, pairs, out)
        return out

    def _hold(self, name: str) -> Tensor:
        """Give all of a tensor's rows, file after file, read once."""
        if name not in self._held:
            held = self._empty(sum(len(shard.note.keys) for shard in self._shards), name)
            first = 0
            for shard in self._shards:
                count = len(shard.note.keys)
                shard.read(name, [(row, first + row) for row in range(count)], held)
                first += count
            self._held[name] = held
        return self._held[name]

    def _empty(self, count: int, name: str) -> Tensor:
        info = tensors_of(self.maker.fields)[name]
        return empty((count, *info.shape), info.dtype)


def open_store(root: Path, maker: Maker, *, shard_pictures: int = 512, held_bytes: int = _HELD_BYTES) -> Store:
    """Open a maker's store below a folder, or begin one.

    Raises:
        ValueError: what lies in the store's folder says that it is another maker's.
    """
    folder = root / maker.folder
    folder.mkdir(parents=True, exist_ok=True)
    note, described = folder / STORE, maker.described().encode()
    with FileLock(folder / ".store.lock"):
        if not note.is_file():
            write_atomically(note, described)
        elif note.read_bytes() != described:
            raise ValueError(f"{note} describes another maker than its folder's name says; delete the folder")
    return Store(folder, maker, shard_pictures=shard_pictures, held_bytes=held_bytes)


def _batches(
    keys: Sequence[str],
    load: Callable[[str], Item],
    made: Made,
    batch_size: int,
    threads: int,
    bad_records: BadRecords,
) -> Iterator[tuple[list[str], list[Item]]]:
    """Load ahead and collect; what cannot be loaded is noted in `made`, or raised."""

    def attempt(key: str) -> tuple[str, Item | None, str]:
        try:
            return key, load(key), ""
        except ValueError as error:
            if bad_records == "raise":
                raise
            return key, None, str(error)

    batch: dict[str, Item] = {}
    for key, item, reason in ahead(attempt, keys, depth=2 * batch_size, threads=threads):
        if item is None:
            made.failures[key] = reason
            continue
        batch[key] = item
        if len(batch) == batch_size:
            yield list(batch), list(batch.values())
            batch = {}
    if batch:
        yield list(batch), list(batch.values())


def _finite(keys: Sequence[str], rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    for name, values in rows.items():
        if not is_finite(values):
            key = next(key for key, row in zip(keys, values, strict=True) if not is_finite(row))
            raise ValueError(f"{name} of {key} are not finite; the network's weights are damaged, or too coarse a type")
    return rows
