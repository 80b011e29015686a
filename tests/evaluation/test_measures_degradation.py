import numpy as np
import pytest

from evaluation.measures.degradation import degradation_of, slope_difference


def falling(slope, number=8, length=20, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 5, number)
    return {
        f"s{story}": [(index, float(level + slope * index + noise * rng.normal())) for index in range(1, length + 1)]
        for story, level in enumerate(levels)
    }


def test_a_straight_decline_has_its_slope_per_ten_segments():
    found = degradation_of(falling(-0.2, noise=0), trained_length=10, resamples=100, seed=0)
    assert found.slope.value == pytest.approx(-2)
    assert found.beyond.value == pytest.approx(-2)


def test_an_interval_holds_the_true_slope_and_not_zero():
    slope = degradation_of(falling(-0.1), trained_length=None, resamples=500, seed=0).slope
    assert slope.low < -1 < slope.high < 0


def test_longer_stories_of_another_level_feign_no_trend():
    values = {"short": [(1, 0.0), (2, 0.0)], "long": [(index, 9.0) for index in range(1, 30)]}
    assert degradation_of(values, trained_length=None, resamples=0, seed=0).slope.value == pytest.approx(0)


def test_an_index_of_the_whole_story_is_no_part_of_a_trend():
    found = degradation_of({"s": [(0, 100.0), (1, 1.0), (2, 2.0)]}, trained_length=1, resamples=0, seed=0)
    assert found.slope.value == pytest.approx(10)
    assert found.beyond.value == pytest.approx(1)


def test_one_segment_has_no_trend():
    found = degradation_of({"s": [(1, 1.0)], "t": []}, trained_length=10, resamples=10, seed=0)
    assert (found.slope, found.beyond) == (None, None)


def test_two_systems_slopes_differ_beyond_what_their_stories_share():
    one, other = falling(-0.05, seed=1), falling(-0.2, seed=2)
    found = slope_difference(one, other, resamples=500, seed=0)
    assert found.low < 1.5 < found.high
    assert found.low > 0
    assert found.n == 8


def test_the_same_system_differs_from_itself_by_nothing():
    one = falling(-0.05)
    found = slope_difference(one, one, resamples=50, seed=0)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_strangers_have_no_slope_to_compare():
    assert slope_difference({"a": [(1, 1.0), (2, 2.0)]}, {"b": [(1, 1.0), (2, 2.0)]}, resamples=5, seed=0) is None
