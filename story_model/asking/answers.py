"""Answers that were paid for, on disk: one JSON line each, stored before it is used, found again by its question.

A ledger is only ever added to. Lines that a kill cut short, or that are no answers of ours, are left out and counted;
what they said is asked again.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from story_model.shared_lines import SharedLines
from story_model.store import Store
from story_model.strict_json import read_json

log = logging.getLogger(__name__)

MAX_TOKENS = 2**31 - 1
_MAX_LINE_BYTES = 16 << 20
"""An answer is a few kilobytes; of longer lines nothing is kept in memory."""


@dataclass(frozen=True)
class Answer:
    """What was said to one question."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    refusal: str = ""
    """Why nothing else was said, in the model's words."""


def _utf8(text: str) -> str:
    text.encode()
    return text


_Text = Annotated[str, AfterValidator(_utf8)]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    key: Annotated[_Text, Field(min_length=1, max_length=200)]
    text: _Text
    finish_reason: _Text
    prompt_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    completion_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    refusal: _Text = ""


class Ledger:
    """Answers by their question's digest, in one file; threads may share it."""

    def __init__(self, path: Path, store: Store | None = None) -> None:
        """Take the file, made with the first answer, and the store that other machines keep theirs in."""
        self._path = path
        self._shared = SharedLines(store, path) if store is not None else None
        self._lock = threading.Lock()
        self._known: dict[str, Answer] | None = None
        self.num_unreadable = 0
        """Lines that were left out, known once an answer was looked up."""

    def get(self, key: str) -> Answer | None:
        """Look an answer up."""
        with self._lock:
            return self._answers().get(key)

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer durably; what a question was answered first stays."""
        self.put_all({key: answer})

    def put_all(self, answers: Mapping[str, Answer]) -> None:
        """Store many answers durably, in one go."""
        with self._lock:
            known = self._answers()
            fresh = {key: answer for key, answer in answers.items() if key not in known}
            if not fresh:
                return
            lines = [json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False) for key, answer in fresh.items()]
            append_durably(self._path, iter(lines))
            known.update(fresh)
        if self._shared is not None:
            self._shared.add([line.encode() for line in lines])

    def _answers(self) -> dict[str, Answer]:
        if self._known is None:
            if self._shared is not None:
                self._shared.gather()
            self._known = {}
            for line in read_lines(self._path):
                entry = _entry(line)
                if entry is None:
                    self.num_unreadable += 1
                else:
                    self._known.setdefault(*entry)
            if self.num_unreadable:
                log.warning(
                    "%s: %d lines are no answers and are left out; what they said is asked again",
                    self._path,
                    self.num_unreadable,
                )
        return self._known


def question_key(*question: Any) -> str:  # noqa: ANN401 - whatever JSON can say
    """Name a question by all that decides its answer."""
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()


def append_durably(path: Path, lines: Iterator[str]) -> None:
    """Add lines to a file; each begins one, so that a line which a kill cut short spoils no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write("".join(f"\n{line}" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path, max_bytes: int = _MAX_LINE_BYTES, *, blank: bool = False) -> Iterator[bytes | None]:
    """Read a file's lines without their ends; none stands for a line of more than `max_bytes`.

    `blank`: empty lines too, so that lines can be counted.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        while part := file.readline(max_bytes):
            whole = _whole(part, max_bytes)
            line = part.rstrip(b"\r\n") if whole else None
            while not whole:
                whole = _whole(file.readline(max_bytes), max_bytes)
            if line is None or line or blank:
                yield line


def _whole(part: bytes, max_bytes: int) -> bool:
    return len(part) < max_bytes or part.endswith(b"\n")


def encodable(text: str) -> str:
    """Replace what no UTF-8 can say (halves of surrogate pairs), which JSON lets through."""
    return text.encode("utf-8", "replace").decode()


def _entry(line: bytes | None) -> tuple[str, Answer] | None:
    """Read a line of a ledger; none for one that is no answer."""
    if line is None:
        return None
    try:
        fields = _Line.model_validate(read_json(line)).model_dump()
    except (ValueError, ValidationError):
        return None
    return fields.pop("key"), Answer(**fields)
