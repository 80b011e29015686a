"""Batches against a real server that counts what was paid: nothing twice, whatever breaks and whoever is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from paid_server import ANSWERED, EXPIRED, LOST, PaidServer, endpoint_at, serving

from story_model.asking.batches import Batches, Question

OPTIONS = {"max_tokens": 9, "temperature": 0}
HERE = Path(__file__).parent


@pytest.fixture
def server():
    with serving() as paid:
        yield paid


def question(number: int, ledger: str = "e0") -> Question:
    return Question(ledger, [{"role": "user", "content": f"question {number}"}], OPTIONS)


class Asked:
    """Questions 0 to n-1 asked by batches; what came of them."""

    def __init__(self, server: PaidServer, folder: Path, **limits) -> None:
        self.endpoint = endpoint_at(server.url, folder)
        self.batches = Batches(self.endpoint, folder / "batches", poll_s=0, **{"longest_wait_s": 10, **limits})

    def ask(self, *questions: Question) -> dict[str, str]:
        return self.batches.answer_all(lambda: iter(questions))

    def text(self, one: Question) -> str | None:
        answer = self.endpoint.ledger(one.ledger).get(self.endpoint.key(one.messages, one.options))
        return answer.text if answer else None


FOUR = [question(number) for number in range(4)]
SEEN = [f"Seen: question {number}" for number in range(4)]


def test_answers_in_any_order_find_their_questions(server, tmp_path):
    asked = Asked(server, tmp_path)
    assert asked.ask(*FOUR) == {}
    assert [asked.text(one) for one in FOUR] == SEEN


def test_one_batch_holds_the_questions_of_all_ledgers(server, tmp_path):
    asked = Asked(server, tmp_path)
    asked.ask(question(1, "e1"), question(2, "e2"))
    assert len(server.batches) == 1
    assert [asked.text(question(1, "e1")), asked.text(question(2, "e2"))] == SEEN[1:3]


def test_a_second_run_asks_nothing(server, tmp_path):
    for _ in range(2):
        Asked(server, tmp_path).ask(*FOUR)
    assert [batch["looks"] for batch in server.batches.values()] == [1]
    assert set(server.paid.values()) == {1}


def test_what_was_asked_singly_is_not_asked_again(server, tmp_path):
    endpoint_at(server.url, tmp_path).ask("e0", FOUR[0].messages, **OPTIONS)
    Asked(server, tmp_path).ask(*FOUR)
    assert set(server.paid.values()) == {1}


def test_the_same_question_of_two_episodes_is_paid_once(server, tmp_path):
    asked = Asked(server, tmp_path)
    twins = question(1, "e1"), question(1, "e2")
    asked.ask(*twins)
    assert [asked.text(one) for one in twins] == [SEEN[1]] * 2
    assert server.paid["question 1"] == 1


@pytest.mark.parametrize("limit", [{"max_requests": 2}, {"max_bytes": 500}])
def test_a_batch_that_would_be_too_large_becomes_several(server, tmp_path, limit):
    asked = Asked(server, tmp_path, **limit)
    asked.ask(*FOUR)
    sizes = [len(server.files[one["input_file_id"]]) for one in server.batches.values()]
    assert len(sizes) == 2
    assert max(sizes) <= limit.get("max_bytes", max(sizes))
    assert [asked.text(one) for one in FOUR] == SEEN


def test_a_question_too_large_for_any_batch_is_refused_alone(server, tmp_path):
    asked = Asked(server, tmp_path, max_bytes=500)
    large = Question("e0", [{"role": "user", "content": "x" * 600}], OPTIONS)
    reasons = asked.ask(large, FOUR[0])
    assert ["too large" in reason for reason in reasons.values()] == [True]
    assert asked.text(FOUR[0]) == SEEN[0]


@pytest.mark.parametrize("fate", [EXPIRED, LOST, 429, 500])
def test_what_a_batch_leaves_unanswered_is_asked_again_and_nothing_else(server, tmp_path, fate):
    server.fate = lambda request, times: fate if times == 1 and "question 2" in json.dumps(request) else ANSWERED
    asked = Asked(server, tmp_path)
    assert asked.ask(*FOUR) == {}
    assert [len(server.files[one["input_file_id"]].splitlines()) for one in server.batches.values()] == [4, 1]
    assert set(server.paid.values()) == {1}


def test_what_is_never_answered_is_given_up_with_the_reason(server, tmp_path):
    server.fate = lambda request, times: EXPIRED if "question 2" in json.dumps(request) else ANSWERED
    asked = Asked(server, tmp_path, attempts=2)
    assert list(asked.ask(*FOUR).values()) == ["no answer in 2 batches"]
    assert len(server.batches) == 2


def test_a_batch_that_expires_keeps_what_it_answered(server, tmp_path):
    server.ending = "expired"
    server.fate = lambda request, times: EXPIRED if times == 1 and "question 2" in json.dumps(request) else ANSWERED
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert set(server.paid.values()) == {1}


def test_where_nothing_is_ever_answered_the_run_ends(server, tmp_path):
    server.fate = lambda request, times: EXPIRED
    with pytest.raises(ValueError, match="none of 4 questions got an answer in 3 batches"):
        Asked(server, tmp_path).ask(*FOUR)
    assert len(server.batches) == 3


def test_a_question_that_is_not_accepted_is_refused_and_not_asked_again(server, tmp_path):
    server.fate = lambda request, times: 400 if "question 2" in json.dumps(request) else ANSWERED
    assert list(Asked(server, tmp_path).ask(*FOUR).values()) == ["status 400"]
    assert len(server.batches) == 1


def test_a_model_that_takes_other_options_is_asked_again_with_those(server, tmp_path):
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."

    def fate(request, times):
        return {"message": said, "param": "max_tokens"} if "max_tokens" in request["body"] else ANSWERED

    server.fate = fate
    asked = Asked(server, tmp_path)
    assert asked.ask(*FOUR) == {}
    assert [asked.text(one) for one in FOUR] == SEEN


def test_a_denied_model_ends_the_run(server, tmp_path):
    server.fate = lambda request, times: 404
    with pytest.raises(ValueError, match="was denied: status 404"):
        Asked(server, tmp_path).ask(*FOUR)


def test_a_batch_that_fails_as_a_whole_ends_the_run_with_its_reason(server, tmp_path):
    server.ending, server.errors = "failed", [{"code": "billing", "message": "no money left"}]
    server.fate = lambda request, times: LOST
    with pytest.raises(ValueError, match="failed: billing: no money left"):
        Asked(server, tmp_path).ask(*FOUR)


def test_a_batch_for_which_there_was_no_room_is_handed_in_again(server, tmp_path):
    server.ending, server.errors = "failed", [{"code": "token_limit_exceeded", "message": "enqueued"}]
    server.fate = lambda request, times: LOST if times == 1 else ANSWERED
    assert Asked(server, tmp_path).ask(*FOUR) == {}


def test_a_batch_that_somebody_cancelled_is_not_handed_in_again_unasked(server, tmp_path):
    server.ending = "cancelled"
    server.fate = lambda request, times: ANSWERED if "question 0" in json.dumps(request) else EXPIRED
    with pytest.raises(ValueError, match="was cancelled; run again"):
        Asked(server, tmp_path).ask(*FOUR)
    assert Asked(server, tmp_path).text(FOUR[0]) == SEEN[0]
    assert len(server.batches) == 1


def test_results_that_lie_are_overlooked_and_counted(server, tmp_path, caplog):
    server.noise = [b"\xff\x00", b"[]", b'{"custom_id": "nobody"}', b'{"custom_id": 7}', b"[" * 100_000]
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert "5 lines of its results cannot be used" in caplog.text


def test_results_that_are_kept_no_longer_are_asked_again(server, tmp_path):
    server.on_look = lambda: server.files.pop("batch_0-out", None)
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert len(server.batches) == 2


def test_a_server_without_batches_is_named(server, tmp_path):
    asked = Asked(server, tmp_path)
    asked.endpoint.client = endpoint_at(server.url.replace("/v1", "/other"), tmp_path).client
    with pytest.raises(ValueError, match=r"has no Batch API; set build\.captions\.batch=false"):
        asked.ask(*FOUR)


def test_a_batch_that_never_ends_ends_the_run_not_the_batch(server, tmp_path):
    server.looks = 10**9
    with pytest.raises(ValueError, match="batch_0 do not end; run again later"):
        Asked(server, tmp_path, longest_wait_s=-1).ask(*FOUR)
    server.looks = 1
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert len(server.batches) == 1


def test_a_batch_whose_creation_got_no_reply_is_not_created_again(server, tmp_path):
    server.silent_creations = 1
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert len(server.batches) == 1


def test_a_batch_of_another_account_is_no_reason_to_pay_again(server, tmp_path):
    server.looks = 10**9
    with pytest.raises(ValueError, match="do not end"):
        Asked(server, tmp_path, longest_wait_s=-1).ask(*FOUR)
    server.batches.clear()
    with pytest.raises(ValueError, match="knows no batch batch_0"):
        Asked(server, tmp_path).ask(*FOUR)


CHILD = """
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = sys.argv[3:]
from test_batch_api import FOUR, Asked
Asked(SimpleNamespace(url=sys.argv[1]), Path(sys.argv[2])).ask(*FOUR)
"""


@pytest.mark.parametrize("moment", ["on_create", "on_look"])
def test_a_killed_run_finds_its_batch_again(server, tmp_path, moment):
    """`on_create`: between the creation and the writing down of its id. `on_look`: while waiting."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(tmp_path), str(HERE), str(HERE.parent)])
    setattr(server, moment, lambda: os.kill(child.pid, signal.SIGKILL))
    assert child.wait() == -signal.SIGKILL
    setattr(server, moment, lambda: None)
    asked = Asked(server, tmp_path)
    assert asked.ask(*FOUR) == {}
    assert [asked.text(one) for one in FOUR] == SEEN
    assert len(server.batches) == 1
    assert set(server.paid.values()) == {1}


