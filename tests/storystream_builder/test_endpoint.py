"""The endpoint behind a fake wire: what it says is paid once, and what it refuses is told apart from what breaks."""

import json

import httpx2
import openai
import pytest

from story_model.config import Settings
from storystream_builder.endpoint import Endpoint, QuestionRefused, connect


class Wire:
    """A fake server: counts requests, answers with what it was given."""

    def __init__(self, *replies) -> None:
        self.replies = list(replies)
        self.requests: list[dict] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(json.loads(request.content))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, int):
            return httpx2.Response(reply, json={"error": {"message": f"status {reply}"}})
        text, reason = reply if isinstance(reply, tuple) else (reply, "stop")
        message = {"role": "assistant", "content": text}
        return httpx2.Response(
            200,
            json={
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "seer",
                "choices": [{"index": 0, "finish_reason": reason, "message": message}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            },
        )


def endpoint_on(wire: Wire, ledger_dir) -> Endpoint:
    http = httpx2.Client(transport=httpx2.MockTransport(wire))
    client = openai.OpenAI(base_url="http://endpoint/v1", api_key="key", max_retries=0, http_client=http)
    return Endpoint(client, "seer", ledger_dir)


QUESTION = [{"role": "user", "content": "What is it?"}]


def test_an_answer_comes_with_its_price(tmp_path):
    answer = endpoint_on(Wire("A fox."), tmp_path).ask("e", QUESTION, max_tokens=9)
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("A fox.", 100, 10)


def test_a_question_is_paid_once_even_by_another_process(tmp_path):
    wire = Wire("A fox.")
    for _ in range(2):
        endpoint_on(wire, tmp_path).ask("e", QUESTION, max_tokens=9)
    assert len(wire.requests) == 1


def test_another_question_is_asked(tmp_path):
    wire = Wire("A fox.")
    for most in (9, 10):
        endpoint_on(wire, tmp_path).ask("e", QUESTION, max_tokens=most)
    assert len(wire.requests) == 2


def test_a_line_that_a_kill_cut_short_costs_that_answer_only(tmp_path):
    wire = Wire("A {fox}.")
    endpoint_on(wire, tmp_path).ask("e", QUESTION, max_tokens=1)
    endpoint_on(wire, tmp_path).ask("e", QUESTION, max_tokens=2)
    ledger = tmp_path / "e.jsonl"
    ledger.write_bytes(
        ledger.read_bytes()[: -len('.", "finish_reason": "stop", "prompt_tokens": 100, "completion_tokens": 10}')]
    )
    for most in (1, 2, 2):
        endpoint_on(wire, tmp_path).ask("e", QUESTION, max_tokens=most)
    assert len(wire.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_the_run(tmp_path, status):
    with pytest.raises(ValueError, match="STORY_API_KEY"):
        endpoint_on(Wire(status), tmp_path).ask("e", QUESTION)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_endpoint_that_is_down_ends_the_run_and_says_that_nothing_is_lost(tmp_path, status):
    with pytest.raises(ValueError, match="what it said so far is kept"):
        endpoint_on(Wire(status), tmp_path).ask("e", QUESTION)


def test_a_question_that_is_not_accepted_is_refused_alone(tmp_path):
    with pytest.raises(QuestionRefused, match="status 400"):
        endpoint_on(Wire(400), tmp_path).ask("e", QUESTION)


def test_an_endpoint_that_nobody_configured_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="STORY_API_BASE_URL"):
        connect(Settings(_env_file=None, api_base_url=None), "seer", tmp_path, setting="build.captions.model")


def test_a_model_that_nobody_named_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"set build\.captions\.model"):
        connect(Settings(_env_file=None, api_base_url="http://x/v1"), None, tmp_path, setting="build.captions.model")


def test_the_key_is_not_in_the_ledger(tmp_path):
    endpoint_on(Wire("A fox."), tmp_path).ask("e", QUESTION)
    assert b'key": "key' not in (tmp_path / "e.jsonl").read_bytes()
    assert b"Bearer" not in (tmp_path / "e.jsonl").read_bytes()
