"""The judge's answers on disk: one JSON line each, synced before it is used, found again by the key of the question."""

import logging
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

log = logging.getLogger(__name__)

Status = Literal["ok", "refused", "truncated", "invalid", "error"]


class Answer(BaseModel):
    """What became of one question."""

    key: str
    """sha256 of endpoint, model, parameters, prompt and pictures."""
    status: Status
    score: float | None = None
    """1 to 10; there only where the status is ok."""
    rationale: str | None = None
    reason: str | None = None
    """Why there is no score."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Ledger:
    """Answers by key, kept in a JSONL file that only grows."""

    def __init__(self, path: Path) -> None:
        """Take the file's path; what it holds is read on first use."""
        self.path = path
        self._answers: dict[str, Answer] | None = None

    def find(self, key: str) -> Answer | None:
        """Look up an answer.

        Raises:
            ValueError: the file holds a line that is no answer (a cut-off last line is left by a kill, and is dropped).
        """
        if self._answers is None:
            self._answers = _read(self.path)
        return self._answers.get(key)

    def add(self, answer: Answer) -> None:
        """Write an answer down, durably."""
        if self._answers is None:
            self._answers = _read(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(answer.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._answers[answer.key] = answer


def _read(path: Path) -> dict[str, Answer]:
    if not path.is_file():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        log.warning("%s ends in a line that was cut off; it is dropped", path)
        with path.open("r+b") as file:
            file.truncate(len(whole))
    answers = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            answer = Answer.model_validate_json(line)
        except ValidationError:
            raise ValueError(f"{path} line {number} is no answer of the judge; mend or delete the file") from None
        answers[answer.key] = answer
    return answers
