import numpy as np
import pytest

from evaluation.measures.cartoon_world import Sight, Verdict, accuracy_of
from evaluation.measures.summary import summarise, tabulate
from evaluation.statistics import mean_over_stories
from story_model.schema import TrueWorld

RNG = np.random.default_rng(5)
UNEVEN = {
    f"s{number}": [(index, float(RNG.normal(number / 5, 1))) for index in range(1, 3 + int(RNG.integers(1, 9)))]
    for number in range(14)
}
PARTLY = {**UNEVEN, "silent": [], "late": [(9, 3.0), (11, 4.0)]}


def groups(values, keep=lambda index: True):
    return [[value for index, value in found if keep(index)] for found in values.values()]


@pytest.mark.parametrize("values", [UNEVEN, PARTLY])
def test_the_value_is_the_mean_over_stories_and_the_interval_agrees_within_chance(values):
    ours = summarise(values, resamples=20_000, seed=1).value
    theirs = mean_over_stories(groups(values), resamples=20_000, seed=2)
    assert ours.value == pytest.approx(theirs.value, rel=1e-12)
    assert ours.n == theirs.n
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_each_point_of_the_curve_is_the_mean_over_stories_of_its_neighbourhood():
    curve = summarise(PARTLY, resamples=20_000, seed=1).curve
    assert len(curve) == 11
    for index, ours in enumerate(curve, start=1):
        theirs = mean_over_stories(
            groups(PARTLY, lambda at, index=index: abs(at - index) <= 2), resamples=20_000, seed=3
        )
        assert ours.value == pytest.approx(theirs.value, rel=1e-12)
        assert ours.n == theirs.n
        if theirs.low is None:
            assert ours.low is None
        else:
            assert abs(ours.low - theirs.low) < 0.05 * (theirs.high - theirs.low)


def test_the_curve_is_that_of_the_drawn_series_accuracy():
    rng = np.random.default_rng(0)
    world = TrueWorld(characters=["Ada", "Bo"], places=["hill"], actions=["waves"])
    verdicts = {
        f"s{number}": [
            Verdict(index, Sight(("Ada",), str(rng.choice(["Ada", "Bo"])), 1.0), Sight((), "hill", 1.0))
            for index in range(1, 8)
        ]
        for number in range(5)
    }
    values = {
        story: [(verdict.index, float(verdict.character.agrees)) for verdict in found]
        for story, found in verdicts.items()
    }
    known = accuracy_of(verdicts, "character", world, resamples=0, seed=0)
    ours = summarise(values, resamples=0, seed=0)
    assert [point.value for point in ours.curve] == pytest.approx([point.value for point in known.curve])
    assert ours.by_story == pytest.approx(known.by_story)


def test_an_index_far_from_every_value_has_no_point():
    found = summarise({"s": [(1, 1.0), (9, 2.0)]}, resamples=10, seed=0)
    assert [point is None for point in found.curve] == [False] * 3 + [True] * 3 + [False] * 3
    assert found.value.low is None


def test_a_measure_of_whole_stories_has_no_curve():
    found = summarise({"a": [(0, 1.0)], "b": [(0, 3.0)]}, resamples=10, seed=0)
    assert found.curve == []
    assert found.value.value == 2
    assert found.by_story == {"a": 1.0, "b": 3.0}


def test_nothing_measured_is_none_and_no_number():
    for values in ({}, {"a": []}):
        found = summarise(values, resamples=10, seed=0)
        assert (found.value, found.curve, found.by_story) == (None, [], {})


def test_draws_are_the_same_each_time():
    assert summarise(PARTLY, resamples=100, seed=4) == summarise(PARTLY, resamples=100, seed=4)
    assert summarise(PARTLY, resamples=100, seed=4) != summarise(PARTLY, resamples=100, seed=5)


def test_a_value_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="story b, segment 3"):
        tabulate({"a": [(1, 1.0)], "b": [(3, float("nan"))]})
