"""A real OpenAI-compatible server that fails as servers do, by seeded chance: before it was paid, after, or in words.

What it was paid for, and what it truly said, is counted by the question that was asked (its messages, whatever the
options), so that a test can hold a client's figures against the truth. Nothing is decided by the clock or the order of
threads: the fault of a request follows from the seed, the question and how often that came.
"""

import email.utils
import hashlib
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import openai._base_client as client_timing
from paid_server import Handler, PaidServer, completion, running

from evaluation.judging.panel import Patience

BEFORE = (
    *("429 seconds", "429 date", "429", "500", "502 page", "503", "504", "reset before", "hang before"),
    "page in place of JSON",
)
"""Nothing was paid."""
DELIVERY = (
    *("reset after", "hang after", "cut body", "cut JSON", "malformed JSON", "another envelope", "drip"),
    "endless drip",
)
"""The answer was paid, and arrives late, in pieces or not at all."""
WORDS = (
    *("not JSON", "another schema", "score NaN", "score 11", "score in quotes", "score 7.3", "score true", "no score"),
    *("key twice", "empty", "null", "refusal", "refusal in words", "content filter", "cut by length"),
)
"""The answer was paid and is worth nothing: the model itself said it."""
FAULTS = (*BEFORE, *DELIVERY, *WORDS)
DENIED = ("307", "400", "401", "403", "404")
"""Not by chance: what a client did wrong, as the server sees it; and that another place should be asked."""
HOSTILE = ("flood", "packed flood")
"""Nothing was paid, and what comes never ends, or ends after gigabytes once it is unpacked."""

Words = Callable[[dict[str, Any]], str]


