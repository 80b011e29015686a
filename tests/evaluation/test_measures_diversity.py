import numpy as np
import pytest
from tellings import features

from evaluation.measures.diversity import diversity_of, vendi_score
from evaluation.measures.features import unit


def values_of(stories, name):
    return diversity_of(stories)[f"similarity_{name}"]


def test_stories_that_became_one_are_alike_at_each_index():
    rows = np.eye(4)
    stories = [features(f"s{number}", rows[0], rows[:3]) for number in range(3)]
    assert values_of(stories, "same_index")["s0"] == [(1, 1), (2, 1), (3, 1)]
    across = [value for _, value in values_of(stories, "across")["s0"]]
    assert across == pytest.approx([1 / 3] * 3)


def test_the_mean_across_stories_is_that_of_all_pairs_of_pictures_from_two_stories():
    rng = np.random.default_rng(3)
    rows = [unit(rng.normal(size=(6, 5))) for _ in range(4)]
    pairs = [float(one @ other) for left, a in enumerate(rows) for b in rows[left + 1 :] for one in a for other in b]
    found = values_of([features(f"s{number}", part[0], part) for number, part in enumerate(rows)], "across")
    assert np.mean([value for values in found.values() for _, value in values]) == pytest.approx(np.mean(pairs))


def test_an_index_that_one_story_reached_has_no_strangers():
    stories = [features("long", [1, 0], [[1, 0], [0, 1]]), features("short", [1, 0], [[0, 1]])]
    assert values_of(stories, "same_index") == {"long": [(1, 0)], "short": [(1, 0)]}


def test_a_single_story_has_no_strangers():
    alone = [features("s", [1, 0], [[1, 0]])]
    assert values_of(alone, "across") == {"s": []}
    assert values_of(alone, "same_index") == {"s": []}


def test_a_story_without_pictures_has_no_values():
    stories = [features("s", [1, 0], []), features("t", [1, 0], [[1, 0]])]
    for values in diversity_of(stories).values():
        assert values["s"] == []


def test_variety_is_held_against_the_dataset_s_at_the_same_indices():
    half = unit(np.array([[1.0, 1.0], [1.0, 0.0]]))
    story = features("s", [1, 0], half, [[1, 0], [0, 1], [0, 1]])
    ((index, ratio),) = values_of([story], "variety_ratio")["s"]
    assert index == 0
    assert ratio == pytest.approx(1 - 2**-0.5)
    loop = features("s", [1, 0], [[1, 0], [1, 0]], [[1, 0], [0, 1]])
    assert values_of([loop], "variety_ratio")["s"] == [(0, 0)]


def test_a_dataset_that_stands_still_gives_no_ratio():
    assert values_of([features("s", [1, 0], np.eye(2), [[1, 0], [1, 0]])], "variety_ratio")["s"] == []


def test_the_vendi_score_counts_different_pictures():
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((5, 1))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(2), 3, axis=0)) == pytest.approx(2)
    assert vendi_score(np.zeros((3, 2))) == 1


def test_the_vendi_score_is_that_of_its_definition():
    rows = unit(np.random.default_rng(0).normal(size=(7, 4)))
    eigenvalues = np.linalg.eigvalsh(rows @ rows.T / 7)
    entropy = -sum(value * np.log(value) for value in eigenvalues if value > 1e-12)
    assert vendi_score(rows) == pytest.approx(np.exp(entropy))


def test_nothing_is_not_counted():
    with pytest.raises(ValueError, match="no picture"):
        vendi_score(np.empty((0, 3)))
