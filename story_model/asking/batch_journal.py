"""Which batches were handed in: written down before and after, so that a killed run finds its running batches again.

A line before a batch is created holds its name, which the batch carries as metadata, and its questions; a line after
holds the id that the server gave it; a last one says that its answers are in the ledgers.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from story_model.asking.answers import append_durably, read_lines
from story_model.strict_json import read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HandedIn:
    """A batch that was about to be created, or was."""

    name: str
    """Ours."""
    questions: Mapping[str, str]
    """By the question's key, the ledger that its answer belongs to."""
    at: int
    """Unix time."""
    batch_id: str | None = None
    """The server's; none where a kill came between."""


class _Intended(BaseModel):
    model_config = ConfigDict(strict=True)
    event: Literal["intended"]
    name: str
    questions: dict[str, str]
    at: int


class _Created(BaseModel):
    model_config = ConfigDict(strict=True)
    event: Literal["created"]
    name: str
    batch_id: str


class _Done(BaseModel):
    model_config = ConfigDict(strict=True)
    event: Literal["done"]
    name: str


_EVENT: TypeAdapter[_Intended | _Created | _Done] = TypeAdapter(
    Annotated[_Intended | _Created | _Done, Field(discriminator="event")]
)


class BatchJournal:
    """The batches whose answers are not in the ledgers yet."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made with the first batch."""
        self.path = path
        self._open: dict[str, HandedIn] = {}
        self._created: set[str] = set()
        for line in read_lines(path):
            event = _event(line)
            if event is not None:
                self._take(event)

    @property
    def open(self) -> list[HandedIn]:
        """The batches that were not finished, oldest first."""
        return list(self._open.values())

    def name_of(self, questions: Mapping[str, str]) -> str:
        """Name a batch by its questions, and by how often these were handed in before.

        So another machine, or one that lost this file, gives the name that a running batch has already.
        """
        digest = hashlib.sha256("\n".join(sorted(questions)).encode()).hexdigest()[:32]
        return next(name for number in count() if (name := f"{digest}-{number}") not in self._created)

    def intend(self, name: str, questions: Mapping[str, str]) -> None:
        """Write down that a batch is about to be created."""
        self._add(_Intended(event="intended", name=name, questions=dict(questions), at=int(time.time())))

    def created(self, name: str, batch_id: str) -> None:
        """Write down the id that the server gave."""
        self._add(_Created(event="created", name=name, batch_id=batch_id))

    def done(self, name: str) -> None:
        """Write down that there is nothing more to come of a batch."""
        self._add(_Done(event="done", name=name))

    def _add(self, event: _Intended | _Created | _Done) -> None:
        append_durably(self.path, iter([json.dumps(event.model_dump())]))
        self._take(event)

    def _take(self, event: _Intended | _Created | _Done) -> None:
        if isinstance(event, _Intended):
            self._open[event.name] = HandedIn(event.name, event.questions, event.at)
        elif isinstance(event, _Done):
            self._open.pop(event.name, None)
        else:
            self._created.add(event.name)
            if event.name in self._open:
                self._open[event.name] = replace(self._open[event.name], batch_id=event.batch_id)


@contextmanager
def alone(folder: Path, longest_wait_s: float) -> Iterator[None]:
    """Wait for a process that uses this folder of a journal: it writes its requests into the same file.

    Raises:
        ValueError: it goes on for longer than may be waited.
    """
    lock = FileLock(folder / ".lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process's batches in %s", folder)
            lock.acquire(timeout=longest_wait_s)
    except Timeout:
        raise ValueError(f"another process waits for its batches in {folder}; run again after it") from None
    try:
        yield
    finally:
        lock.release()


def _event(line: bytes | None) -> _Intended | _Created | _Done | None:
    """Read a line; none for one that a kill cut short: what it was to say can be asked of the server."""
    try:
        return None if line is None else _EVENT.validate_python(read_json(line))
    except (ValueError, ValidationError):
        return None
