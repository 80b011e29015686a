"""A real OpenAI-compatible server in a thread: files, batches, chat completions, models; it counts what was paid."""

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import openai

from story_model.asking.endpoint import Endpoint

ANSWERED = 200
EXPIRED = "expired"
LOST = "lost"


def completion(text: str, reason: str = "stop") -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "seer",
        "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


class PaidServer:
    """What the server holds, and what tests may change of its ways."""

    def __init__(self) -> None:
        self.url = ""
        self.paid: Counter[str] = Counter()
        """Answers given, by what was asked."""
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.looks = 1
        """How often a batch is looked at before it ends."""
        self.fate: Callable[[dict[str, Any], int], Any] = lambda request, times: ANSWERED
        """A request of a batch and how often it came: ANSWERED, EXPIRED, LOST, or a status of an error."""
        self.words: Callable[[dict[str, Any]], str] = lambda body: f"Seen: {said_in(body)}"
        self.name: Callable[[dict[str, Any]], str] = said_in
        """How `paid` names what was asked."""
        self.ending = "completed"
        self.errors: list[dict[str, str]] = []
        self.models: Any = ["seer"]
        self.on_create: Callable[[], None] = lambda: None
        """Called when a batch is created and paid, before the reply."""
        self.on_look: Callable[[], None] = lambda: None
        self.silent_creations = 0
        """So many creations get no reply."""
        self.noise: list[bytes] = []
        """Lines that come before a batch's results."""
        self.refuse_after: tuple[int, int] | None = None
        """How many answers to single questions are given before all others get a status of an error."""
        self.knows_keys = False
        """Whether a question that comes again under its `Idempotency-Key` gets its first answer, unpaid."""
        self.num_repeated = 0
        self.delay_s = 0.0
        """Between paying for a single question's answer and giving it."""
        self._given: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    def create(self, told: dict[str, Any]) -> dict[str, Any]:
        lines = [json.loads(line) for line in self.files[told["input_file_id"]].splitlines()]
        output, errors = list(self.noise), []
        for request in lines:
            self._asked[request["custom_id"]] += 1
            fate = self.fate(request, self._asked[request["custom_id"]])
            if fate == ANSWERED:
                self.paid[self.name(request["body"])] += 1
                body = completion(self.words(request["body"]))
                output.append(_result(request, {"status_code": 200, "body": body}))
            elif fate == EXPIRED:
                errors.append(_result(request, None, {"code": "batch_expired", "message": "not in time"}))
            elif fate != LOST:
                error = fate if isinstance(fate, dict) else {"message": f"status {fate}"}
                status = 400 if isinstance(fate, dict) else fate
                errors.append(_result(request, {"status_code": status, "body": {"error": error}}))
        number = f"batch_{len(self.batches)}"
        batch = {
            "id": number,
            "object": "batch",
            "endpoint": told["endpoint"],
            "completion_window": told["completion_window"],
            "input_file_id": told["input_file_id"],
            "created_at": 4_000_000_000 + len(self.batches),
            "metadata": told.get("metadata"),
            "status": "validating",
            "num": len(lines),
            "looks": 0,
        }
        self.files[f"{number}-out"] = b"\n".join(reversed(output))  # in another order than asked
        self.files[f"{number}-err"] = b"\n".join(errors)
        self.batches[number] = batch
        self.on_create()
        return batch

    def answer(self, body: dict[str, Any], key: str | None) -> dict[str, Any] | int:
        """Answer a single question, paid unless it is known by its key; or give the status of an error."""
        with self._lock:
            if self.knows_keys and key in self._given:
                self.num_repeated += 1
                return self._given[str(key)]
            if self.refuse_after and sum(self.paid.values()) >= self.refuse_after[0]:
                return self.refuse_after[1]
            self.paid[self.name(body)] += 1
            found = completion(self.words(body))
            if key:
                self._given[key] = found
        time.sleep(self.delay_s)
        return found

    def look(self, number: str) -> dict[str, Any] | None:
        batch = self.batches.get(number)
        if batch is None:
            return None
        self.on_look()
        batch["looks"] += 1
        counts = {"total": batch["num"], "completed": 0, "failed": 0}
        if batch["looks"] < self.looks:
            return batch | {"status": "in_progress", "request_counts": counts}
        names = {
            field: f"{number}-{name}"
            for field, name in (("output_file_id", "out"), ("error_file_id", "err"))
            if batch["num"] and (name == "out" or self.files.get(f"{number}-{name}"))
        }
        said = {"errors": {"object": "list", "data": self.errors}} if self.errors else {}
        return batch | {"status": self.ending, "request_counts": counts} | names | said


