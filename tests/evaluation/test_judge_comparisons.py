from itertools import product

import pytest
from drawn_stories import chosen, drawn_story
from scripted_judge import ScriptedJudge

from evaluation.judging.asks import pair_questions
from evaluation.judging.comparisons import compare_pairs, majority, outcome_of, verdicts_of
from evaluation.judging.spoiled import spoil
from evaluation.pictures import Telling
from evaluation.statistics import wilson

TRUTH = {
    ("first", "second"): ("win", False),
    ("first", "tie"): ("inconsistent", False),
    ("first", "first"): ("inconsistent", True),
    ("tie", "second"): ("inconsistent", False),
    ("tie", "tie"): ("tie", False),
    ("tie", "first"): ("inconsistent", False),
    ("second", "second"): ("inconsistent", True),
    ("second", "tie"): ("inconsistent", False),
    ("second", "first"): ("loss", False),
}
"""By the slot that won with the left system first, and with it second."""


def asked(ahead, behind, story="a", *, ours="ours", theirs="theirs", **more):
    return [chosen(ahead, ours, theirs, story, **more), chosen(behind, theirs, ours, story, **more)]


def story_of(number, outcome, **more):
    answers = {"win": ("first", "second"), "loss": ("second", "first"), "tie": ("tie", "tie"), "flip": ("first",) * 2}
    return asked(*answers[outcome], f"story {number}", **more)


def stories_of(*outcomes, **more):
    return [one for number, outcome in enumerate(outcomes) for one in story_of(number, outcome, **more)]


def style_table(judgements, judge="j"):
    return compare_pairs(judgements, "ours").judges[judge].pairs[0]["style"]


@pytest.mark.parametrize("shown", product(("first", "tie", "second"), repeat=2))
def test_a_win_must_survive_the_swap(shown):
    (verdict,) = verdicts_of(asked(*shown), "ours")
    assert (verdict.outcome, verdict.is_flipped) == TRUTH[shown]


@pytest.mark.parametrize("shown", [("first", None), (None, "second"), (None, None)])
def test_a_pair_with_an_order_unanswered_is_incomplete(shown):
    table = style_table(asked(*shown))
    assert (table.incomplete, table.wins, table.losses, table.ties, table.inconsistent) == (1, 0, 0, 0, 0)
    assert (table.first_slot, table.swap_consistency, table.win_share, table.decided.win_rate) == (None,) * 4


def test_a_choice_in_an_answer_that_is_not_ok_does_not_count():
    ahead, behind = asked("first", "second")
    assert style_table([ahead.model_copy(update={"status": "invalid"}), behind]).incomplete == 1


def test_an_order_that_was_never_asked_is_incomplete():
    assert style_table([chosen("first", "ours", "theirs")]).incomplete == 1


def test_the_order_in_which_answers_come_does_not_matter():
    judgements = stories_of("win", "loss", "tie", "flip", "win")
    assert style_table(judgements[::-1]) == style_table(judgements)


def test_every_story_is_in_one_class():
    table = style_table(stories_of("win", "win", "loss", "tie", "flip") + asked("first", None, "last"))
    assert (table.wins, table.losses, table.ties, table.inconsistent, table.incomplete) == (2, 1, 1, 1, 1)
    assert table.win_share == wilson(2, 5)
    assert table.decided.win_rate == wilson(2, 3)


def test_a_judge_of_slots_always_prefers_the_first_and_proves_nothing():
    table = style_table(stories_of(*["flip"] * 6))
    assert (table.first_slot, table.swap_consistency, table.flipped) == (wilson(12, 12), wilson(0, 6), 6)
    assert (table.decided.sign_p, table.inconsistent) == (1, 6)


def test_the_first_slot_rate_is_fair_however_good_a_system_is():
    table = style_table(stories_of(*["win"] * 9))
    assert (table.first_slot.value, table.swap_consistency.value) == (0.5, 1)


def test_half_answered_pairs_do_not_enter_the_first_slot_rate():
    """Only one order of each was answered, in which the better story came first."""
    judgements = stories_of("win", "loss") + [one for n in range(9) for one in asked("first", None, f"lost {n}")]
    assert style_table(judgements).first_slot == wilson(2, 4)


