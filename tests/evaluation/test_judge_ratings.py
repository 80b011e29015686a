import numpy as np
import pytest

from evaluation.judging.comparisons import PairVerdict
from evaluation.judging.ratings import POINTS, bradley_terry, rate_systems

BASEBALL = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ],
    dtype=float,
)
"""American League East 1987, from Milwaukee to Baltimore: row beat column; Agresti 2002, section 10.6."""


def verdict(left, right, outcome, story="a", dimension="style"):
    return PairVerdict("j", left, right, story, dimension, outcome)


def rated(*verdicts, **more):
    return rate_systems(verdicts, **{"resamples": 0, "seed": 0} | more)


def test_the_textbook_example_is_reproduced():
    ratings = bradley_terry(BASEBALL, prior=0)
    assert ratings[:-1] - ratings[-1] == pytest.approx([1.58, 1.44, 1.29, 1.25, 1.11, 0.68], abs=0.006)


def test_two_systems_differ_by_the_log_of_their_odds():
    ratings = bradley_terry(np.array([[0, 30], [10, 0]], dtype=float), prior=0)
    assert ratings[0] - ratings[1] == pytest.approx(np.log(3), abs=1e-4)


def test_a_system_that_always_won_is_not_infinitely_good():
    ratings = bradley_terry(np.array([[0, 8, 8], [0, 0, 4], [0, 4, 0]], dtype=float))
    assert ratings[0] > ratings[1] == pytest.approx(ratings[2], abs=1e-4)
    assert ratings[0] < 6


def test_systems_are_rated_through_a_third_one():
    """No story of a was compared with one of c."""
    style = rated(*[verdict("b", "a", "loss", str(n)) for n in range(6)], *[verdict("b", "c", "win")] * 6)["style"]
    assert list(style.systems) == ["a", "b", "c"]
    assert sum(one.value for one in style.systems.values()) == pytest.approx(0)
    assert style.systems["b"].n == 12


def test_ties_pull_together_and_what_is_inconsistent_or_incomplete_does_not():
    ring = [verdict("a", "b", "win"), verdict("b", "c", "win"), verdict("a", "c", "win")]
    alone = rated(*ring)["style"]
    tied = rated(*ring, *[verdict("a", "b", "tie")] * 3)["style"]
    silent = rated(*ring, *[verdict("a", "b", "inconsistent")] * 3, verdict("a", "b", "incomplete"))["style"]

    def gap(found):
        return found.systems["a"].value - found.systems["b"].value

    assert gap(tied) < gap(alone) == gap(silent)
    assert (silent.left_out, silent.systems["a"].n) == (4, 2)


def test_nothing_but_ties_makes_all_equal_on_whichever_side_they_were():
    style = rated(*[verdict(*pair, "tie") for pair in (("a", "b"), ("a", "c"), ("b", "c"))])["style"]
    assert [one.value for one in style.systems.values()] == pytest.approx([0, 0, 0], abs=1e-3)


def test_a_hundred_points_more_win_64_percent():
    assert 1 / (1 + np.exp(-100 / POINTS)) == pytest.approx(0.64, abs=0.001)


def test_intervals_draw_stories_and_shrink_with_more_of_them():
    def width(copies):
        verdicts = [
            verdict(*pair, ("win", "loss", "win")[story % 3], str(story))
            for story in range(6 * copies)
            for pair in (("a", "b"), ("b", "c"), ("a", "c"))
        ]
        best = rated(*verdicts, resamples=60)["style"].systems["a"]
        assert best.low < best.value < best.high
        return best.high - best.low

    assert width(6) < 0.7 * width(1)


def test_one_story_has_no_interval():
    style = rated(verdict("a", "b", "win"), verdict("a", "c", "win"), resamples=20)["style"]
    assert (style.systems["a"].low, style.systems["a"].high) == (None, None)


def test_two_systems_are_not_put_on_a_scale():
    assert rated(verdict("a", "b", "win"), verdict("a", "c", "win", dimension="engaging")) == {}
