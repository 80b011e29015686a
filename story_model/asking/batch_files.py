"""The files of a batch: requests on their way in, results on their way back."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from story_model.asking.answers import Answer
from story_model.asking.replies import QuestionRefused, answer_of, error_message, one_line
from story_model.strict_json import read_json

URL = "/v1/chat/completions"
_AGAIN = frozenset((408, 409, 425, 429))
_DENIED = frozenset((401, 403, 404))
_SENT = ("max_tokens", "temperature")
"""Options that requests have and some models refuse; see `Endpoint.adapt`."""

Adapt = Callable[[object, Collection[str]], bool]


class RequestFile:
    """Requests on their way into a batch; gone when they are handed in."""

    def __init__(self, path: Path) -> None:
        """Take the file's place."""
        self.path = path
        self.questions: dict[str, str] = {}
        """By the question's key, the ledger that its answer belongs to."""
        self.num_bytes = 0
        self._file = path.open("wb")

    def __enter__(self) -> "RequestFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def add(self, key: str, ledger: str, line: bytes) -> None:
        """Add a request."""
        self.questions[key] = ledger
        self.num_bytes += self._file.write(line)
        self._file.flush()

    def clear(self) -> None:
        """Begin anew."""
        self.questions, self.num_bytes = {}, 0
        self._file.seek(0)
        self._file.truncate()


@dataclass
class Results:
    """What came of a batch; questions of which nothing is said here are asked again."""

    answers: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Reason by key."""
    denied: str = ""
    """Why no question at all will be answered."""
    num_unreadable: int = 0

    def by_ledger(self, questions: Mapping[str, str]) -> dict[str, dict[str, Answer]]:
        """Sort the answers by the ledger that they belong to."""
        sorted_: dict[str, dict[str, Answer]] = {}
        for key, answer in self.answers.items():
            sorted_.setdefault(questions[key], {})[key] = answer
        return sorted_


def request_line(key: str, body: dict[str, Any]) -> bytes:
    """Write a question as a line of a batch's file."""
    return json.dumps({"custom_id": key, "method": "POST", "url": URL, "body": body}).encode() + b"\n"


def read_results(data: bytes, questions: Mapping[str, str], adapt: Adapt, results: Results) -> None:
    """Read a file of results, which come in any order, into `results`; the first that is said of a question counts."""
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        row = _row(line)
        key = row.get("custom_id")
        if not isinstance(key, str) or key not in questions:
            results.num_unreadable += 1
        elif key not in results.answers and key not in results.refused:
            _read_row(key, row, adapt, results)


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = read_json(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _read_row(key: str, row: Mapping[str, Any], adapt: Adapt, results: Results) -> None:
    response = row.get("response")
    status = response.get("status_code") if isinstance(response, dict) else None
    body = response.get("body") if isinstance(response, dict) else None
    reason = error_message(body) or error_message(row) or one_line(f"status {status}")
    if status == 200:
        try:
            results.answers[key] = answer_of(body)
        except QuestionRefused as error:
            results.refused[key] = str(error)
    elif not isinstance(status, int) or status in _AGAIN or status >= 500:
        return  # expired, cancelled or broken down: asked again
    elif status in _DENIED:
        results.denied = reason
    elif not adapt(body.get("error") if isinstance(body, dict) else None, _SENT):
        results.refused[key] = reason
