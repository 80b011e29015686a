import numpy as np
import pytest
from drawn_stories import chosen, scored

from evaluation.judging.agreement import agreement, agreement_report, krippendorff
from evaluation.judging.comparisons import verdicts_of
from evaluation.statistics import drawn_stories, tail_of

_ = np.nan
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)
"""Krippendorff 2011, section C: four observers, twelve units, ratings missing."""
BINARY = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]], dtype=float)
"""Section A: two observers, two values."""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example_is_reproduced(level, alpha):
    assert krippendorff(PUBLISHED, level) == pytest.approx(alpha, abs=5e-4)


def test_the_published_binary_example_is_reproduced():
    assert krippendorff(BINARY, "nominal") == pytest.approx(0.095, abs=5e-4)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_full_agreement_is_one(level):
    assert krippendorff(np.array([[1, 2, 9, _], [1, 2, _, 3], [1, 2, 9, 3]]), level) == pytest.approx(1)


def test_raters_who_answer_at_random_do_not_agree():
    ratings = np.random.default_rng(0).integers(1, 10, size=(2, 4000)).astype(float)
    assert abs(krippendorff(ratings, "interval")) < 0.05


def test_systematic_disagreement_is_below_zero():
    assert krippendorff(np.array([[1, 2, 1, 2], [2, 1, 2, 1]], dtype=float), "nominal") < -0.5


def test_neither_units_nor_raters_have_an_order():
    rng = np.random.default_rng(0)
    shuffled = PUBLISHED[rng.permutation(4)][:, rng.permutation(12)]
    assert krippendorff(shuffled, "ordinal") == pytest.approx(krippendorff(PUBLISHED, "ordinal"))


def test_order_counts_ranks_and_not_how_far_apart_values_are():
    stretched = np.square(PUBLISHED)
    assert krippendorff(stretched, "ordinal") == pytest.approx(krippendorff(PUBLISHED, "ordinal"))
    assert krippendorff(stretched, "interval") != pytest.approx(krippendorff(PUBLISHED, "interval"))


@pytest.mark.parametrize(
    "ratings", [[[1, _], [_, 2]], [[3, 3], [3, 3]], [[1, 2]], [[_, _], [_, _]], np.empty((2, 0)), np.empty((0, 0))]
)
def test_where_nothing_can_be_said_there_is_no_alpha(ratings):
    assert krippendorff(np.array(ratings, dtype=float), "interval") is None


def test_a_unit_that_one_rater_rated_is_not_counted():
    ratings = {"j": {("a", ""): 1, ("b", ""): 5, ("c", ""): 9}, "k": {("a", ""): 1, ("b", ""): 5}}
    found = agreement(ratings, "interval", resamples=0, seed=0)
    assert (found.alpha, found.units, found.raters, found.low) == (1, 2, 2, None)


def test_the_interval_draws_stories_with_all_their_systems():
    """Copies of a unit within its story add no story: the interval stays as wide."""
    rng = np.random.default_rng(1)
    scores = {story: rng.integers(1, 10, size=2) for story in map(str, range(20))}

    def rated(copies):
        return {
            judge: {(story, copy): float(pair[judge]) for story, pair in scores.items() for copy in range(copies)}
            for judge in (0, 1)
        }

    once, often = (agreement(rated(copies), "ordinal", resamples=200, seed=0) for copies in (1, 30))
    assert once.low < once.alpha < once.high
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.15)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_the_interval_is_of_alphas_of_redrawn_columns(level):
    ratings = {r: {(str(u // 2), u): float(x) for u, x in enumerate(row) if x == x} for r, row in enumerate(PUBLISHED)}
    found = agreement(ratings, level, resamples=100, seed=3)
    draws = drawn_stories(6, resamples=100, seed=3)
    alphas = [krippendorff(PUBLISHED[:, [c for n in draw for c in (2 * n, 2 * n + 1)]], level) for draw in draws]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(alphas, [tail_of(6), 1 - tail_of(6)])))


def test_judges_are_compared_by_the_mean_of_their_repeats_and_failures_are_missing():
    judgements = [scored(2), scored(4, repeat=1), scored(8, "b"), scored(None, "c"), scored(5, "d")]
    judgements += [scored(3, judge="k"), scored(8, "b", judge="k"), scored(1, "c", judge="k")]
    found = agreement_report(judgements, [], resamples=0, seed=0).scores["style"]["interval"]
    assert (found.alpha, found.units, found.raters) == (1, 2, 2)


def test_a_judge_is_compared_with_itself_over_repeats():
    judgements = [scored(score, story, repeat=r) for r in (0, 1) for story, score in (("a", 2), ("b", 7))]
    judgements.append(scored(9, "a", repeat=2, judge="k"))
    repeats = agreement_report(judgements, [], resamples=0, seed=0).repeats
    assert repeats["j"]["style"]["ordinal"].alpha == 1
    assert (repeats["k"]["style"]["ordinal"].alpha, repeats["j"]["coherence"]["ordinal"].alpha) == (None, None)


def test_judges_agree_on_outcomes_not_on_slots():
    """They prefer the same stories; k answered one order of c only."""
    judgements = []
    for judge in ("j", "k"):
        judgements += [chosen("first", "s", "t", judge=judge), chosen("second", "t", "s", judge=judge)]
        judgements += [chosen("second", "s", "t", "b", judge=judge), chosen("first", "t", "s", "b", judge=judge)]
    judgements += [
        chosen("first", "s", "t", "c"),
        chosen("second", "t", "s", "c"),
        chosen("tie", "s", "t", "c", judge="k"),
    ]
    found = agreement_report(judgements, verdicts_of(judgements, "s"), resamples=0, seed=0).pairs["style"]
    assert (found.alpha, found.units, found.level) == (1, 2, "nominal")
