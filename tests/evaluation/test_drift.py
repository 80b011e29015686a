import logging
from datetime import UTC, datetime

import numpy as np
import pytest
from drawn_stories import drawn_story, scored
from scripted_judge import ScriptedJudge

from evaluation.judging.anchors import Anchor, AnchorSet
from evaluation.judging.asks import anchor_questions
from evaluation.judging.drift import FILE, conditions_of, drift_of, note_round, read_rounds, rounds_of
from evaluation.judging.questions import DIMENSIONS
from evaluation.judging.spoiled import GOOD, MUST_FALL, spoil
from story_model.evaluate_config import JudgeConfig

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def anchors():
    good = [drawn_story(number) for number in range(4)]
    ways = list(MUST_FALL)
    spoiled = [spoil(one, ways[n], donor=good[(n + 1) % 4], seed=0) for n, one in enumerate(good)]
    rows = [Anchor(one, GOOD) for one in good] + [Anchor(one, ways[n]) for n, one in enumerate(spoiled)]
    return AnchorSet(tuple(rows), "f" * 64)


def note(folder, judgements, round_name, **more):
    return note_round(folder, judgements, **{"round_name": round_name, "anchors": "f" * 64, "at": AT} | more)


def judged(anchors, round_name, judge, **more):
    return judge(anchor_questions(anchors, round_name=round_name, **more).questions)


def by_hand(scores, *, judge="j"):
    """Style scores of good anchors."""
    return [scored(one, str(n), purpose="anchor", label="good", judge=judge) for n, one in enumerate(scores)]


def test_the_first_round_is_noted_and_compared_with_nothing(tmp_path, anchors):
    drift = note(tmp_path, judged(anchors, "W1", ScriptedJudge()), "W1")["scripted"]
    assert (drift.changed, drift.rounds, drift.since_first, drift.since_previous) == (False, 1, {}, {})
    (only,) = read_rounds(tmp_path)
    assert (only.round, only.judge, only.asked, len(only.scores), only.at) == ("W1", "scripted", 24, 24, AT)


def test_a_judge_that_stays_the_same_did_not_change(tmp_path, anchors):
    for name in ("W1", "W2", "W3"):
        drift = note(tmp_path, judged(anchors, name, ScriptedJudge()), name)["scripted"]
    assert not drift.changed
    assert drift.rounds == 3
    assert {one.difference for one in drift.since_first.values()} == {0}
    assert [one.since for one in drift.since_previous.values()] == ["W2"] * 3


def test_a_judge_that_grew_milder_is_named(tmp_path, anchors):
    for name, shift in (("W1", 0), ("W2", 0), ("W3", 1.5)):
        judge = ScriptedJudge(noise=0.5, shift=shift)
        drift = note(tmp_path, judged(anchors, name, judge), name)["scripted"]
    assert drift.changed
    assert drift.reason.startswith("the judge changed: ")
    for shift in drift.since_previous.values():
        assert shift.low < shift.difference < shift.high
        assert shift.difference > 0


def test_a_noisy_judge_is_seldom_said_to_have_changed():
    """A round of each of 400 judges who did not change: 5 in 100 false alarms are allowed, over all comparisons."""
    rng = np.random.default_rng(0)

    def noisy_round():
        return [
            scored(score, str(n), dimension=dimension, purpose="anchor", label="good", judge=str(judge))
            for judge in range(400)
            for dimension in DIMENSIONS
            for n, score in enumerate(5 + rng.normal(0, 1, size=8).clip(-4, 4))
        ]

    changed = [one.changed for one in drifts_of(noisy_round(), noisy_round(), noisy_round()).values()]
    assert len(changed) == 400
    assert 0 < sum(changed) <= 0.08 * 400


def drifts_of(*rounds):
    """Compare the last round without a folder."""
    noted = [rounds_of(one, round_name=str(n), anchors="", conditions="", at=AT) for n, one in enumerate(rounds)]
    return {last.judge: drift_of([row for one in noted for row in one], last) for last in noted[-1]}


def test_a_creeping_change_shows_against_the_first_round_only(tmp_path):
    noise = np.array([0.3, -0.3, 0.3, -0.3, 0.3, -0.3, 0.3, -0.3])
    for number in range(6):
        scores = 5 + 0.25 * number + noise * (1 if number % 2 else -1)
        drift = note(tmp_path, by_hand(scores), f"W{number}")["j"]
    assert drift.since_first["style"].changed
    assert not drift.since_previous["style"].changed
    assert drift.changed


