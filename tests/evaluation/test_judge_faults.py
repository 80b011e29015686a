"""Judging against a server that fails in every way: what is paid stays paid, and what is nonsense is no number."""

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fault_server import (
    BEFORE,
    DELIVERY,
    HOSTILE,
    WORDS,
    client_timing,
    quick_retries,
    serving_faults,
    worded,
)
from pydantic import SecretStr

from benchmarks.judge_faults import CONFIG, measure, number_in, opinion, questions_of, worth
from evaluation.judging.panel import Patience, open_panel
from story_model.asking.clients import LARGEST_REPLY
from story_model.config import Settings

PATIENT = Patience(timeout_s=60.0, retries=6, wall_s=120.0, poll_s=0.01)
HASTY = Patience(timeout_s=0.3, retries=4, wall_s=1.0, poll_s=0.01)
"""For servers that leave a client hanging."""
STATUS = {
    "refusal": "refused",
    "refusal in words": "refused",
    "content filter": "filtered",
    "cut by length": "truncated",
}
"""Of answers that are worth nothing; all others are invalid."""
HANGING = {"hang before", "hang after", "endless drip"}


@contextmanager
def judging(folder, *, patience=PATIENT, config=CONFIG, **ways):
    """A server, and a function that opens a panel anew and has it judge."""
    with serving_faults(opinion, name=number_in, **ways) as server, quick_retries():
        settings = Settings(_env_file=None, api_base_url=server.url, api_key=SecretStr("a-key-of-some-length"))

        def judge(questions):
            return open_panel(config, settings, folder / "judge", patience=patience).judge(questions)

        yield server, judge


def truth_of(server):
    return {f"story-{name}": worth(texts[0]) for name, texts in server.said.items()}


@pytest.mark.parametrize("fault", [*BEFORE, *DELIVERY])
def test_whatever_breaks_on_the_way_every_question_is_paid_once_and_has_its_own_score(tmp_path, fault):
    """Every third request or so fails; runs go on until nothing is left."""
    ways = {"probability": 0.35, "faults": [fault], "seed": 3}
    patience = HASTY if fault in HANGING else PATIENT
    with judging(tmp_path, patience=patience, **ways) as (server, judge):
        for _ in range(12):
            rows = judge(questions_of(9)).judgements
            if all(row.status == "ok" for row in rows):
                break
    assert {row.story_id: row.score for row in rows} == truth_of(server)
    assert len(rows) == 9
    assert (sum(server.paid.values()), server.paid_twice) == (9, 0)
    assert server.met[fault] > 0


@pytest.mark.parametrize("fault", WORDS)
def test_an_answer_that_is_worth_nothing_has_a_status_and_is_paid_once(tmp_path, fault):
    with judging(tmp_path, probability=1.0, faults=[fault]) as (server, judge):
        first, second = (judge(questions_of(3)) for _ in range(2))
    assert [(row.status, row.score) for row in first.judgements] == [(STATUS.get(fault, "invalid"), None)] * 3
    assert all(row.reason for row in first.judgements)
    assert [row.status for row in second.judgements] == [row.status for row in first.judgements]
    assert server.num_requests == 3
    assert first.bill[0].newly_paid == second.bill[0].from_ledger == 3
    assert first.usd == pytest.approx(3 * 0.0002)
    assert second.usd == 0


def test_kills_and_faults_together_lose_nothing_and_invent_nothing(tmp_path):
    outcome = measure(24, kills=4, faults=0.3, knows_keys=True, folder=tmp_path, seed=1)
    assert outcome.kills > 0
    assert outcome.failed_runs == []
    assert sum(outcome.statuses.values()) == outcome.paid == 24
    assert (outcome.paid_twice, outcome.invented_scores, outcome.lost_scores, outcome.unaccounted) == (0, 0, 0, 0)
    assert outcome.bill_differs_usd == 0


@pytest.mark.parametrize(("fault", "least_s", "most_s"), [("429 seconds", 20, 20), ("429 date", 18, 21)])
def test_the_wait_that_a_server_asks_for_is_kept(tmp_path, monkeypatch, fault, least_s, most_s):
    waited = []
    monkeypatch.setattr(client_timing.time, "sleep", waited.append)
    ways = {"probability": 0.5, "faults": [fault], "retry_after_s": 20.0, "seed": 2}
    with judging(tmp_path, **ways) as (server, judge):
        rows = judge(questions_of(6)).judgements
    assert {row.status for row in rows} == {"ok"}
    assert len(waited) == server.met[fault] > 0
    assert all(least_s <= one <= most_s for one in waited)


def test_a_server_that_is_down_is_asked_no_more_than_a_few_questions(tmp_path):
    with judging(tmp_path, probability=1.0, faults=["503"]) as (server, judge):
        rows = judge(questions_of(40)).judgements
    statuses = Counter(row.status for row in rows)
    assert set(statuses) == {"error", "not_asked"}
    assert statuses["error"] <= 2 + CONFIG.concurrency
    assert server.num_requests <= statuses["error"] * (1 + PATIENT.retries)


def test_a_server_that_never_ends_is_left_and_the_next_run_has_its_answer_unpaid(tmp_path):
    ways = {"probability": 1.0, "faults": ["endless drip"]}
    with judging(tmp_path, patience=HASTY, **ways) as (server, judge):
        assert [row.status for row in judge(questions_of(1)).judgements] == ["error"]
        server.probability = 0.0
        assert [row.status for row in judge(questions_of(1)).judgements] == ["ok"]
    assert sum(server.paid.values()) == 1


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_reply_without_end_is_dropped_before_it_fills_the_memory(tmp_path, fault):
    with judging(tmp_path, probability=1.0, faults=[fault]) as (server, judge):
        (row,) = judge(questions_of(1)).judgements
        assert (row.status, "32 MB" in row.reason) == ("error", True)
        server.probability = 0.0
        assert judge(questions_of(1)).judgements[0].status == "ok"
    in_buffers = 48 << 20
    assert LARGEST_REPLY < server.num_flooded <= LARGEST_REPLY + in_buffers


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_server_that_denies_is_not_asked_again(tmp_path, status):
    with judging(tmp_path, probability=1.0, faults=[status]) as (server, judge):
        rows = judge(questions_of(40)).judgements
    assert {row.status for row in rows} <= {"error", "not_asked"}
    assert server.num_requests <= CONFIG.concurrency


