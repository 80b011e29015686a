import numpy as np
import pytest

from evaluation.measures.consistency import consistency_of, standardised


def rows(*stories):
    return [np.array(story, dtype=np.float64) for story in stories]


def still(value, number):
    return np.full((number, 4, 4, 3), value, np.uint8)


def measure(features, openings, pictures):
    return consistency_of(features, openings, pictures, resamples=0, seed=0)


def test_a_cosine_of_zero_is_the_likeness_of_unrelated_reference_pictures():
    rng = np.random.default_rng(0)
    reference = rng.uniform(5, 6, (400, 32))
    (story,) = standardised([rng.uniform(5, 6, (100, 32))], reference)
    likeness = story @ story.T
    assert abs(likeness[np.triu_indices(100, 1)].mean()) < 0.02


def test_neighbours_pairs_and_strangers_are_told_apart():
    features = rows([[1, 0], [1, 0], [0, 1]], [[-1, 0], [-1, 0], [0, -1]])
    found = measure(features, still(0, 2), [still(0, 3), still(0, 3)])
    assert found.neighbours.value == pytest.approx(1 / 2)
    assert found.within.value == pytest.approx(1 / 3)
    assert found.across == pytest.approx(-5 / 9)


def test_copies_of_the_opening_and_of_the_previous_are_counted_apart():
    pictures = np.concatenate([still(200, 1), still(203, 1), still(10, 1), still(12, 1)])
    found = measure(rows(np.eye(4)), still(10, 1), [pictures])
    assert found.copies_of_opening.value == 2 / 4
    assert found.copies_of_previous.value == 2 / 4


def test_a_single_story_has_no_strangers():
    assert measure(rows(np.eye(3)), still(0, 1), [still(0, 3)]).across is None
