"""Whether one run's pictures lie nearer to the dataset's than another's: distances, intervals, the test by swaps."""

from itertools import product

import numpy as np
import pytest

from evaluation.comparing.comparison import Row
from evaluation.comparing.distances import distance_row
from evaluation.distances.frechet import frechet_distance, frechet_over_stories

ROW = Row(mode="free", measure="frechet_random_features", better="lower", meaning="")


def stories(seed, shift=0.0, *, number=6, pictures=5, dim=4):
    rng = np.random.default_rng(seed)
    return [rng.normal(shift, 1, size=(pictures, dim)) for _ in range(number)]


def row(left, right, reference, resamples=50):
    return distance_row(ROW, left, right, (reference, reference), resamples=resamples, seed=0)


def test_both_distances_are_those_of_all_pictures():
    left, right, reference = stories(1), stories(2, 0.5), stories(3)
    found = row(left, right, reference)
    for side, own in ((found.left, left), (found.right, right)):
        assert side.value == pytest.approx(frechet_distance(np.concatenate(own), np.concatenate(reference)))
    assert found.difference.value == pytest.approx(found.right.value - found.left.value)


def test_each_runs_interval_is_the_one_that_its_own_report_gives():
    left, right, reference = stories(1), stories(2, 0.5), stories(3)
    found = row(left, right, reference)
    for side, own in ((found.left, left), (found.right, right)):
        expected = frechet_over_stories(own, reference, resamples=50, seed=0)
        assert (side.low, side.high) == pytest.approx((expected.low, expected.high))


def test_the_p_value_is_the_share_of_swaps_that_differ_as_much():
    left, right, reference = stories(1), stories(2, 0.6), stories(3)
    all_reference = np.concatenate(reference)

    def difference(swap):
        sides = [
            np.concatenate([(b, a)[s == side] for s, a, b in zip(swap, left, right, strict=True)]) for side in (0, 1)
        ]
        return abs(frechet_distance(sides[0], all_reference) - frechet_distance(sides[1], all_reference))

    every = [difference(swap) for swap in product((0, 1), repeat=6)]
    expected = sum(one >= every[0] * (1 - 1e-9) for one in every) / len(every)
    assert row(left, right, reference).p_value == pytest.approx(expected)


def test_runs_of_one_quality_are_rarely_called_different():
    p_values = [row(stories(n), stories(n + 1000), stories(n + 2000), resamples=0).p_value for n in range(60)]
    assert sum(p <= 0.05 for p in p_values) <= 7
    assert 0.3 < np.mean(p_values) < 0.7


def test_a_run_that_lies_farther_in_every_story_is_found_out():
    found = row(stories(1, number=12), stories(2, 1.5, number=12), stories(3, number=12), resamples=200)
    assert found.p_value < 0.01
    assert found.difference.low > 0


def test_equal_pictures_differ_by_nothing():
    found = row(stories(1), stories(1), stories(3))
    assert (found.difference.value, found.difference.low, found.difference.high, found.p_value) == (0, 0, 0, 1)


def test_a_single_story_is_no_ground_for_a_test():
    found = row(stories(1, number=1), stories(2, number=1), stories(3, number=1))
    assert (found.p_value, found.reason) == (None, "fewer than two stories are shared")


def test_stories_without_pictures_are_said_and_not_measured():
    nothing = [np.empty((0, 4)) for _ in range(3)]
    assert row(nothing, stories(2, number=3), stories(3, number=3)).reason == "fewer than two pictures on one side"