def test_a_question_keeps_its_idempotency_key_over_faults_and_runs_and_shares_it_with_no_other(tmp_path):
    ways = {"probability": 0.5, "faults": ["503", "reset after", "cut JSON", "another envelope"], "knows_keys": False}
    with judging(tmp_path, **ways) as (server, judge):
        for _ in range(8):
            judge(questions_of(8))
    keys = {}
    for body, key in zip(server.bodies, server.keys, strict=True):
        keys.setdefault(number_in(body), set()).add(key)
    assert len(server.keys) > 8
    assert all(len(own) == 1 for own in keys.values())
    assert len(set.union(*keys.values())) == 8


def test_each_repeat_of_a_question_has_a_key_of_its_own(tmp_path):
    (question,) = questions_of(1)
    with judging(tmp_path) as (server, judge):
        rows = judge([replace(question, repeat=number) for number in range(3)]).judgements
    assert len(set(server.keys)) == len({row.key for row in rows}) == 3


def test_an_answer_in_another_envelope_is_not_asked_for_again_without_the_schema(tmp_path):
    with judging(tmp_path, probability=1.0, faults=["another envelope"], knows_keys=False) as (server, judge):
        assert [row.status for row in judge(questions_of(1)).judgements] == ["error"]
    assert sum(server.paid.values()) == 1


def test_a_ledger_that_a_kill_cut_short_costs_the_last_answer_only(tmp_path):
    with judging(tmp_path, knows_keys=False) as (server, judge):
        judge(questions_of(5))
        (ledger,) = (tmp_path / "judge").glob("*.jsonl")
        ledger.write_bytes(ledger.read_bytes()[:-20])
        rows = judge(questions_of(5)).judgements
    assert {row.story_id: row.score for row in rows} == truth_of(server)
    assert server.paid_twice == 1


def test_the_server_s_own_account_can_tell_an_invented_score():
    said = json.dumps({"rationale": "So.", "score": 7.5})
    assert worth(said) == 7.5
    assert [worth(said.replace("7.5", score)) for score in ("11", "7.3", '"7"', "NaN", "true", "0.5")] == [None] * 6


@pytest.mark.parametrize("fate", [500, 429, "expired", "lost"])
def test_what_a_batch_leaves_unanswered_is_handed_in_again_and_nothing_is_paid_twice(tmp_path, fate):
    batch = CONFIG.model_copy(update={"batch": True})
    with judging(tmp_path, config=batch) as (server, judge):
        server.fate = lambda request, times: fate if times == 1 and int(number_in(request["body"])) % 3 else 200
        server.noise = [b"{", b'{"custom_id": "of-another-account", "response": {"status_code": 200}}', b"\xff\xfe"]
        server.silent_creations = 1
        first, second = (judge(questions_of(9)) for _ in range(2))
    assert {row.story_id: row.score for row in first.judgements} == {f"story-{n}": score_of(n) for n in range(9)}
    assert (sum(server.paid.values()), server.paid_twice) == (9, 0)
    assert first.usd == pytest.approx(9 * 0.0001)
    assert (second.usd, second.bill[0].from_ledger) == (0, 9)


@pytest.mark.parametrize("fault", ["score NaN", "score 11", "score in quotes", "score 7.3", "key twice", "not JSON"])
def test_nonsense_in_a_batch_is_no_number_either(tmp_path, fault):
    batch = CONFIG.model_copy(update={"batch": True})
    with judging(tmp_path, config=batch) as (server, judge):
        server.words = lambda body: worded(opinion(body), fault)["choices"][0]["message"]["content"]
        rows = judge(questions_of(3)).judgements
    assert [(row.status, row.score) for row in rows] == [("invalid", None)] * 3


def test_a_budget_ends_the_asking_with_no_more_spent_than_is_under_way(tmp_path):
    config = CONFIG.model_copy(update={"budget_usd": 10 * 0.0002})
    with judging(tmp_path, config=config, probability=0.3, faults=["503", "429", "reset before"]) as (server, judge):
        judged = judge(questions_of(40))
    assert 10 <= sum(server.paid.values()) <= 10 + config.concurrency
    assert judged.usd == pytest.approx(sum(server.paid.values()) * 0.0002)
    assert Counter(row.status for row in judged.judgements)["not_asked"] >= 40 - 10 - config.concurrency


def score_of(number: int) -> float | None:
    return worth(opinion({"messages": [{"content": [{"text": f"This is number {number}."}]}]}))


@pytest.mark.parametrize(("length", "status"), [(100_000, "ok"), (17_000_000, "invalid")])
def test_an_answer_of_any_length_is_paid_once_and_told_in_brief(tmp_path, length, status):
    """A ledger's line has a longest length, and what is longer would be asked again by every run."""
    with judging(tmp_path, knows_keys=False) as (server, judge):
        server.words = lambda body: json.dumps({"rationale": "a" * length, "score": 7.5})
        rows = [judge(questions_of(1)).judgements[0] for _ in range(2)]
    assert [row.status for row in rows] == [status] * 2
    assert server.num_requests == 1
    assert max(len(row.model_dump_json()) for row in rows) < 30_000