def test_another_machine_finds_the_batch_of_the_first(server, tmp_path):
    server.looks = 10**9
    with pytest.raises(ValueError, match="do not end"):
        Asked(server, tmp_path / "first", longest_wait_s=-1).ask(*FOUR)
    server.looks = 1
    assert Asked(server, tmp_path / "second").ask(*reversed(FOUR)) == {}
    assert len(server.batches) == 1


def test_what_is_new_is_handed_in_beside_what_is_under_way(server, tmp_path):
    server.looks = 10**9
    with pytest.raises(ValueError, match="do not end"):
        Asked(server, tmp_path, longest_wait_s=-1).ask(*FOUR[:2])
    server.looks = 1
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert [len(server.files[one["input_file_id"]].splitlines()) for one in server.batches.values()] == [2, 2]


def test_a_journal_that_a_kill_cut_short_is_made_up_from_the_server(server, tmp_path):
    server.looks = 10**9
    with pytest.raises(ValueError, match="do not end"):
        Asked(server, tmp_path, longest_wait_s=-1).ask(*FOUR)
    journal = tmp_path / "batches" / "batches.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    server.looks = 1
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert len(server.batches) == 1


def test_an_intention_that_came_to_nothing_is_no_obstacle(server, tmp_path):
    def refuse() -> None:
        raise ConnectionAbortedError

    server.create, created = lambda told: refuse(), server.create  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="run again later"):
        Asked(server, tmp_path).ask(*FOUR)
    server.create = created
    assert Asked(server, tmp_path).ask(*FOUR) == {}
    assert set(server.paid.values()) == {1}


