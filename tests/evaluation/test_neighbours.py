import numpy as np
import pytest
from scipy.spatial.distance import cdist

from evaluation.distances.neighbours import surroundings


def one_story_each(points):
    return [np.atleast_2d(point).astype(float) for point in points]


def measured(told, reference, neighbours=1, resamples=0):
    found = surroundings(told, reference, neighbours=neighbours, resamples=resamples, seed=0)
    return found.precision.value, found.recall.value, found.density.value, found.coverage.value


def test_on_a_line_it_is_what_one_counts_by_hand():
    """True balls reach 1 around 0 and 1, 9 around 10; told ones 0.5 around 0.5 and 1, 4 around 5."""
    reference, told = one_story_each([[0], [1], [10]]), one_story_each([[0.5], [1], [5]])
    # told 0.5 lies in the balls of 0 and 1; told 1 in those of 0, 1 and 10; told 5 in that of 10
    assert measured(told, reference) == pytest.approx((1, 2 / 3, 6 / 3, 1))


def test_a_set_covers_itself():
    rows = one_story_each(np.random.default_rng(0).standard_normal((40, 6)))
    precision, recall, density, coverage = measured(rows, rows, neighbours=3)
    assert (precision, recall, coverage) == (1, 1, 1)
    assert density > 1


def test_far_sets_share_nothing():
    rng = np.random.default_rng(0)
    near, far = rng.standard_normal((30, 4)), rng.standard_normal((30, 4)) + 100
    assert measured(one_story_each(far), one_story_each(near), neighbours=3) == (0, 0, 0, 0)


def test_a_teller_of_one_scene_is_precise_and_recalls_little():
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((200, 3))
    precision, recall, *_ = measured(one_story_each(reference[:1] + rng.normal(0, 0.01, (50, 3))), [reference], 3)
    assert precision == 1
    assert recall < 0.1


def test_it_is_the_published_count_of_balls():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((60, 9)), rng.standard_normal((70, 9)) * 1.2
    true_reach, told_reach = (np.sort(cdist(rows, rows))[:, 3] for rows in (y, x))
    between = cdist(x, y)
    expected = (
        (between <= true_reach).any(1).mean(),
        (between <= told_reach[:, None]).any(0).mean(),
        (between <= true_reach).sum() / (3 * 60),
        (between.min(0) <= true_reach).mean(),
    )
    assert measured([x], [y], 3) == pytest.approx(expected)


def test_repeated_pictures_are_each_others_neighbours():
    rows = np.repeat(np.random.default_rng(0).standard_normal((10, 50)) * 1e3, 4, axis=0)
    assert measured([rows], [rows], neighbours=3) == pytest.approx((1, 1, 4 / 3, 1))


def test_intervals_are_over_stories():
    rng = np.random.default_rng(0)
    reference = [rng.standard_normal((5, 3)) for _ in range(12)]
    told = [story + (50 if number % 2 else 0) for number, story in enumerate(reference)]
    precision = surroundings(told, reference, neighbours=3, resamples=200, seed=0).precision
    assert precision.value == 0.5
    assert precision.low == pytest.approx(0.25, abs=0.1)
    assert precision.high == pytest.approx(0.75, abs=0.1)


def test_too_few_pictures_have_no_neighbours():
    rows = one_story_each([[0], [1], [2]])
    assert surroundings(rows, rows, neighbours=3, resamples=0, seed=0) is None
