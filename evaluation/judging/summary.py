"""What judges' scores amount to: means with intervals over stories, how much was answered, how steady a judge is.

A question without an answer has no score. It never counts as 0 and never leaves the count of questions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel
from scipy import stats

from evaluation.judging.asks import LeftOut
from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement, Status
from evaluation.statistics import Estimate, mean_over_stories

ENOUGH_COVERAGE = 0.98
"""Of the questions; below, what was left unanswered (refused, say) may be what decides the mean."""
_FEWEST_TO_CORRELATE = 3
_PERMUTATIONS = 9999


class Correlation(BaseModel):
    """A rank correlation."""

    rho: float
    p: float
    """Two-sided: that ranks so alike come about by chance, by permutation (exact up to seven)."""
    n: int


class DimensionSummary(BaseModel):
    """One judge's scores of one system in one dimension."""

    score: Estimate | None
    """Mean of the stories' scores; a story's is the mean of its repeats. n: stories. None where nothing was scored."""
    statuses: dict[Status, int]
    left_out: int = 0
    """Questions that could not be asked: the story was not told, or has no picture."""
    coverage: float
    """Share of the questions, those left out included, that got a score."""
    is_covered: bool
    """At least 98 % of the questions got a score."""
    repeat_sd: float | None
    """Standard deviation, in points, between repeats of one question; none without repeats."""
    words: Correlation | None
    """Of a story's score with the number of words shown; none for fewer than three stories, or all alike."""


class JudgeSummary(BaseModel):
    """One judge's scores."""

    systems: dict[str, dict[Dimension, DimensionSummary]]


class ScoreSummary(BaseModel):
    """All judges' scores."""

    judges: dict[str, JudgeSummary]
    pooled: dict[str, dict[Dimension, Estimate | None]]
    """Mean over judges, of the stories that every judge scored: no story weighs more because one judge was silent."""


def summarise(
    judgements: Iterable[Judgement], *, left_out: Sequence[LeftOut] = (), resamples: int, seed: int
) -> ScoreSummary:
    """Sum up the judgements whose purpose is `score`.

    Args:
        judgements: of any purpose; others are passed over.
        left_out: what could not be asked of systems, from `asks.score_questions`.
        resamples: draws of whole stories behind each interval; 0 for none.
        seed: of the draws.
    """
    cells: dict[tuple[str, str, Dimension], list[Judgement]] = defaultdict(list)
    for one in judgements:
        if one.purpose == "score":
            cells[one.judge, one.systems[0], one.dimension].append(one)
    missed: Counter[str] = Counter()
    for lost in left_out:
        if lost.purpose == "score":
            missed[lost.systems[0]] += lost.questions
    judges = list(dict.fromkeys(judge for judge, _, _ in cells))
    systems = list(dict.fromkeys([*(system for _, system, _ in cells), *missed]))
    return ScoreSummary(
        judges={
            judge: JudgeSummary(
                systems={
                    system: {
                        dimension: _sum_up(cells[judge, system, dimension], missed[system], resamples, seed)
                        for dimension in DIMENSIONS
                    }
                    for system in systems
                }
            )
            for judge in judges
        },
        pooled={
            system: {
                dimension: _pooled([cells[judge, system, dimension] for judge in judges], resamples, seed)
                for dimension in DIMENSIONS
            }
            for system in systems
        },
    )


def story_scores(judgements: Iterable[Judgement]) -> dict[str, float]:
    """Average the repeats of each story that has a score, by story id; one judge, system, dimension and label."""
    repeats: dict[str, list[float]] = defaultdict(list)
    for one in judgements:
        if one.status == "ok" and one.score is not None:
            repeats[one.story_id].append(one.score)
    return {story: float(np.mean(scores)) for story, scores in repeats.items()}


def repeat_sd(judgements: Iterable[Judgement]) -> float | None:
    """Pool the standard deviation between repeats: the root of the stories' mean variance, weighted by its freedom."""
    repeats: dict[str, list[float]] = defaultdict(list)
    for one in judgements:
        if one.status == "ok" and one.score is not None:
            repeats[one.story_id].append(one.score)
    several = [scores for scores in repeats.values() if len(scores) > 1]
    if not several:
        return None
    squares = sum(float(np.var(scores)) * len(scores) for scores in several)
    return float(np.sqrt(squares / sum(len(scores) - 1 for scores in several)))


def rank_correlation(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Correlation | None:
    """Correlate ranks (Spearman 1904); none where there are fewer than three, or one side is constant."""
    if len(first) < _FEWEST_TO_CORRELATE or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    ranks = stats.rankdata(second) - (len(second) + 1) / 2
    # Not the usual t distribution: of three stories in perfect order it says that chance cannot do that.
    found = stats.permutation_test(
        (stats.rankdata(first),),
        lambda shuffled, axis: (shuffled * ranks).sum(axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        rng=np.random.default_rng(seed),
    )
    return Correlation(rho=float(stats.spearmanr(first, second).statistic), p=float(found.pvalue), n=len(first))


def _sum_up(own: Sequence[Judgement], left_out: int, resamples: int, seed: int) -> DimensionSummary:
    scores = story_scores(own)
    words = {one.story_id: one.words for one in own}
    num_questions = len(own) + left_out
    coverage = sum(one.status == "ok" for one in own) / num_questions if num_questions else 0.0
    return DimensionSummary(
        score=mean_over_stories([[score] for score in scores.values()], resamples=resamples, seed=seed),
        statuses=dict(Counter(one.status for one in own)),
        left_out=left_out,
        coverage=coverage,
        is_covered=coverage >= ENOUGH_COVERAGE,
        repeat_sd=repeat_sd(own),
        words=rank_correlation(list(scores.values()), [words[story] for story in scores], seed=seed),
    )


def _pooled(by_judge: Sequence[Sequence[Judgement]], resamples: int, seed: int) -> Estimate | None:
    scores = [story_scores(own) for own in by_judge]
    shared = [story for story in scores[0] if all(story in own for own in scores)] if scores else []
    means = [[float(np.mean([own[story] for own in scores]))] for story in shared]
    return mean_over_stories(means, resamples=resamples, seed=seed)