def said_in(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["image_url"]["url"][-40:]


def _result(request: dict[str, Any], response: dict[str, Any] | None, error: dict[str, str] | None = None) -> bytes:
    return json.dumps({"custom_id": request["custom_id"], "response": response, "error": error}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        paid: PaidServer = self.server.paid_server
        path = self.path.split("?")[0]
        if path == "/v1/models":
            if isinstance(paid.models, int):
                self.reply({"error": {"message": f"status {paid.models}"}}, paid.models)
            else:
                self.reply({"object": "list", "data": [{"id": name, "object": "model"} for name in paid.models]})
        elif path == "/v1/batches":
            self.reply({"object": "list", "data": list(reversed(paid.batches.values())), "has_more": False})
        elif found := re.fullmatch(r"/v1/batches/(\w+)", path):
            batch = paid.look(found[1])
            self.reply(batch or {"error": {"message": "no such batch"}}, 200 if batch else 404)
        elif found := re.fullmatch(r"/v1/files/([\w-]+)/content", path):
            data = paid.files.get(found[1])
            self.reply(data if data is not None else {"error": {"message": "gone"}}, 200 if data is not None else 404)
        else:
            self.reply({"error": {"message": "nothing here"}}, 404)

    def do_POST(self) -> None:
        paid: PaidServer = self.server.paid_server
        length = int(self.headers["content-length"])
        data = self.rfile.read(length)
        if len(data) < length:  # the client was killed
            self.close_connection = True
        elif self.path == "/v1/files":
            boundary = re.search(r"boundary=(.+)", self.headers["content-type"])
            assert boundary is not None
            part = next(one for one in data.split(b"--" + boundary[1].encode()) if b"filename=" in one)
            name = f"file-{len(paid.files)}"
            paid.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            self.reply({"id": name, "object": "file", "purpose": "batch", "bytes": len(data), "created_at": 0})
        elif self.path == "/v1/batches":
            batch = paid.create(json.loads(data))
            if paid.silent_creations:
                paid.silent_creations -= 1
                self.close_connection = True
                return
            self.reply(batch)
        elif self.path == "/v1/chat/completions":
            self.complete(json.loads(data))
        else:
            self.reply({"error": {"message": "nothing here"}}, 404)

    def complete(self, body: dict[str, Any]) -> None:
        answer = self.server.paid_server.answer(body, self.headers.get("idempotency-key"))
        failed = isinstance(answer, int)
        self.reply({"error": {"message": f"status {answer}"}} if failed else answer, answer if failed else 200)

    def reply(self, body: Any, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


_Paid = TypeVar("_Paid", bound=PaidServer)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def running(paid: _Paid, handler: type[Handler] = Handler) -> Iterator[_Paid]:
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.paid_server = paid  # type: ignore[attr-defined]
    paid.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield paid
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving() -> Iterator[PaidServer]:
    with running(PaidServer()) as paid:
        yield paid


def endpoint_at(url: str, ledger_dir: Any, *, max_retries: int = 0) -> Endpoint:
    client = openai.OpenAI(base_url=url, api_key="key", max_retries=max_retries)
    return Endpoint(client, "seer", ledger_dir)
