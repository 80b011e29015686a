"""The Fréchet distance as it would be with pictures without number.

A finite sample puts the distance too high by about c / N, and c depends on what is measured, so that neither a single
set's distance nor the order of two systems can be believed at small N. A line through the distances of parts of the
sample, over 1 / N, gives the limit (Chong and Forsyth 2020, section 4). Here both sides shrink together, story by
story: stories fall into eight groups, and every union of at least half of them is measured. Leaving out one group at
a time says how sure the limit is (jackknife). An estimate of what is near zero may be negative.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation.distances.features import Features
from evaluation.distances.resampling import Counts, StoryDraws
from evaluation.statistics import CONFIDENCE, Estimate

GROUPS = 8
MIN_STORIES = 2 * GROUPS
"""A group has two stories or more."""


def frechet_extrapolated(told: Sequence[Features], reference: Sequence[Features], *, seed: int) -> Estimate | None:
    """Extrapolate the distance to infinitely many pictures; its interval is of the jackknife over groups of stories.

    None with fewer than 16 stories, or where a part of them has fewer than two pictures on a side.

    Args:
        told: features of each story's told pictures, [n_k, D].
        reference: features of the same stories' pictures in the dataset, [m_k, D].
        seed: of the grouping.
    """
    if len(told) < MIN_STORIES:
        return None
    unions, counts = _unions(len(told), seed)
    distances = StoryDraws(told, reference).distances(counts)
    pictures = counts @ np.array([len(story) for story in told])
    if not np.isfinite(distances).all():
        return None
    value = _limit(unions, pictures, distances)
    left_out = np.array([_limit(unions[kept], pictures[kept], distances[kept]) for kept in (~unions).T])
    error = np.sqrt((GROUPS - 1) / GROUPS * ((left_out - left_out.mean()) ** 2).sum())
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, GROUPS - 1) * error)
    return Estimate(value=value, low=value - reach, high=value + reach, n=int(pictures.max()))


def _unions(num_stories: int, seed: int) -> tuple[NDArray[np.bool_], Counts]:
    """List every union of at least half of the groups, [unions, groups], and its stories, [unions, stories]."""
    chosen = [groups for size in range(GROUPS // 2, GROUPS + 1) for groups in combinations(range(GROUPS), size)]
    unions = np.array([[group in groups for group in range(GROUPS)] for groups in chosen])
    group_of = np.random.default_rng(seed).permutation(num_stories) % GROUPS
    return unions, unions[:, group_of].astype(np.int64)


def _limit(unions: NDArray[np.bool_], pictures: NDArray[np.int64], distances: Features) -> float:
    """Fit a line over 1 / N to the mean distance of each size of union, and take its height at zero."""
    sizes = unions.sum(axis=1)
    inverse, means = ([part[sizes == size].mean() for size in np.unique(sizes)] for part in (1 / pictures, distances))
    return float(stats.linregress(inverse, means).intercept)
