import numpy as np
import pytest

from evaluation.distances.extrapolation import frechet_extrapolated
from evaluation.distances.frechet import frechet_distance


def stories(seed, *, number=60, each=3, dim=16, shift=0.0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((each, dim)) + shift for _ in range(number)]


def test_sets_of_one_distribution_are_no_distance_apart_however_few():
    """Their own distance at 180 pictures is 0.8: all of it comes from their number."""
    limits = [frechet_extrapolated(stories(seed), stories(100 + seed), seed=0) for seed in range(20)]
    plain = frechet_distance(np.concatenate(stories(0)), np.concatenate(stories(100)))
    assert plain > 0.6
    assert abs(np.mean([limit.value for limit in limits])) < 0.1
    assert sum(limit.low <= 0 <= limit.high for limit in limits) >= 18


def test_a_known_distance_is_found():
    limits = [frechet_extrapolated(stories(seed, shift=0.5), stories(100 + seed), seed=0) for seed in range(20)]
    assert np.mean([limit.value for limit in limits]) == pytest.approx(16 * 0.5**2, rel=0.05)
    assert sum(limit.low <= 4 <= limit.high for limit in limits) >= 18


def test_a_seed_decides_the_grouping():
    told, reference = stories(0, shift=0.2), stories(1)
    first, again, other = (frechet_extrapolated(told, reference, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_it_counts_all_told_pictures():
    assert frechet_extrapolated(stories(0), stories(1), seed=0).n == 180


def test_few_stories_have_no_limit():
    assert frechet_extrapolated(stories(0, number=15), stories(1, number=15), seed=0) is None
