import numpy as np
import pytest
from tellings import features

from evaluation.measures.features import unit
from evaluation.measures.likeness import likeness_of, reciprocal_rank

STORY = features("s", [1, 0], [[1, 0], [0, 1], [-1, 0]], [[0, 1], [0, 1]], indices=(1, 2, 4))


def test_each_likeness_has_its_place_in_the_story():
    found = {name: values["s"] for name, values in likeness_of([STORY]).items()}
    assert found["similarity_neighbours"] == [(2, 0), (4, 0)]
    assert found["similarity_opening"] == [(1, 1), (2, 0), (4, -1)]
    assert found["similarity_earlier"] == [(1, 1), (2, 0), (4, pytest.approx(-2 / 3))]
    assert found["similarity_within"] == [(1, -0.5), (2, 0), (4, -0.5)]
    assert found["similarity_reference"] == [(1, 0), (2, 1)]


def test_the_mean_within_a_story_is_that_of_all_its_pairs():
    rows = unit(np.random.default_rng(3).normal(size=(6, 5)))
    pairs = (rows @ rows.T)[np.triu_indices(6, 1)]
    found = likeness_of([features("s", rows[0], rows)])["similarity_within"]["s"]
    assert np.mean([value for _, value in found]) == pytest.approx(pairs.mean())


def test_a_picture_follows_its_own_place_of_the_dataset_s_story():
    own = features("s", [1, 0, 0], np.eye(3), np.eye(3))
    assert [value for _, value in likeness_of([own])["similarity_reference_rank"]["s"]] == [1, 1, 1]
    shifted = features("s", [1, 0, 0], [[0, 1, 0]] * 3, np.eye(3))
    ranks = [value for _, value in likeness_of([shifted])["similarity_reference_rank"]["s"]]
    assert ranks == [1 / 2.5, 1, 1 / 2.5]


def test_equal_candidates_share_their_places():
    assert reciprocal_rank(np.array([1.0, 1.0, 1.0]), 1) == 1 / 2
    assert reciprocal_rank(np.array([0.5, 0.9, 0.1]), 0) == 1 / 2


@pytest.mark.parametrize("told", [[], [[1, 0]]])
def test_too_few_pictures_have_no_value_rather_than_nan(told):
    found = likeness_of([features("s", [1, 0], told)], "clip_i")
    assert found["clip_i_neighbours"]["s"] == []
    assert found["clip_i_within"]["s"] == []
    assert found["clip_i_reference"]["s"] == []
    assert found["clip_i_reference_rank"]["s"] == []
    assert len(found["clip_i_opening"]["s"]) == len(told)
