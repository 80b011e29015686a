"""Questions to an OpenAI-compatible endpoint, each paid once.

Every answer goes to a ledger on disk before it is used; the same question is answered from there ever after, also when
the run was killed or the dataset is rebuilt with other settings.
"""

import json
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import openai

from story_model.asking.answers import Answer, Ledger, question_key
from story_model.asking.clients import open_client
from story_model.asking.replies import QuestionRefused, answer_of, error_message, one_line
from story_model.asking.secrecy import Secrets
from story_model.config import Settings
from story_model.store import Store, open_store
from story_model.strict_json import read_json
from story_model.workspace import contained

__all__ = ["Answer", "Endpoint", "EndpointDenied", "QuestionRefused", "connect"]

_RETRIES = 5
_TIMEOUT_S = 120.0
_WALL_S = 900.0
"""A server that sends a byte now and then never times out; this ends such a question, its retries included."""
_DENIED = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
_DOWN = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)
_SHORT = {"max_tokens": 1, "temperature": 0}
_IDEMPOTENCY = "Idempotency-Key"

_Result = TypeVar("_Result")


class EndpointDenied(ValueError):  # noqa: N818 - says what happened
    """Address, key or model are wrong; asking later is of no use."""


class Endpoint:
    """One model behind one address."""

    def __init__(
        self,
        client: openai.OpenAI,
        model: str,
        ledger_dir: Path,
        *,
        wall_s: float = _WALL_S,
        store: Store | None = None,
        settings: tuple[str, str] = ("STORY_API_BASE_URL", "STORY_API_KEY"),
    ) -> None:
        """Take the client, the model's name there, the folder of the ledgers, the longest a question may take, where
        ledgers are kept besides their folder, and the names of the settings that hold address and key.
        """
        self.model = model
        self.client = client
        self._ledger_dir = ledger_dir
        self._store = store
        self._wall_s = wall_s
        self.settings = settings
        named = client.default_headers.get("Authorization")
        self._secrets = Secrets([client.api_key, *str(named or "").split()])
        self._ledgers: dict[str, Ledger] = {}
        self._asking: dict[tuple[str, str], Future[Answer]] = {}
        self._lock = threading.Lock()
        self._unwelcome: set[str] = set()

    def ask(
        self,
        ledger: str,
        messages: list[dict[str, Any]],
        *,
        key: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Answer:
        """Ask, or remember; `ledger` names the file that the answer is kept in.

        `key` names the question where messages and options do not: one that is put several times, or whose pictures
        may be encoded otherwise. A question that another thread asks at this moment is not asked again: both get its
        answer.

        Raises:
            QuestionRefused: this question is not answered.
            ValueError: the endpoint cannot be used, or not now; what it said so far is kept.
        """
        own_key, key = key, key or self.key(messages, options)
        with self._lock:
            coming = self._asking.get((ledger, key))
            if coming is None:
                own = self._asking[ledger, key] = Future()
        if coming is not None:
            return coming.result()
        try:
            answer = self.ledger(ledger).get(key)
            if answer is None:
                answer = self._ask(messages, options, own_key)
                self.ledger(ledger).put(key, answer)
        except BaseException as error:
            own.set_exception(error)
            raise
        else:
            own.set_result(answer)
            return answer
        finally:
            with self._lock:
                del self._asking[ledger, key]

    def key(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
        """Name a question, whoever asks it and by whatever way."""
        return question_key(self.model, messages, options)

    def ledger(self, name: str) -> Ledger:
        """Open a ledger, once.

        Raises:
            ValueError: the name leads out of the folder of the ledgers.
        """
        with self._lock:
            path = contained(self._ledger_dir, f"{name}.jsonl")  # a journal of batches names ledgers too
            return self._ledgers.setdefault(name, Ledger(path, self._store))

    def request(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
        """Put a question as this server takes it: see `adapt`."""
        known = {name: value for name, value in options.items() if name not in self._unwelcome}
        if "max_tokens" in self._unwelcome and "max_tokens" in options:
            known["max_completion_tokens"] = options["max_tokens"]
        return {"model": self.model, "messages": messages, **known}

    def adapt(self, error: object, sent: Collection[str]) -> bool:
        """Learn from the error inside a reply that the server takes `max_completion_tokens`, or no temperature.

        Models that think first do. `sent` names the request's options; tells whether to put the question again.
        """
        said = error if isinstance(error, dict) else {}
        words = str(said.get("message"))
        named = str(said.get("param"))
        unwelcome = "max_tokens" if "max_completion_tokens" in words else named
        if unwelcome not in _SHORT or unwelcome not in sent or "unsupported" not in f"{said}".lower():
            return False
        self._unwelcome.add(unwelcome)
        return True

    def preflight(self) -> None:
        """See that address, key and model are right, before anything is decoded or paid.

        Free of charge, unless the server lists no models or not this one (an alias, most likely): then one token.

        Raises:
            ValueError: the endpoint cannot be used, or not now.
        """
        names = self._names()
        if names is not None and self.model in names:
            return
        try:
            self._ask([{"role": "user", "content": "Say yes."}], _SHORT)
        except QuestionRefused as refusal:
            if self.model in str(refusal):
                raise self._unknown(str(refusal), names) from None
        except EndpointDenied as error:
            raise (self._unknown(str(error), names) if names else error) from None

    def _names(self) -> list[str] | None:
        found = self.models()
        return [row["id"] for row in found] if found else None

    def models(self) -> list[dict[str, Any]] | None:
        """List the models that the server names, each with all that it says of it; none where it lists none.

        Raises:
            ValueError: the endpoint cannot be used, or not now.
        """

        def listed() -> object:
            return read_json(self.hide_key(self.client.models.with_raw_response.list().content))

        try:
            body = self.within(listed)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.APIConnectionError) as error:
            raise self.unusable(error) from None
        except (openai.APIStatusError, ValueError):
            return None
        found = body.get("data") if isinstance(body, dict) else None
        rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return [row for row in rows if isinstance(row.get("id"), str)] or None

    def _unknown(self, reason: str, names: list[str] | None) -> ValueError:
        near = get_close_matches(self.model, names or [], n=3, cutoff=0) or sorted(names or [])[:3]
        known = f"; it lists {', '.join(repr(name) for name in near)}" if near else ""
        return EndpointDenied(f"the endpoint {self.client.base_url} has no model {self.model!r} ({reason}){known}")

    def _ask(self, messages: list[dict[str, Any]], options: dict[str, Any], key: str | None = None) -> Answer:
        while True:
            request = self.request(messages, options)
            try:
                return self._put(request, key)
            except (*_DENIED, *_DOWN) as error:
                raise self.unusable(error) from None
            except openai.APIStatusError as error:
                if not self.adapt(error.body, request):
                    raise QuestionRefused(
                        self._reason(error), code=self._secrets.hide_text(str(error.code or ""))
                    ) from None

    def _put(self, request: dict[str, Any], key: str | None) -> Answer:
        completions = self.client.chat.completions.with_raw_response
        # A kill between the server's answer and our ledger asks again: a gateway that knows the key charges once.
        again = {_IDEMPOTENCY: question_key(request, key) if key else question_key(request)}
        raw = self.within(lambda: completions.create(**request, extra_headers=again))
        content = self.hide_key(raw.content)
        try:
            body = read_json(content)
        except ValueError:
            kind = one_line(self._secrets.hide_text(raw.headers.get("content-type", "no content type")))
            start = one_line(content[:60].decode(errors="replace"))
            raise ValueError(
                f"the endpoint {self.client.base_url} answers with something else than JSON ({kind}: {start!r}); "
                f"check {self.settings[0]}"
            ) from None
        return answer_of(body)

    def unusable(self, error: openai.APIError) -> ValueError:
        """Say what a user can do about an error that is no single question's."""
        where = f"the endpoint {self.client.base_url}"
        if isinstance(error, _DOWN):
            return ValueError(
                f"{where} does not answer ({self._reason(error)}); run again later, what it said so far is kept"
            )
        return EndpointDenied(
            f"{where} denies model {self.model!r}: {self._reason(error)}; check {self.settings[0]}, "
            f"{self.settings[1]} and the model's name"
        )

    def hide_key(self, content: bytes) -> bytes:
        """Blacken our key in what a server says, for it goes to ledgers, logs and reports."""
        return self._secrets.hide(content)

    def _reason(self, error: openai.APIError) -> str:
        """Take the words of an error; the client puts the status before a reply that is no JSON."""
        body = json.loads(self._secrets.hide_text(json.dumps(error.body)))
        said = error_message({"error": body}) if isinstance(body, dict) else ""
        message = self._secrets.hide_text(error.message)
        if said or not isinstance(error, openai.APIStatusError):
            return said or one_line(message)
        return one_line(message.removeprefix(f"Error code: {error.status_code} - ")) or f"status {error.status_code}"

    def within(self, call: Callable[[], _Result]) -> _Result:
        """Call, and wait no longer than a question may take.

        Raises:
            ValueError: it took longer; the call is left behind, for nothing can end it.
        """
        done: Future[_Result] = Future()

        def work() -> None:
            try:
                done.set_result(call())
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                done.set_exception(error)

        threading.Thread(target=work, daemon=True, name="question").start()
        try:
            return done.result(self._wall_s)
        except TimeoutError:
            raise ValueError(
                f"the endpoint {self.client.base_url} does not answer (nothing whole within {self._wall_s:g} s); run "
                "again later, what it said so far is kept"
            ) from None


def connect(settings: Settings, model: str | None, ledger_dir: Path, *, setting: str) -> Endpoint:
    """Make an endpoint of what is configured; `setting` names the model's place in the configuration.

    Raises:
        ValueError: the address or the model is missing.
    """
    if not settings.api_base_url:
        raise ValueError("no endpoint is configured; set STORY_API_BASE_URL (and STORY_API_KEY)")
    if not model:
        raise ValueError(f"no model is configured; set {setting}")
    key = settings.api_key.get_secret_value() or "none"
    client = open_client(settings.api_base_url, key, retries=_RETRIES, timeout_s=_TIMEOUT_S)
    store = open_store(settings.store, ledger_dir.parent.parent)
    return Endpoint(client, model, ledger_dir, store=store)
