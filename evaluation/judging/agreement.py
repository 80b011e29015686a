"""How far judges agree with one another, and one judge with itself: Krippendorff's alpha.

1: all agree. 0: as much as if the same answers had been dealt out at random. Below 0: they agree less than that.
Missing answers are left out as missing, never taken for an answer. Krippendorff calls 0.8 the customary demand and
0.667 the lowest from which tentative conclusions may be drawn (Content Analysis, 2004, chapter 11).
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from evaluation.judging.comparisons import Outcome, PairVerdict, pooled_verdicts
from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement
from evaluation.judging.summary import story_scores
from evaluation.statistics import drawn_stories, ends_of

Level = Literal["nominal", "ordinal", "interval"]
Matrix = NDArray[np.float64]
_OUTCOMES: tuple[Outcome, ...] = ("win", "loss", "tie", "inconsistent")
_FEWEST_DRAWS = 0.5
"""Share of the draws for which alpha must be defined if there is to be an interval."""


class Agreement(BaseModel):
    """Alpha over some raters and what they rated."""

    alpha: float | None
    """None where it is not defined: nothing was rated twice, or all answers are the same one."""
    low: float | None = None
    """Of the 95 % interval over stories."""
    high: float | None = None
    level: Level
    raters: int
    units: int
    """Rated at least twice; the others say nothing of agreement."""


class AgreementReport(BaseModel):
    """How far answers can be trusted not to hang on who was asked, or when."""

    scores: dict[Dimension, dict[Level, Agreement]]
    """Between judges: what is rated is a system's story, by the mean over a judge's repeats."""
    pairs: dict[Dimension, Agreement]
    """Between judges, on outcomes of pairs; an incomplete one is missing."""
    repeats: dict[str, dict[Dimension, dict[Level, Agreement]]]
    """Between repeats, by judge."""


def krippendorff(ratings: Matrix, level: Level) -> float | None:
    """Compute alpha of ratings [raters, units]; NaN where a rater gave none.

    alpha = 1 - D_o / D_e from the coincidence matrix o_ck, in which each unit with m_u > 1 ratings adds its ordered
    pairs of values weighted by 1 / (m_u - 1): D_o = sum o_ck d2_ck / n, D_e = sum n_c n_k d2_ck / (n (n - 1)), n_c
    the margins (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", repository.upenn.edu/asc_papers/43).
    d2 is 1 for different names; for ordered values the square of n_c / 2 + n_k / 2 and all n between them; for
    intervals (c - k)^2.

    Returns:
        None where it is not defined: no unit has two ratings, or all ratings are equal.
    """
    values, coincidences = _coincidences(ratings)
    return _alpha(values, coincidences.sum(axis=0), level)


def agreement(
    ratings: Mapping[Hashable, Mapping[tuple[str, Hashable], float]], level: Level, *, resamples: int, seed: int
) -> Agreement:
    """Measure agreement, with an interval by drawing stories.

    Args:
        ratings: of each rater, by unit; a unit is (story id, whatever else tells it apart), and a rater may lack some.
        level: what the numbers are: names, ranks, or amounts.
        resamples: draws of whole stories; 0 for no interval.
        seed: of the draws.
    """
    units = list(dict.fromkeys(unit for own in ratings.values() for unit in own))
    matrix = np.array([[own.get(unit, np.nan) for unit in units] for own in ratings.values()], dtype=np.float64)
    matrix = matrix.reshape(len(ratings), len(units))
    low, high = _interval(matrix, [story for story, _ in units], level, resamples=resamples, seed=seed)
    return Agreement(
        alpha=krippendorff(matrix, level),
        low=low,
        high=high,
        level=level,
        raters=len(ratings),
        units=int(((~np.isnan(matrix)).sum(axis=0) > 1).sum()),
    )


def agreement_report(
    judgements: Sequence[Judgement], verdicts: Sequence[PairVerdict], *, resamples: int, seed: int
) -> AgreementReport:
    """Measure how far judges agree with one another, and each with itself.

    Args:
        judgements: those whose purpose is `score` are used.
        verdicts: of all judges, from `comparisons.verdicts_of`.
        resamples: draws of whole stories behind each interval; 0 for none.
        seed: of the draws.
    """
    scores = [one for one in judgements if one.purpose == "score"]
    judges = list(dict.fromkeys(one.judge for one in scores))

    def levels(ratings: Mapping[Hashable, Mapping[tuple[str, Hashable], float]]) -> dict[Level, Agreement]:
        measured: tuple[Level, ...] = ("ordinal", "interval")
        return {level: agreement(ratings, level, resamples=resamples, seed=seed) for level in measured}

    return AgreementReport(
        scores={one: levels(_by_judge(scores, one)) for one in DIMENSIONS},
        pairs={
            one: agreement(_by_outcome(verdicts, one), "nominal", resamples=resamples, seed=seed) for one in DIMENSIONS
        },
        repeats={judge: {one: levels(_by_repeat(scores, judge, one)) for one in DIMENSIONS} for judge in judges},
    )


def _coincidences(ratings: Matrix) -> tuple[Matrix, Matrix]:
    """Give the values that occur, [V] in order, and how each unit's ratings coincide, [units, V, V]."""
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(axis=0).astype(np.float64)  # [units, V]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    others = np.maximum(counts.sum(axis=1) - 1, 1)  # a single rating makes no pair
    return values, pairs / others[:, None, None]


def _alpha(values: Matrix, coincidences: Matrix, level: Level) -> float | None:
    margins = coincidences.sum(axis=1)
    if (margins > 0).sum() < 2:
        return None
    distances = _DISTANCES[level](values, margins)
    expected = (np.outer(margins, margins) * distances).sum() / (margins.sum() - 1)
    return float(1 - (coincidences * distances).sum() / expected)


def _nominal(values: Matrix, margins: Matrix) -> Matrix:
    return 1 - np.eye(len(values))


def _ordinal(values: Matrix, margins: Matrix) -> Matrix:
    """Count what lies from the middle of one value's ratings to the middle of the other's."""
    middle = np.cumsum(margins) - margins / 2
    return np.square(middle[:, None] - middle)


def _interval_squares(values: Matrix, margins: Matrix) -> Matrix:
    return np.square(values[:, None] - values)


_DISTANCES: dict[Level, Callable[[Matrix, Matrix], Matrix]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval_squares,
}


def _interval(
    matrix: Matrix, stories: Sequence[str], level: Level, *, resamples: int, seed: int
) -> tuple[float | None, float | None]:
    """Draw stories with all their units; none where there are too few, or alpha is mostly undefined."""
    names = list(dict.fromkeys(stories))
    if len(matrix) < 2 or len(names) < 2 or resamples == 0:
        return None, None
    values, coincidences = _coincidences(matrix)
    by_story = np.zeros((len(names), len(values), len(values)))
    np.add.at(by_story, [names.index(story) for story in stories], coincidences)
    draws = drawn_stories(len(names), resamples=resamples, seed=seed)
    drawn = (_alpha(values, by_story[draw].sum(axis=0), level) for draw in draws)
    found = [alpha for alpha in drawn if alpha is not None]
    if len(found) < _FEWEST_DRAWS * resamples:
        return None, None
    low, high = ends_of(found, len(names))
    return float(low), float(high)


def _by_judge(scores: Iterable[Judgement], dimension: Dimension) -> dict[Hashable, dict[tuple[str, Hashable], float]]:
    own: dict[str, dict[str, list[Judgement]]] = defaultdict(lambda: defaultdict(list))
    for one in scores:
        if one.dimension == dimension:
            own[one.judge][one.systems[0]].append(one)
    return {
        judge: {
            (story, system): score for system, rows in systems.items() for story, score in story_scores(rows).items()
        }
        for judge, systems in own.items()
    }


def _by_repeat(
    scores: Iterable[Judgement], judge: str, dimension: Dimension
) -> dict[Hashable, dict[tuple[str, Hashable], float]]:
    found: dict[Hashable, dict[tuple[str, Hashable], float]] = defaultdict(dict)
    for one in scores:
        if (one.judge, one.dimension, one.status) == (judge, dimension, "ok") and one.score is not None:
            found[one.repeat][one.story_id, one.systems[0]] = one.score
    return found


def _by_outcome(
    verdicts: Sequence[PairVerdict], dimension: Dimension
) -> dict[Hashable, dict[tuple[str, Hashable], float]]:
    found: dict[Hashable, dict[tuple[str, Hashable], float]] = defaultdict(dict)
    for one in pooled_verdicts(verdicts, over_judges=False):
        if one.dimension == dimension and one.outcome != "incomplete":
            found[one.judge][one.story_id, (one.left, one.right)] = float(_OUTCOMES.index(one.outcome))
    return found
