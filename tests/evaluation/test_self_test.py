import numpy as np
import pytest
from drawn_stories import drawn_story, scored
from scripted_judge import ScriptedJudge

from evaluation.judging.asks import self_test_questions
from evaluation.judging.questions import DIMENSIONS
from evaluation.judging.self_test import self_tests
from evaluation.judging.spoiled import GOOD, MUST_FALL


@pytest.fixture(scope="module")
def questions():
    return self_test_questions([drawn_story(number) for number in range(6)], seed=0, repeats=2).questions


def result_of(judgements, *, resamples=200):
    (found,) = self_tests(judgements, resamples=resamples, seed=0).values()
    return found


def check_of(found, spoiling, dimension):
    return next(one for one in found.checks if (one.spoiling, one.dimension) == (spoiling, dimension))


def blank(stories, *, good=8.0, spoiled=2.0, dimension="style"):
    """Scores of stories and their blank copies."""
    rows = [("good", good), ("pictures_blank", spoiled)]
    return [
        scored(score, str(n), dimension=dimension, purpose="self_test", label=label)
        for n in range(stories)
        for label, score in rows
    ]


def test_a_judge_who_looks_passes_every_check(questions):
    found = result_of(ScriptedJudge()(questions))
    assert found.trusted
    assert all(found.dimensions.values())
    assert {(one.spoiling, one.dimension) for one in found.checks} == {
        (spoiling, dimension) for spoiling, dimensions in MUST_FALL.items() for dimension in dimensions
    }
    assert all((one.stories, one.fell, one.rose) == (6, 6, 0) for one in found.checks)


def test_a_noisy_judge_who_looks_passes_too(questions):
    found = result_of(ScriptedJudge(noise=1.0)(questions))
    assert found.trusted, found.reason
    assert any(one.drop.low < one.drop.value < one.drop.high for one in found.checks)


def test_a_judge_who_rolls_dice_is_not_trusted(questions):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rolled = [one.model_copy(update={"score": float(rng.integers(1, 11))}) for one in ScriptedJudge()(questions)]
        found = result_of(rolled)
        assert not found.trusted
        assert sum(one.verdict == "separated" for one in found.checks) <= 4


def test_a_judge_who_gives_the_same_score_to_all_is_not_trusted(questions):
    found = result_of([one.model_copy(update={"score": 8.0}) for one in ScriptedJudge()(questions)])
    assert not found.trusted
    assert "9 of 9 kinds of damage" in found.reason
    assert "pictures_blank in style (lower in 0 of 6 stories, higher in 0)" in found.reason


def test_a_judge_blind_in_one_dimension_is_named_with_it(questions):
    judged = ScriptedJudge()(questions)
    found = result_of([one.model_copy(update={"score": 5.0}) if one.dimension == "style" else one for one in judged])
    assert not found.trusted
    assert found.dimensions == {one: one != "style" for one in DIMENSIONS}


def test_a_judge_who_likes_damage_is_not_taken_to_see_it():
    found = result_of(blank(8, good=2.0, spoiled=8.0), resamples=0)
    check = check_of(found, "pictures_blank", "style")
    assert (check.verdict, check.rose, check.drop.value) == ("not separated", 8, -6)


@pytest.mark.parametrize(
    ("stories", "verdict"), [(2, "too few answers"), (3, "separated"), (5, "separated"), (6, "separated")]
)
def test_two_stories_are_too_few_whatever_they_say(stories, verdict):
    assert check_of(result_of(blank(stories)), "pictures_blank", "style").verdict == verdict


@pytest.mark.parametrize(("stories", "verdict"), [(5, "not separated"), (6, "separated")])
def test_without_an_interval_the_sign_test_decides(stories, verdict):
    assert check_of(result_of(blank(stories), resamples=0), "pictures_blank", "style").verdict == verdict


def test_an_answer_that_did_not_come_is_no_drop_to_nothing():
    judged = [
        one.model_copy(update={"score": None, "status": "refused"}) if one.label != GOOD else one for one in blank(6)
    ]
    check = check_of(result_of(judged), "pictures_blank", "style")
    assert (check.verdict, check.stories, check.drop) == ("too few answers", 0, None)


def test_judges_are_tested_one_by_one(questions):
    judged = [*ScriptedJudge("sees")(questions), *blank(6, good=5.0, spoiled=5.0)]
    found = self_tests(judged, resamples=100, seed=0)
    assert {judge: one.trusted for judge, one in found.items()} == {"sees": True, "j": False}


def test_scores_of_told_stories_are_no_test():
    assert self_tests([scored(5)], resamples=0, seed=0) == {}