def test_p_values_are_adjusted_for_the_dimensions():
    """6 to 0 is 0.03 alone; as the least of three it becomes 0.09."""
    judgements = stories_of(*["win"] * 6)
    for dimension in ("engaging", "coherence"):
        judgements += stories_of(*["tie"] * 6, dimension=dimension)
    tables = compare_pairs(judgements, "ours").judges["j"].pairs[0]
    assert tables["style"].decided.sign_p == pytest.approx(2 / 2**6)
    assert tables["style"].holm_p == pytest.approx(6 / 2**6)


def test_the_headline_is_left_whatever_its_name():
    judgements = asked("first", "second", ours="z", theirs="a")
    for headline, outcome in (("z", "win"), ("a", "loss")):
        assert [(one.left, one.outcome) for one in verdicts_of(judgements, headline)] == [(headline, outcome)]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["win", "win", "loss"], "win"),
        (["win", "loss"], "inconsistent"),
        (["win", "tie"], "inconsistent"),
        (["win", "win", "loss", "tie"], "inconsistent"),
        (["inconsistent", "inconsistent", "win"], "inconsistent"),
        (["incomplete", "win"], "win"),
        (["incomplete"], "incomplete"),
    ],
)
def test_the_majority_is_more_than_half_of_the_complete(outcomes, expected):
    assert majority(outcomes) == majority(outcomes[::-1]) == expected


def test_repeats_and_judges_count_as_one_story():
    judgements = []
    for judge, repeats in (("j", ["win", "win", "loss"]), ("k", ["win", "flip", "win"]), ("l", ["loss"] * 3)):
        for repeat, outcome in enumerate(repeats):
            judgements += story_of(0, outcome, judge=judge, repeat=repeat)
    found = compare_pairs(judgements, "ours")
    table = found.judges["k"].pairs[0]["style"]
    assert (table.wins, table.inconsistent, table.flipped, table.swap_consistency.n) == (1, 0, 1, 3)
    pooled = found.pooled.pairs[0]["style"]
    assert (pooled.wins, pooled.losses, pooled.decided.wins) == (1, 0, 1)
    assert (pooled.flipped, pooled.first_slot, pooled.swap_consistency) == (None, None, None)


def test_a_single_judge_is_its_own_majority():
    found = compare_pairs(stories_of("win", "flip", "tie"), "ours")
    assert found.pooled == found.judges["j"]


def test_each_two_systems_have_tables_of_their_own():
    judgements = stories_of("win", "win") + stories_of("loss", theirs="others")
    pairs = compare_pairs(judgements, "ours").judges["j"].pairs
    assert [(one["style"].left, one["style"].right) for one in pairs] == [("ours", "theirs"), ("ours", "others")]
    assert [(one["style"].wins, one["style"].losses) for one in pairs] == [(2, 0), (0, 1)]


def test_nothing_asked_is_nothing_compared():
    found = compare_pairs([], "ours")
    assert (found.judges, found.pooled.pairs) == ({}, [])


@pytest.mark.parametrize(("bonus", "outcome"), [(0, "win"), (20, "inconsistent")])
def test_a_judge_who_looks_prefers_stories_to_their_spoiled_copies_unless_the_slot_blinds_it(bonus, outcome):
    good = [drawn_story(number) for number in range(3)]
    bad = [spoil(story, "pictures_blank", donor=None, seed=0) for story in good]
    systems = {
        name: [Telling(one.story_id, "free", name, one.pairs[0], one.pairs[1:], ()) for one in stories]
        for name, stories in (("ours", good), ("theirs", bad))
    }
    questions = pair_questions(systems, "ours", stories=3, segments=5).questions
    verdicts = verdicts_of(ScriptedJudge(first_bonus=bonus)(questions), "ours")
    assert {one.outcome for one in verdicts} == {outcome}
    assert len(verdicts) == 9


def test_outcomes_mirror_when_sides_are_exchanged():
    mirrored = {"win": "loss", "loss": "win"}
    for ahead, behind in product(("first", "tie", "second"), repeat=2):
        outcome = outcome_of(ahead, behind)
        assert outcome_of(behind, ahead) == mirrored.get(outcome, outcome)