def test_a_question_with_a_key_of_its_own_is_answered_under_that(server, tmp_path):
    asked = Asked(server, tmp_path)
    repeats = [Question("e0", FOUR[0].messages, OPTIONS, key) for key in ("first", "second")]
    assert asked.ask(*repeats) == {}
    assert [asked.endpoint.ledger("e0").get(key).text for key in ("first", "second")] == [SEEN[0]] * 2
    assert server.paid["question 0"] == 2


def test_what_is_under_way_is_known(server, tmp_path):
    server.looks = 10**9
    with pytest.raises(ValueError, match="do not end"):
        Asked(server, tmp_path, longest_wait_s=-1).ask(*FOUR)
    asked = Asked(server, tmp_path)
    assert asked.batches.under_way() == {asked.endpoint.key(one.messages, one.options) for one in FOUR}
    server.looks = 1
    asked.ask(*FOUR)
    assert asked.batches.under_way() == set()


def test_the_setting_that_asks_for_batches_is_the_callers(server, tmp_path):
    asked = Asked(server, tmp_path, setting="evaluate.judge.batch")
    asked.endpoint.client = endpoint_at(server.url.replace("/v1", "/other"), tmp_path).client
    with pytest.raises(ValueError, match=r"set evaluate\.judge\.batch=false"):
        asked.ask(*FOUR)


def test_two_processes_do_not_write_their_requests_into_one_file(server, tmp_path):
    asked = Asked(server, tmp_path, longest_wait_s=0)
    (tmp_path / "batches").mkdir()
    with FileLock(tmp_path / "batches" / ".lock"), pytest.raises(ValueError, match="another process waits"):
        asked.ask(*FOUR)
    assert not server.batches
    assert asked.ask(*FOUR) == {}
