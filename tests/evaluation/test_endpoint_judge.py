"""One judge: what its answers come to, that each is paid once, and when nothing more is asked."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from judge_wire import (
    CONFIG,
    USD,
    Wire,
    body,
    comparison,
    failure,
    one,
    opinion,
    pair,
    question,
    reply,
    statuses,
)
from paid_server import ANSWERED, EXPIRED, serving

from evaluation.judging.panel import Patience, open_panel
from evaluation.judging.questions import Question
from story_model.asking.batches import Batches
from story_model.config import Settings

HERE = Path(__file__).parent
SIX = [question(f"Text {number}.") for number in range(6)]
BATCH = CONFIG.model_copy(update={"batch": True, "model": "seer"})


def test_a_valid_answer_is_a_score_with_its_reason_and_price(tmp_path):
    found = one(Wire().judge(tmp_path, question()))
    assert (found.status, found.score, found.rationale) == ("ok", 7.5, "Picture 1 keeps the line.")
    assert (found.prompt_tokens, found.completion_tokens, found.usd) == (100, 20, USD)
    assert (found.judge, found.systems, found.words, found.paid_before) == ("judge-1", ("secret-system",), 6, False)


def test_a_comparison_is_a_choice(tmp_path):
    found = one(Wire(reply(json.dumps({"rationale": "x", "choice": "second"}))).judge(tmp_path, comparison()))
    assert (found.status, found.choice, found.score) == ("ok", "second", None)


@pytest.mark.parametrize(
    ("response", "status", "stored"),
    [
        (reply(None, refusal="I cannot judge this."), "refused", True),
        (reply("I'm sorry, but I can't assist with that."), "refused", True),
        (reply(opinion(), finish="content_filter"), "filtered", True),
        (reply(opinion(9), finish="length"), "truncated", True),
        (reply("style: 8/10"), "invalid", True),
        (reply(opinion(11)), "invalid", True),
        (reply(opinion(7.3)), "invalid", True),
        (reply('{"rationale": "x", "score": NaN}'), "invalid", True),
        (reply(None), "invalid", True),
        (httpx2.Response(200, json={**body(opinion()), "choices": []}), "invalid", True),
        (failure(400, "no pictures, please"), "error", False),
        (failure(400, "look away", code="content_filter"), "filtered", False),
        (failure(500), "error", False),
        (failure(429), "error", False),
        (failure(401), "error", False),
        (httpx2.Response(200, text="<html>Log in</html>"), "error", False),
        (httpx2.Response(200, json={"choices": "none"}), "error", False),
        (lambda _: httpx2.ConnectError("gone"), "error", False),
        (lambda _: httpx2.ReadTimeout("slow"), "error", False),
    ],
)
def test_what_cannot_be_scored_has_a_status_and_a_reason_but_no_number(tmp_path, response, status, stored):
    found = one(Wire(response).judge(tmp_path, question()))
    assert (found.status, found.score, found.choice) == (status, None, None)
    assert found.reason
    again = Wire(reply(opinion()))
    assert one(again.judge(tmp_path, question())).status == (status if stored else "ok")
    assert bool(again.asked) is not stored


def test_an_answer_is_paid_for_once(tmp_path):
    wire = Wire()
    first, second = (wire.judge(tmp_path, question()) for _ in range(2))
    assert len(wire.asked) == 1
    assert one(second) == one(first).model_copy(update={"paid_before": True})
    bills = [(bill.newly_paid, bill.from_ledger, bill.usd, bill.usd_before) for bill in (*first.bill, *second.bill)]
    assert bills == [(1, 0, USD, 0), (0, 1, 0, USD)]


def test_the_same_question_for_two_purposes_is_paid_for_once(tmp_path):
    asked = question()
    anchor = Question("anchor", "style", "s1", ("dataset",), asked.stories)
    wire = Wire()
    found = wire.judge(tmp_path, asked, anchor)
    assert len(wire.asked) == 1
    assert [(row.purpose, row.score, row.paid_before) for row in found.judgements] == [
        ("score", 7.5, False),
        ("anchor", 7.5, True),
    ]
    assert (found.bill[0].usd, found.bill[0].newly_paid, found.bill[0].from_ledger) == (USD, 1, 1)


def changed(**parameters):
    return CONFIG.model_copy(update=parameters)


@pytest.mark.parametrize(
    ("config", "asked", "url"),
    [
        (changed(model="judge-2"), question(), None),
        (changed(temperature=0.5), question(), None),
        (changed(max_tokens=801), question(), None),
        (changed(form="published"), question(), None),
        (CONFIG, question("Pip sleeps."), None),
        (CONFIG, question(dimension="coherence"), None),
        (CONFIG, question(pixel=(201, 30, 30)), None),
        (CONFIG, question(repeat=1), None),
        (CONFIG, Question("score", "style", "s1", ("a",), (question().stories[0][::-1],)), None),
        (CONFIG, question(), "http://judge.test/v2"),
        (CONFIG, question(), "https://judge.test/v1"),
    ],
)
def test_a_changed_question_is_asked_anew(tmp_path, config, asked, url):
    wire = Wire()
    wire.judge(tmp_path, question())
    wire.panel(tmp_path, config, **({"url": url} if url else {})).judge([asked])
    assert len(wire.asked) == 2


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        (question(compress_level=0), "http://judge.test/v1"),
        (Question("anchor", "style", "another", ("somebody",), question().stories), "http://judge.test/v1"),
        (question(), "HTTP://Judge.test:80/v1/"),
    ],
)
def test_what_the_judge_does_not_see_changes_no_question(tmp_path, asked, url):
    wire = Wire()
    wire.judge(tmp_path, question())
    wire.panel(tmp_path, url=url).judge([asked])
    assert len(wire.asked) == 1


def test_two_stories_in_the_other_order_are_another_question(tmp_path):
    wire = Wire(reply(json.dumps({"rationale": "x", "choice": "first"})))
    wire.judge(tmp_path, comparison("One.", "Two."), comparison("Two.", "One."))
    assert len(wire.asked) == 2


def test_repeats_are_answers_of_their_own_and_look_the_same_to_the_judge(tmp_path):
    wire = Wire(reply(opinion(6)), reply(opinion(8)))
    found = wire.judge(tmp_path, question(), question(repeat=1))
    assert [row.score for row in found.judgements] == [6, 8]
    assert wire.asked[0] == wire.asked[1]
    assert wire.headers[0]["idempotency-key"] != wire.headers[1]["idempotency-key"]


def test_an_endpoint_without_schemas_is_asked_without_and_that_is_told(tmp_path):
    wire = Wire(failure(400, "unknown field response_format"), reply(opinion()))
    found = wire.judge(tmp_path, *SIX[:2])
    assert statuses(found) == ["ok", "ok"]
    assert ["response_format" in asked for asked in wire.asked] == [True, False, False]
    assert "schema" in found.notices[0].text


def test_answers_keep_the_order_of_the_questions_however_they_arrive(tmp_path):
    with serving() as paid:
        paid.name = lambda asked: json.dumps(asked["messages"])
        paid.words = lambda asked: opinion(1 + next(n for n in range(6) if f"Text {n}." in json.dumps(asked)))
        config = CONFIG.model_copy(update={"model": "seer", "concurrency": 6})
        found = served(paid, tmp_path, config).judge(SIX)
    assert [row.score for row in found.judgements] == [1, 2, 3, 4, 5, 6]
    assert set(paid.paid.values()) == {1}


def served(paid, folder, config):
    settings = Settings(_env_file=None, api_base_url=paid.url)
    panel = open_panel(config, settings, folder / "run" / "judge", patience=Patience(retries=0, poll_s=0))
    assert not isinstance(panel, str), panel
    return panel


def test_a_dead_endpoint_is_not_asked_for_every_story(tmp_path):
    wire = Wire(failure(503))
    found = wire.judge(tmp_path, *SIX)
    assert len(wire.asked) == 3
    assert statuses(found) == ["error"] * 3 + ["not_asked"] * 3
    assert "3 times in a row" in found.judgements[-1].reason
    assert "3 times in a row" in found.notices[0].text
    assert (found.bill[0].errors, found.bill[0].not_asked) == (3, 3)


def test_a_model_that_thinks_for_longer_than_it_may_answer_is_not_paid_for_every_question(tmp_path):
    wire = Wire(reply('{"rationale": "First I loo', finish="length"))
    found = wire.judge(tmp_path, *(question(f"Text {number}.") for number in range(20)))
    assert statuses(found) == ["truncated"] * 12 + ["not_asked"] * 8
    assert len(wire.asked) == 12
    assert "evaluate.judge.max_tokens" in found.notices[0].text


def test_a_cut_answer_now_and_then_ends_nothing(tmp_path):
    wire = Wire(*[reply("cut", finish="length")] * 11, reply(opinion()), reply("cut", finish="length"))
    found = wire.judge(tmp_path, *(question(f"Text {number}.") for number in range(20)))
    assert statuses(found) == ["truncated"] * 11 + ["ok"] + ["truncated"] * 8


def test_failures_that_are_not_in_a_row_end_nothing(tmp_path):
    wire = Wire(*[failure(503), failure(503), reply(opinion())] * 2)
    assert statuses(wire.judge(tmp_path, *SIX)) == ["error", "error", "ok"] * 2


def test_questions_that_are_refused_one_by_one_do_not_end_the_asking(tmp_path):
    wire = Wire(*[failure(400, "this picture is too large")] * 6, reply(opinion()))
    assert statuses(wire.judge(tmp_path, *SIX)) == ["error"] * 3 + ["ok"] * 3


def test_an_endpoint_that_refuses_everything_is_left_alone(tmp_path):
    wire = Wire(failure(400, "no"))
    found = wire.judge(tmp_path, *(question(f"Text {number}.") for number in range(20)))
    assert statuses(found) == ["error"] * 12 + ["not_asked"] * 8


def test_a_key_that_is_revoked_ends_the_asking_at_once(tmp_path):
    wire = Wire(reply(opinion()), failure(401, "no such key"))
    found = wire.judge(tmp_path, *SIX)
    assert statuses(found) == ["ok", "error"] + ["not_asked"] * 4
    assert len(wire.asked) == 2


def test_a_budget_ends_the_asking_and_the_next_run_goes_on_without_paying_again(tmp_path):
    wire = Wire()
    config = CONFIG.model_copy(update={"budget_usd": 1.5 * USD})
    first = wire.judge(tmp_path, *SIX, config=config)
    assert statuses(first) == ["ok"] * 2 + ["not_asked"] * 4
    assert "budget" in first.judgements[-1].reason
    assert first.usd == pytest.approx(2 * USD)
    second = wire.judge(tmp_path, *SIX, config=config)
    assert statuses(second) == ["ok"] * 4 + ["not_asked"] * 2
    assert (second.bill[0].from_ledger, second.bill[0].newly_paid) == (2, 2)
    third = wire.judge(tmp_path, *SIX)
    assert statuses(third) == ["ok"] * 6
    assert len(wire.asked) == 6


def test_a_budget_is_overshot_by_what_is_in_flight_at_most(tmp_path):
    wire = Wire()
    config = CONFIG.model_copy(update={"budget_usd": USD, "concurrency": 3})
    wire.judge(tmp_path, *SIX, config=config)
    assert 1 <= len(wire.asked) <= 3


def test_refusals_count_against_the_budget(tmp_path):
    wire = Wire(reply(None, refusal="No."))
    config = CONFIG.model_copy(update={"budget_usd": USD})
    assert statuses(wire.judge(tmp_path, *SIX[:2], config=config)) == ["refused", "not_asked"]


def test_a_server_that_does_not_tell_its_tokens_cannot_break_the_budget(tmp_path):
    wire = Wire(reply(opinion(), tokens=(0, 0)))
    found = wire.judge(tmp_path, *SIX, config=CONFIG.model_copy(update={"budget_usd": 1e-4}))
    assert statuses(found) == ["ok"] + ["not_asked"] * 5
    assert (found.bill[0].without_usage, found.usd) == (1, 0)


def test_a_picture_that_cannot_be_decoded_is_told_before_anything_is_paid(tmp_path):
    broken = pair(1)
    broken = type(broken)(1, "Text.", b"no picture", broken.pixels)
    wire = Wire()
    with pytest.raises(ValueError, match="cannot be decoded"):
        wire.judge(tmp_path, question(), Question("score", "style", "s", ("a",), ((pair(0), broken),)))
    assert not wire.asked


def test_a_line_that_a_kill_cut_short_costs_that_answer_only(tmp_path):
    wire = Wire()
    wire.judge(tmp_path, *SIX[:2])
    (ledger,) = (tmp_path / "run" / "judge").glob("*.jsonl")
    ledger.write_bytes(ledger.read_bytes()[:-9])
    wire.judge(tmp_path, *SIX[:2])
    assert len(wire.asked) == 3


def test_a_disk_that_takes_no_answer_ends_the_asking(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "judge").write_text("a file where the folder should be")
    wire = Wire()
    with pytest.raises(OSError, match="judge"):
        wire.judge(tmp_path, *SIX)
    assert len(wire.asked) <= 1


def test_batches_cost_half_and_their_answers_are_kept(tmp_path):
    with serving() as paid:
        paid.name = lambda asked: json.dumps(asked["messages"])
        paid.words = lambda asked: opinion()
        batched = [served(paid, tmp_path, BATCH).judge(SIX) for _ in range(2)]
        single = served(paid, tmp_path, BATCH.model_copy(update={"batch": False})).judge(SIX)
    assert statuses(batched[0]) == ["ok"] * 6
    assert (batched[0].bill[0].batch, batched[0].usd) == (True, pytest.approx(6 * (100 * 10 + 10 * 50) / 1e6 / 2))
    assert [found.usd for found in (batched[1], single)] == [0, 0]
    assert [found.bill[0].usd_before for found in (batched[1], single)] == [batched[0].usd] * 2
    assert len(paid.batches) == 1
    assert set(paid.paid.values()) == {1}


def test_repeats_share_a_batch(tmp_path):
    with serving() as paid:
        paid.name = lambda asked: "all"
        paid.words = lambda asked: opinion()
        assert statuses(served(paid, tmp_path, BATCH).judge([question(), question(repeat=1)])) == ["ok", "ok"]
    assert (len(paid.batches), paid.paid["all"]) == (1, 2)


def test_what_a_batch_leaves_unanswered_is_no_score(tmp_path):
    with serving() as paid:
        paid.name = lambda asked: json.dumps(asked["messages"])
        paid.words = lambda asked: opinion()
        paid.fate = lambda request, times: 400 if "Text 1." in json.dumps(request) else ANSWERED
        found = served(paid, tmp_path, BATCH).judge(SIX[:3])
    assert statuses(found) == ["ok", "error", "ok"]
    assert found.judgements[1].score is None


def test_a_batch_that_answers_nothing_is_told_question_by_question(tmp_path):
    with serving() as paid:
        paid.fate = lambda request, times: EXPIRED
        found = served(paid, tmp_path, BATCH).judge(SIX[:2])
    assert statuses(found) == ["error", "error"]
    assert "batches" in found.judgements[0].reason
    assert [one.text.partition(":")[0] for one in found.notices] == [
        "left 2 of 2 questions unanswered, which the next run asks"
    ]


def test_a_batch_holds_what_the_budget_has_room_for(tmp_path):
    with serving() as paid:
        paid.name = lambda asked: json.dumps(asked["messages"])
        paid.words = lambda asked: opinion()
        panel = served(paid, tmp_path, BATCH.model_copy(update={"budget_usd": 0.025}))
        found = panel.judge(SIX)
    asked = statuses(found).count("ok")
    assert 0 < asked < 6
    assert statuses(found) == ["ok"] * asked + ["not_asked"] * (6 - asked)
    (notice,) = found.notices
    assert notice.text.startswith(f"left {6 - asked} of 6 questions unasked: a budget of 0.025 USD")


def test_a_batch_under_way_is_waited_for_by_a_run_that_asks_singly(tmp_path, monkeypatch):
    with serving() as paid:
        paid.name = lambda asked: json.dumps(asked["messages"])
        paid.words = lambda asked: opinion()
        paid.looks = 2
        with monkeypatch.context() as patched:
            patched.setattr(Batches, "_sleep", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                served(paid, tmp_path, BATCH).judge(SIX[:2])
        found = served(paid, tmp_path, BATCH.model_copy(update={"batch": False})).judge(SIX[:3])
    assert statuses(found) == ["ok"] * 3
    assert set(paid.paid.values()) == {1}


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_server_without_batches_is_told_with_the_setting_to_change(tmp_path):
    found = one(Wire(failure(404)).judge(tmp_path, question(), config=CONFIG.model_copy(update={"batch": True})))
    assert found.status == "error"
    assert "evaluate.judge.batch=false" in found.reason


KILLED = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
from pathlib import Path
from judge_wire import CONFIG, question
from evaluation.judging.panel import open_panel
from story_model.config import Settings
settings = Settings(_env_file=None, api_base_url={url!r})
panel = open_panel(CONFIG.model_copy(update={{"model": "seer", "concurrency": 2}}), settings, Path({folder!r}))
panel.judge([question(f"Text {{number}}.") for number in range(6)])
"""


def test_nothing_is_paid_twice_by_a_process_that_comes_after_a_kill(tmp_path):
    with serving() as paid:
        paid.knows_keys = True
        paid.name = lambda asked: json.dumps(asked["messages"])
        started = []

        def words(asked):
            if len(paid.paid) == 4:
                started[0].send_signal(signal.SIGKILL)
            return opinion()

        paid.words = words
        folder = str(tmp_path / "run" / "judge")
        code = KILLED.format(tests=str(HERE.parent), here=str(HERE), url=paid.url, folder=folder)
        run = [sys.executable, "-c", code]
        started.append(subprocess.Popen(run, cwd=HERE.parent.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        started[0].communicate()
        assert started[0].returncode == -signal.SIGKILL
        assert 4 <= len(paid.paid) < 6
        paid.words = lambda asked: opinion()
        found = served(paid, tmp_path, CONFIG.model_copy(update={"model": "seer"})).judge(SIX)
    assert statuses(found) == ["ok"] * 6
    assert found.bill[0].from_ledger >= 2
    assert len(paid.paid) == 6
    assert set(paid.paid.values()) == {1}
