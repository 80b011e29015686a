"""The endpoint behind a fake wire: what it says is paid once, and what it refuses is told apart from what breaks."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest
from paid_server import endpoint_at, serving
from pydantic import SecretStr

from story_model.asking.endpoint import Endpoint, QuestionRefused, connect
from story_model.config import Settings


class Wire:
    """A fake server: counts requests, answers with what it was given."""

    def __init__(self, *replies) -> None:
        self.replies = list(replies)
        self.requests: list[dict] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(json.loads(request.content))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, httpx2.Response):
            return reply
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


def endpoint_on(wire, ledger_dir, *, max_retries: int = 0, **limits) -> Endpoint:
    http = httpx2.Client(transport=httpx2.MockTransport(wire))
    client = openai.OpenAI(base_url="http://endpoint/v1", api_key="key", max_retries=max_retries, http_client=http)
    return Endpoint(client, "seer", ledger_dir, **limits)


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


def body(**changes) -> httpx2.Response:
    known = {"choices": [{"message": {"content": "A fox."}, "finish_reason": "stop"}]}
    return httpx2.Response(200, json=known | changes)


def test_a_rate_limit_is_waited_out(tmp_path):
    wire = Wire(httpx2.Response(429, headers={"retry-after": "0.001"}), "A fox.")
    assert endpoint_on(wire, tmp_path, max_retries=1).ask("e", QUESTION).text == "A fox."


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"prompt_tokens": "7"}, {"prompt_tokens": -1, "completion_tokens": 2**40}]
)
def test_an_answer_that_does_not_say_its_price_is_an_answer(tmp_path, usage):
    answer = endpoint_on(Wire(body(usage=usage)), tmp_path).ask("e", QUESTION)
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("A fox.", 0, 0)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"choices": []}, "without choices"),
        ({"choices": None}, "without choices"),
        ({"choices": "A fox."}, "another form: choices"),
        ({"choices": [7]}, r"another form: choices\.0"),
        ({"choices": [{"message": {"content": 7}}]}, "another form"),
        ({"choices": [], "error": {"message": "no\nprovider"}}, "no provider"),
    ],
)
def test_a_reply_of_another_form_is_no_answer_to_this_question(tmp_path, reply, reason):
    endpoint = endpoint_on(Wire(body(**reply), "An owl."), tmp_path)
    with pytest.raises(QuestionRefused, match=reason):
        endpoint.ask("e", QUESTION)
    assert endpoint.ask("e", QUESTION).text == "An owl."


def test_a_reply_without_choices_that_was_charged_is_not_paid_again(tmp_path):
    wire = Wire(body(choices=[], usage={"prompt_tokens": 100, "completion_tokens": 0}))
    answers = [endpoint_on(wire, tmp_path).ask("e", QUESTION) for _ in range(2)]
    assert [(answer.finish_reason, answer.prompt_tokens) for answer in answers] == [("no choices", 100)] * 2
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "page",
    [b"<html>Sign in</html>", b"", b"\xff\xfe", b'{"choices": NaN}', b"[" * 100_000, b'{"choices": [', b"7" * 5000],
)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_a_page_in_place_of_an_answer_ends_the_run(tmp_path, page, kind):
    reply = httpx2.Response(200, content=page, headers={"content-type": kind})
    with pytest.raises(ValueError, match=r"something else than JSON.*STORY_API_BASE_URL"):
        endpoint_on(Wire(reply), tmp_path).ask("e", QUESTION)


def test_a_refusal_is_kept_as_one(tmp_path):
    refusal = {"message": {"content": None, "refusal": "I will\nnot."}, "finish_reason": "stop"}
    answer = endpoint_on(Wire(body(choices=[refusal])), tmp_path).ask("e", QUESTION)
    assert (answer.text, answer.refusal, answer.finish_reason) == ("", "I will not.", "refused")
    assert endpoint_on(Wire(500), tmp_path).ask("e", QUESTION) == answer


def test_an_answer_in_parts_is_joined(tmp_path):
    parts = {"message": {"content": [{"type": "text", "text": "A "}, {"type": "x"}, 7, {"text": "fox."}]}}
    assert endpoint_on(Wire(body(choices=[parts])), tmp_path).ask("e", QUESTION).text == "A fox."


def test_half_of_a_surrogate_pair_does_not_reach_the_ledger(tmp_path):
    reply = httpx2.Response(200, content=rb'{"choices": [{"message": {"content": "A \ud800 fox."}}]}')
    assert endpoint_on(Wire(reply), tmp_path).ask("e", QUESTION).text == "A ? fox."


def unsupported(name: str) -> httpx2.Response:
    said = f"Unsupported value: '{name}'." + (" Use 'max_completion_tokens' instead." if name == "max_tokens" else "")
    return httpx2.Response(400, json={"error": {"message": said, "param": name, "code": "unsupported_value"}})


def test_a_model_that_takes_other_options_is_asked_with_those_from_then_on(tmp_path):
    wire = Wire(unsupported("max_tokens"), unsupported("temperature"), "A fox.")
    endpoint = endpoint_on(wire, tmp_path)
    for number in range(2):
        endpoint.ask("e", [{"role": "user", "content": str(number)}], max_tokens=9, temperature=0)
    sent = [{name: request[name] for name in request if name not in ("model", "messages")} for request in wire.requests]
    assert sent[2:] == [{"max_completion_tokens": 9}] * 2


def test_options_that_a_model_does_not_take_do_not_change_the_question(tmp_path):
    endpoint_on(Wire(unsupported("max_tokens"), "A fox."), tmp_path).ask("e", QUESTION, max_tokens=9)
    assert endpoint_on(Wire(500), tmp_path).ask("e", QUESTION, max_tokens=9).text == "A fox."


def test_a_model_that_takes_no_option_at_all_is_not_asked_for_ever(tmp_path):
    with pytest.raises(QuestionRefused):
        endpoint_on(Wire(unsupported("max_tokens")), tmp_path).ask("e", QUESTION, max_tokens=9)


class Waiting(Wire):
    """Answers when it is let."""

    def __init__(self, *replies) -> None:
        super().__init__(*replies)
        self.reached, self.let = threading.Event(), threading.Event()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        reply = super().__call__(request)
        self.reached.set()
        self.let.wait()
        return reply


def test_a_server_that_never_ends_its_answer_ends_the_run(tmp_path):
    wire = Waiting("A fox.")
    with pytest.raises(ValueError, match=r"nothing whole within 0\.01 s"):
        endpoint_on(wire, tmp_path, wall_s=0.01).ask("e", QUESTION)
    wire.let.set()


@pytest.mark.parametrize("reply", ["A fox.", 400])
def test_two_threads_with_one_question_ask_it_once(tmp_path, reply):
    wire = Waiting(reply)
    endpoint = endpoint_on(wire, tmp_path)
    looked_for = threading.Event()
    asking = endpoint._asking

    class Watched(dict):
        def get(self, key):
            looked_for.set()
            return asking.get(key)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(endpoint.ask, "e", QUESTION)
        wire.reached.wait()
        endpoint._asking = Watched(asking)
        second = pool.submit(endpoint.ask, "e", QUESTION)
        looked_for.wait()
        wire.let.set()
        outcomes = [str(one.exception() or one.result()) for one in (first, second)]
    assert len(wire.requests) == 1
    assert outcomes[0] == outcomes[1]


@pytest.fixture
def server():
    with serving() as paid:
        yield paid


def test_a_model_that_the_server_lists_costs_nothing_to_check(server, tmp_path):
    endpoint_at(server.url, tmp_path).preflight()
    assert not server.paid


@pytest.mark.parametrize("models", [404, 405, 500, []])
def test_a_server_that_lists_no_models_is_asked_one_token(server, tmp_path, models):
    server.models = models
    endpoint_at(server.url, tmp_path).preflight()
    assert sum(server.paid.values()) == 1


def test_a_model_that_the_server_knows_by_another_name_is_taken(server, tmp_path):
    server.models = ["seer-2026-11"]
    endpoint_at(server.url, tmp_path).preflight()


class Catalogue(Wire):
    """Lists models, and answers questions with a status."""

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(200, json={"data": [{"id": "seer-2"}, {"id": "painter"}, 7, {}]})
        return super().__call__(request)


@pytest.mark.parametrize("status", [404, 403])
def test_an_unknown_model_is_told_with_the_nearest_names(tmp_path, status):
    with pytest.raises(ValueError, match=r"has no model 'seer' \(.*; it lists 'seer-2'"):
        endpoint_on(Catalogue(status), tmp_path).preflight()


def test_a_listed_server_that_is_down_is_not_said_to_lack_the_model(tmp_path):
    with pytest.raises(ValueError, match="does not answer"):
        endpoint_on(Catalogue(503), tmp_path).preflight()


def test_a_model_that_is_denied_by_name_is_told(tmp_path):
    denial = httpx2.Response(400, json={"error": {"message": "seer does not exist"}})
    with pytest.raises(ValueError, match=r"has no model 'seer' \(seer does not exist\)"):
        endpoint_on(Catalogue(denial), tmp_path).preflight()


def test_a_server_that_does_not_take_the_short_question_is_there_all_the_same(tmp_path):
    endpoint_on(Catalogue(httpx2.Response(400, json={"error": {"message": "too short"}})), tmp_path).preflight()


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_before_anything_is_asked(server, tmp_path, status):
    server.models = status
    with pytest.raises(ValueError, match="STORY_API_KEY"):
        endpoint_at(server.url, tmp_path).preflight()
    assert not server.paid


def test_an_address_where_nobody_answers_is_told(tmp_path):
    with pytest.raises(ValueError, match="does not answer"):
        endpoint_at("http://127.0.0.1:9/v1", tmp_path).preflight()


def test_the_key_is_in_no_message(tmp_path):
    settings = Settings(_env_file=None, api_base_url="http://127.0.0.1:9/v1", api_key=SecretStr("sk-secret"))
    endpoint = connect(settings, "seer", tmp_path, setting="x")
    endpoint.client = endpoint.client.with_options(max_retries=0)
    with pytest.raises(ValueError, match="does not answer") as caught:
        endpoint.preflight()
    assert "sk-secret" not in str(caught.value)


def test_a_ledger_s_name_cannot_lead_out_of_their_folder(tmp_path):
    with pytest.raises(ValueError, match="leaves"):
        endpoint_on(Wire(""), tmp_path).ledger("../../elsewhere")


def test_a_question_with_a_key_of_its_own_goes_by_that_alone(tmp_path):
    wire = Wire("A fox.")
    for encoding in ("as PNG", "as JPEG"):
        endpoint_on(wire, tmp_path).ask("e", [{"role": "user", "content": encoding}], key="pixels", max_tokens=9)
    assert len(wire.requests) == 1
    endpoint_on(wire, tmp_path).ask("e", [{"role": "user", "content": "as PNG"}], key="other pixels", max_tokens=9)
    assert len(wire.requests) == 2
    assert "key" not in wire.requests[0]


def test_one_question_under_two_keys_is_two_questions_to_a_server_that_charges_once(server, tmp_path):
    server.knows_keys = True
    for key in ("first asking", "second asking"):
        endpoint_at(server.url, tmp_path).ask("e", QUESTION, key=key)
    assert sum(server.paid.values()) == 2


def test_what_a_server_says_of_a_model_is_handed_on(tmp_path):
    rows = [{"id": "seer", "shutdown_date": 1}, {"id": 7}, "painter"]
    wire = Wire(httpx2.Response(200, json={"data": rows}))
    transport = httpx2.MockTransport(lambda request: wire.replies[0])
    client = openai.OpenAI(base_url="http://endpoint/v1", api_key="key", http_client=httpx2.Client(transport=transport))
    assert Endpoint(client, "seer", tmp_path).models() == [{"id": "seer", "shutdown_date": 1}]


def test_a_key_that_the_server_says_back_is_not_kept(tmp_path):
    wire = Wire("Your key is sk-secret-word.")
    http = httpx2.Client(transport=httpx2.MockTransport(wire))
    client = openai.OpenAI(base_url="http://endpoint/v1", api_key="sk-secret-word", http_client=http)
    assert Endpoint(client, "seer", tmp_path).ask("e", QUESTION).text == "Your key is ***."
    assert "sk-secret-word" not in (tmp_path / "e.jsonl").read_text()


def test_a_refused_question_tells_the_servers_code(tmp_path):
    refused = httpx2.Response(400, json={"error": {"message": "look away", "code": "content_filter"}})
    with pytest.raises(QuestionRefused, match="look away") as caught:
        endpoint_on(Wire(refused), tmp_path).ask("e", QUESTION)
    assert caught.value.code == "content_filter"


def test_errors_name_the_settings_that_the_endpoint_was_made_of(tmp_path):
    with pytest.raises(ValueError, match="check HERE, THERE and the model's name"):
        endpoint_on(Wire(401), tmp_path, settings=("HERE", "THERE")).ask("e", QUESTION)


@pytest.mark.parametrize("key", ["“sk-a-key-in-quotes”", "sk-a-key-with-its-line-end\n", " sk-a-key"])
def test_a_key_that_no_header_can_hold_is_told_before_anybody_is_asked(tmp_path, key):
    settings = Settings(_env_file=None, api_base_url="http://127.0.0.1:9/v1", api_key=SecretStr(key))
    with pytest.raises(ValueError, match=r"the key for .* copy it again") as caught:
        connect(settings, "seer", tmp_path / "run" / "answers", setting="build.captions.model")
    assert "sk-a-key" not in str(caught.value)


def test_questions_are_no_lines_of_the_log(tmp_path, caplog):
    with serving() as server, caplog.at_level("INFO"):
        settings = Settings(_env_file=None, api_base_url=server.url, api_key=SecretStr("sk-a-key"))
        endpoint = connect(settings, "seer", tmp_path / "run" / "answers", setting="build.captions.model")
        endpoint.ask("e0", [{"role": "user", "content": "What is seen?"}])
    assert server.paid
    assert not caplog.records
