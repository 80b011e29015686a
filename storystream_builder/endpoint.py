"""Questions to an OpenAI-compatible endpoint, each paid once.

Every answer goes to a ledger on disk before it is used; the same question is answered from there ever after, also when
the run was killed or the dataset is rebuilt with other settings.
"""

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openai

from story_model.config import Settings

_RETRIES = 5
_TIMEOUT_S = 120.0
_DENIED = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
_DOWN = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)


@dataclass(frozen=True)
class Answer:
    """What the endpoint said to one question."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class QuestionRefused(Exception):  # noqa: N818 - says what happened
    """The endpoint will not answer this one question; others may be answered."""


class Ledger:
    """Answers on disk by their question's digest, one JSON object a line; a line cut short by a kill is overlooked."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made with the first answer."""
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Answer] | None = None

    def get(self, key: str) -> Answer | None:
        """Look an answer up."""
        with self._lock:
            return self._answers().get(key)

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer durably."""
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False)
        with self._lock:
            self._answers()[key] = answer
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(b"\n" + line.encode())
                file.flush()
                os.fsync(file.fileno())

    def _answers(self) -> dict[str, Answer]:
        if self._known is None:
            lines = self._path.read_bytes().splitlines() if self._path.exists() else []
            self._known = dict(entry for entry in map(_entry, lines) if entry is not None)
        return self._known


class Endpoint:
    """One model behind one address."""

    def __init__(self, client: openai.OpenAI, model: str, ledger_dir: Path) -> None:
        """Take the client, the model's name there, and the folder of the ledgers."""
        self.model = model
        self._client = client
        self._ledger_dir = ledger_dir
        self._ledgers: dict[str, Ledger] = {}
        self._lock = threading.Lock()

    def ask(self, ledger: str, messages: list[dict[str, Any]], **options: Any) -> Answer:  # noqa: ANN401
        """Ask, or remember; `ledger` names the file that the answer is kept in.

        Raises:
            QuestionRefused: this question is not answered.
            ValueError: the endpoint cannot be used, or not now; what it said so far is kept.
        """
        question = json.dumps([self.model, messages, options], sort_keys=True)
        key = hashlib.sha256(question.encode()).hexdigest()
        known = self._ledger(ledger).get(key)
        if known is None:
            known = self._ask(messages, options)
            self._ledger(ledger).put(key, known)
        return known

    def _ask(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> Answer:
        try:
            reply = self._client.chat.completions.create(model=self.model, messages=messages, **options)
        except _DENIED as error:
            raise ValueError(
                f"the endpoint {self._client.base_url} denies model {self.model!r}: {error.message}; check "
                "STORY_API_BASE_URL, STORY_API_KEY and the model's name"
            ) from None
        except _DOWN as error:
            raise ValueError(
                f"the endpoint {self._client.base_url} does not answer ({error.message}); run again later, "
                "what it said so far is kept"
            ) from None
        except openai.APIStatusError as error:
            raise QuestionRefused(error.message.removeprefix(f"Error code: {error.status_code} - ")) from None
        if not reply.choices:
            raise QuestionRefused("an answer without choices")
        choice, usage = reply.choices[0], reply.usage
        return Answer(
            text=(choice.message.content or "").strip(),
            finish_reason=choice.finish_reason or "unknown",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )

    def _ledger(self, name: str) -> Ledger:
        with self._lock:
            return self._ledgers.setdefault(name, Ledger(self._ledger_dir / f"{name}.jsonl"))


def connect(settings: Settings, model: str | None, ledger_dir: Path, *, setting: str) -> Endpoint:
    """Make an endpoint of what is configured; `setting` names the model's place in the configuration.

    Raises:
        ValueError: the address or the model is missing.
    """
    if not settings.api_base_url:
        raise ValueError("no endpoint is configured; set STORY_API_BASE_URL (and STORY_API_KEY)")
    if not model:
        raise ValueError(f"no model is configured; set {setting}")
    client = openai.OpenAI(
        base_url=settings.api_base_url,
        api_key=settings.api_key.get_secret_value() or "none",
        max_retries=_RETRIES,
        timeout=_TIMEOUT_S,
    )
    return Endpoint(client, model, ledger_dir)


def _entry(line: bytes) -> tuple[str, Answer] | None:
    """Read a line of a ledger; none for an empty one or one that a kill cut short."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields.pop("key"), Answer(**fields)
