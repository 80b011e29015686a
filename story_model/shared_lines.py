"""Files of lines that several machines add to, kept in a store: ledgers of answers that were paid for.

    <store>/<run>/answers/<episode>/<time>-<sha256>.jsonl   for the local <workspace>/<run>/answers/<episode>.jsonl

Every addition is an object of its own, for object stores cannot append; no line that arrived is overwritten or lost.
"""

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from story_model.store import Store, remove_object, write_object

log = logging.getLogger(__name__)

_READERS = 16


class SharedLines:
    """A local file of lines that other machines add to as well; no line that reached the store is lost or overwritten.

    Each addition is an object named by its time and content, for object stores cannot append; lines keep their order as
    far as the machines' clocks agree. `gather` makes one object of many.
    """

    def __init__(self, store: Store, path: Path) -> None:
        """Take the local file; it need not exist yet."""
        self._path = path
        self._fs, self._home = store.place(path.with_suffix(""))

    def add(self, lines: Sequence[bytes]) -> None:
        """Put lines into the store, which the caller has written to the local file; threads may do so at once."""
        if lines:
            self._put(lines)

    def gather(self) -> None:
        """Give the local file the store's lines, and the store those that only the local file has."""
        objects = self._objects()
        there = dict.fromkeys(line for name in sorted(objects) for line in _lines(objects[name]))
        here = dict.fromkeys(_lines(self._path.read_bytes()) if self._path.exists() else [])
        self._append([line for line in there if line not in here])
        if here.keys() <= there.keys() and len(objects) <= 1:
            return
        kept = self._put(list(there | here))
        for name in objects.keys() - {kept}:
            remove_object(self._fs, name)  # all that it holds is in `kept`

    def _objects(self) -> dict[str, bytes]:
        """Read all additions; where another machine makes one of many meanwhile, look again."""
        while True:
            self._fs.invalidate_cache()
            names = [name for name in self._fs.find(self._home) if name.endswith(".jsonl")]
            try:
                with ThreadPoolExecutor(_READERS) as pool:
                    read = dict(zip(names, pool.map(self._fs.cat_file, names), strict=True))
            except FileNotFoundError:
                continue
            cut = {name for name, data in read.items() if not name.endswith(_named(data))}
            for name in sorted(cut):
                log.warning("%s is not what was put there; it is left out", name)
            return {name: data for name, data in read.items() if name not in cut}

    def _put(self, lines: Sequence[bytes]) -> str:
        data = b"\n".join(lines)
        name = f"{self._home}/{time.time_ns():020d}{_named(data)}"
        write_object(self._fs, name, data)
        return name

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(b"\n" + b"\n".join(lines))
            file.flush()
            os.fsync(file.fileno())


def _named(data: bytes) -> str:
    return f"-{hashlib.sha256(data).hexdigest()}.jsonl"


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines() if line]
