"""How sure a number is: intervals by resampling stories, exact tests of paired wins.

Pictures of one story resemble one another, so the story is the unit that is drawn with replacement; an interval over
single pictures would be too narrow.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import stats

CONFIDENCE = 0.95


class Estimate(BaseModel):
    """A measured number; without an interval where there is one story only, or resampling is off."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int
    """Items behind the value."""


def mean_over_stories(groups: Sequence[Sequence[float]], *, resamples: int, seed: int) -> Estimate | None:
    """Average all items; 95 % percentile interval by drawing whole stories. None where there is no item.

    Args:
        groups: the items of each story.
        resamples: draws; 0 for no interval.
        seed: of the draws.
    """
    kept = [group for group in groups if len(group)]
    if not kept:
        return None
    sums = np.array([np.sum(group) for group in kept], dtype=np.float64)
    counts = np.array([len(group) for group in kept], dtype=np.float64)
    value, n = float(sums.sum() / counts.sum()), int(counts.sum())
    if resamples == 0 or len(kept) < 2:
        return Estimate(value=value, n=n)
    interval = stats.bootstrap(
        (sums, counts),
        lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
        n_resamples=resamples,
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(value=value, low=float(interval.low), high=float(interval.high), n=n)


def drawn_stories(num_stories: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw story numbers with replacement, for statistics that are no mean."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(0, num_stories, size=num_stories)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely; ties are left out. 1 where nothing differs."""
    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses, 0.5).pvalue)