class FaultServer(PaidServer):
    """A paid server with faults."""

    def __init__(
        self,
        words: Words,
        *,
        name: Words | None = None,
        probability: float = 0.0,
        faults: Collection[str] = FAULTS,
        seed: int = 0,
        knows_keys: bool = True,
        hang_s: float = 30.0,
        drip_s: float = 0.02,
        retry_after_s: float = 0.01,
        echo: Callable[[str], str] | None = None,
        wire: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        super().__init__()
        unknown = set(faults) - {*FAULTS, *DENIED, *HOSTILE}
        assert not unknown, unknown
        self.words, self.name, self.knows_keys = words, name or question_of, knows_keys
        self.probability, self.faults, self.seed = probability, tuple(faults), seed
        self.hang_s, self.drip_s, self.retry_after_s = hang_s, drip_s, retry_after_s
        self.echo = echo
        """Makes of a request's Authorization what all that is said repeats; `{heard}` in words stands for it."""
        self.wire = wire
        """Has the last word on what is sent."""
        self.authorizations: set[str] = set()
        self.num_flooded = 0
        """Bytes of replies that never end, as they are once unpacked."""
        self.elsewhere = ""
        """Where a 307 leads."""
        self.said: dict[str, list[str]] = {}
        """By question, the texts of the answers that were paid."""
        self.met: Counter[str] = Counter()
        """How often each fault was met."""
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        """The idempotency keys of the requests."""
        self.closing = threading.Event()
        self._times: Counter[str] = Counter()

    @property
    def num_requests(self) -> int:
        return len(self.bodies)

    @property
    def paid_twice(self) -> int:
        """Answers that were paid beyond a question's first."""
        return sum(count - 1 for count in self.paid.values())

    def fault_of(self, question: str) -> str | None:
        """Draw what goes wrong with the next request that asks this."""
        self._times[question] += 1
        chance = random.Random(f"{self.seed} {question} {self._times[question]}")
        return chance.choice(self.faults) if self.faults and chance.random() < self.probability else None

    def draw(self, body: dict[str, Any], key: str | None) -> str | None:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            fault = self.fault_of(self.name(body))
            if fault is not None:
                self.met[fault] += 1
            return fault

    def pay(self, body: dict[str, Any], key: str | None, fault: str | None, heard: str) -> dict[str, Any]:
        """Give the answer that the key had before, else a new one, paid."""
        with self._lock:
            if self.knows_keys and key in self._given:
                self.num_repeated += 1
                return self._given[str(key)]
            question = self.name(body)
            self.paid[question] += 1
            found = worded(self.words(body).replace("{heard}", heard), fault, heard)
            self.said.setdefault(question, []).append(found["choices"][0]["message"]["content"])
            if key:
                self._given[key] = found
            return found


def question_of(body: dict[str, Any]) -> str:
    """Name a question by its messages."""
    return hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()


def worded(text: str, fault: str | None, heard: str = "") -> dict[str, Any]:
    """Make a completion of the true answer, or of what a model that fails this way says."""
    score = json.loads(text).get("score") if text.lstrip().startswith("{") else None
    reason = f"Picture 1 keeps the line. {heard}".strip()
    nonsense = {
        "not JSON": f"I would give this story {score} points. {heard}",
        "another schema": json.dumps({"verdict": {"points": score}}),
        "score NaN": f'{{"rationale": "{reason}", "score": NaN}}',
        "score 11": json.dumps({"rationale": reason, "score": 11}),
        "score in quotes": json.dumps({"rationale": reason, "score": "7"}),
        "score 7.3": json.dumps({"rationale": reason, "score": 7.3}),
        "score true": json.dumps({"rationale": reason, "score": True}),
        "no score": json.dumps({"rationale": reason}),
        "key twice": f'{{"rationale": "{reason}", "score": 2, "score": 9}}',
        "empty": "",
        "null": None,
        "refusal": None,
        "refusal in words": f"I'm sorry, but I can't assist with that. {heard}",
        "content filter": "",
        "cut by length": text[: len(text) // 2],
    }
    ends = {"content filter": "content_filter", "cut by length": "length"}
    found = completion("", ends.get(fault or "", "stop"))
    message = found["choices"][0]["message"]
    message["content"] = nonsense.get(fault, text) if fault else text
    if fault == "refusal":
        message["refusal"] = f"I cannot judge this. {heard}".strip()
    return found


class FaultHandler(Handler):
    def complete(self, body: dict[str, Any]) -> None:
        server: FaultServer = self.server.paid_server
        key, heard = self.headers.get("idempotency-key"), self.headers.get("authorization", "")
        server.authorizations.add(heard)
        fault, self.heard = server.draw(body, key), server.echo(heard) if server.echo else ""
        with suppress(ConnectionError):
            if fault in (*BEFORE, *DENIED, *HOSTILE):
                self._fail(fault, server)
                return
            answer = server.pay(body, key, fault, self.heard)
            if server.delay_s:
                server.closing.wait(server.delay_s)
            self._deliver(json.dumps(answer).encode(), fault, server)

    def _fail(self, fault: str, server: FaultServer) -> None:
        if fault == "reset before":
            self._reset()
        elif fault == "hang before":
            self._hang(server)
        elif fault in HOSTILE:
            self._flood(server, packed=fault == "packed flood")
        elif fault == "page in place of JSON":
            page = f"<html>{self.heard}<body>Please log in.</body></html>"
            self._send(page.encode(), 200, f"text/html; for={self.heard}" if self.heard else "text/html")
        elif fault == "502 page":
            self._send(f"<html><h1>502 Bad Gateway</h1>{self.heard}</html>".encode(), 502, "text/html")
        else:
            waits = {
                "429 seconds": f"{server.retry_after_s:g}",
                "429 date": email.utils.formatdate(time.time() + server.retry_after_s, usegmt=True),
            }
            told = {"retry-after": waits[fault]} if fault in waits else {}
            told |= {"location": f"{server.elsewhere}/chat/completions"} if fault == "307" else {}
            said = {"error": {"message": f"the server says {fault} {self.heard}".strip(), "type": "server_error"}}
            self._send(json.dumps(said).encode(), int(fault.split()[0]), "application/json", told)

    def _deliver(self, data: bytes, fault: str | None, server: FaultServer) -> None:
        if fault == "reset after":
            self._reset()
        elif fault == "hang after":
            self._hang(server)
        elif fault == "cut body":
            self._head(200, "application/json", len(data))
            self.wfile.write(data[: len(data) // 2])
            self._reset()
        elif fault in {"drip", "endless drip"}:
            self._drip(data, server, ends=fault == "drip")
        else:
            spoiled = {
                "cut JSON": data[: len(data) // 2],
                "malformed JSON": data.replace(b":", b"=", 3),
                "another envelope": json.dumps({"object": "result", "output": data.decode()}).encode(),
            }
            self._send(spoiled.get(fault or "", data), 200, "application/json")

    def _drip(self, data: bytes, server: FaultServer, *, ends: bool) -> None:
        """Send a little now and then: a client's time between two bytes never runs out, only its patience."""
        self._head(200, "application/json", len(data) if ends else 1 << 30)
        step = max(1, len(data) // 4)
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
            server.closing.wait(server.drip_s)
        while not ends and not server.closing.wait(server.drip_s):
            self.wfile.write(b" ")

    def _flood(self, server: FaultServer, *, packed: bool) -> None:
        block = b"[" * (1 << 20)
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        self._head(200, "application/json", 1 << 40, {"content-encoding": "gzip"} if packed else {})
        while not server.closing.is_set():
            self.wfile.write(packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH) if packed else block)
            server.num_flooded += len(block)

    def _hang(self, server: FaultServer) -> None:
        self.close_connection = True
        server.closing.wait(server.hang_s)

    def _reset(self) -> None:
        """End the connection with RST, not with a polite FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def _send(self, data: bytes, status: int, kind: str, headers: dict[str, str] | None = None) -> None:
        server: FaultServer = self.server.paid_server
        data = server.wire(data)
        self._head(status, kind, len(data), headers)
        self.wfile.write(data)

    def _head(self, status: int, kind: str, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving_faults(words: Words, **ways: Any) -> Iterator[FaultServer]:
    server = FaultServer(words, **ways)
    with running(server, FaultHandler):
        try:
            yield server
        finally:
            server.closing.set()


IMPATIENT = Patience(timeout_s=0.5, wall_s=2.0, poll_s=0.01)
"""Of a judge that tests wait for."""


@contextmanager
def quick_retries(first_wait_s: float = 0.001) -> Iterator[None]:
    """Shorten what clients wait before they try again, where the server does not say."""
    before = (client_timing.INITIAL_RETRY_DELAY, client_timing.MAX_RETRY_DELAY)
    client_timing.INITIAL_RETRY_DELAY, client_timing.MAX_RETRY_DELAY = first_wait_s, 8 * first_wait_s
    try:
        yield
    finally:
        client_timing.INITIAL_RETRY_DELAY, client_timing.MAX_RETRY_DELAY = before