def test_anchors_are_paired_and_a_missing_answer_is_left_out(tmp_path):
    note(tmp_path, by_hand([2, 4, 6, 8, 9]), "W1")
    found = note(tmp_path, by_hand([2, None, 6, 8, None]), "W2")["j"].since_first["style"]
    assert (found.difference, found.anchors, found.changed) == (0, 3, False)


@pytest.mark.parametrize(("shared", "changed"), [(2, False), (3, True)])
def test_fewer_than_three_anchors_prove_no_change(tmp_path, shared, changed):
    note(tmp_path, by_hand([3] * shared), "W1")
    drift = note(tmp_path, by_hand([5] * shared), "W2")["j"]
    assert drift.changed is changed
    assert ("too few anchors" in drift.reason) is not changed


def test_a_judge_who_did_not_answer_at_all_is_not_noted(tmp_path):
    assert note(tmp_path, by_hand([None, None, None]), "W1") == {}
    assert read_rounds(tmp_path) == []


def test_a_round_that_is_noted_again_is_one_round(tmp_path):
    note(tmp_path, by_hand([5, 5, 5]), "W1")
    for _ in range(2):
        drift = note(tmp_path, by_hand([5, 5, 5]), "W2")["j"]
    assert drift.rounds == 2
    assert len(read_rounds(tmp_path)) == 2


def test_what_was_answered_later_takes_the_place_of_what_failed(tmp_path):
    note(tmp_path, by_hand([5, 5, 5]), "W1")
    note(tmp_path, by_hand([5, 5, None]), "W2")
    drift = note(tmp_path, by_hand([5, 5, 8]), "W2")["j"]
    assert (drift.rounds, drift.since_first["style"].anchors) == (2, 3)
    later = note(tmp_path, by_hand([5, 5, 8]), "W3")["j"]
    assert (later.rounds, later.since_previous["style"].difference) == (3, 0)


@pytest.mark.parametrize("other", [{"anchors": "e" * 64}, {"conditions": "larger pictures"}])
def test_rounds_of_other_anchors_or_conditions_are_not_compared(tmp_path, other):
    note(tmp_path, by_hand([2, 2, 2]), "W1")
    assert note(tmp_path, by_hand([9, 9, 9]), "W2", **other)["j"].rounds == 1


def test_judges_have_histories_of_their_own(tmp_path):
    note(tmp_path, by_hand([2, 2, 2]) + by_hand([6, 6, 6], judge="k"), "W1")
    found = note(tmp_path, by_hand([9, 9, 9]) + by_hand([6, 6, 6], judge="k"), "W2")
    assert {judge: one.changed for judge, one in found.items()} == {"j": True, "k": False}


def test_repeats_are_averaged(tmp_path):
    judgements = [*by_hand([4]), by_hand([8])[0].model_copy(update={"repeat": 1})]
    note(tmp_path, judgements, "W1")
    assert [one.score for one in read_rounds(tmp_path)[0].scores] == [6]


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path, caplog):
    note(tmp_path, by_hand([5, 5, 5]), "W1")
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\n{"round": "W2", "judge": "j", "sco')
    with caplog.at_level(logging.WARNING):
        drift = note(tmp_path, by_hand([5, 5, 5]), "W3")["j"]
    assert drift.rounds == 2
    assert [one.round for one in read_rounds(tmp_path)] == ["W1", "W3"]
    assert "1 lines are no rounds" in caplog.text


def test_conditions_are_those_that_decide_answers():
    plain = conditions_of(JudgeConfig())
    assert plain == conditions_of(JudgeConfig(model="another", stories=99, budget_usd=1, concurrency=9))
    others = [{"form": "published"}, {"temperature": 0.3}, {"picture_side": 64}, {"max_tokens": 5}]
    assert len({plain, *(conditions_of(JudgeConfig(**other)) for other in others)}) == 5


def test_a_run_that_was_cut_short_does_not_take_the_place_of_a_whole_one_in_the_same_round(tmp_path):
    for scores, round_name in (([5, 6, 7, 8], "W1"), ([5, 6, 7, 8], "W2"), ([9], "W2")):
        note(tmp_path, by_hand(scores), round_name)
    assert [len(one.scores) for one in read_rounds(tmp_path)] == [4, 4]
    assert note(tmp_path, by_hand([5, 6, 7, 8]), "W3")["j"].since_previous["style"].anchors == 4
