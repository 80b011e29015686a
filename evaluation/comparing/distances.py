"""How much farther one run's pictures lie from the dataset's than another's, by whole stories.

Both runs told the same stories, so that a draw takes the same ones on both sides and what is hard in a story drops out.
The p-value asks how often a difference as large comes about when it is left to chance, story by story, which run told
it: an exact test of equal quality that needs no normal distribution (Fisher's randomisation test).
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from evaluation.comparing.comparison import Row
from evaluation.distances.features import Features
from evaluation.distances.resampling import Counts, StoryDraws
from evaluation.statistics import Estimate, drawn_stories, ends_of

_ALL_SWAPS_UP_TO = 10
"""Stories; beyond that, swaps are drawn at random."""
_ROUNDING = 1e-9


def distance_row(
    row: Row,
    left: Sequence[Features],
    right: Sequence[Features],
    references: tuple[Sequence[Features], Sequence[Features]],
    *,
    resamples: int,
    seed: int,
) -> Row:
    """Fill a row with both runs' Fréchet distances on the same stories.

    Args:
        row: whose measure it is.
        left: features of each story's told pictures, [n_k, D].
        right: the same of the newer run.
        references: of the same stories' pictures in each run's dataset, [m_k, D].
        resamples: draws of stories, and of swaps.
        seed: of both.
    """
    stories = len(left)
    if stories < 2:
        return row.model_copy(update={"stories": stories, "reason": "fewer than two stories are shared"})
    draws = StoryDraws([*left, *right], [*references[0], *references[1]])
    before, after = draws.distances(np.stack([_taken(np.ones(stories, int), side) for side in (0, 1)]))
    if not np.isfinite([before, after]).all():
        return row.model_copy(update={"stories": stories, "reason": "fewer than two pictures on one side"})
    pictures = sum(len(story) for story in left), sum(len(story) for story in right)
    counts = [np.bincount(draw, minlength=stories) for draw in drawn_stories(stories, resamples=resamples, seed=seed)]
    drawn = [_distances(draws, counts, side) for side in (0, 1)] if counts else [np.empty(0), np.empty(0)]
    difference = _rounded(np.array([after - before]), before + after)
    spread = _rounded(drawn[1] - drawn[0], before + after)
    return row.model_copy(
        update={
            "left": _estimate(before, drawn[0], stories, n=pictures[0], floor=0.0),
            "right": _estimate(after, drawn[1], stories, n=pictures[1], floor=0.0),
            "difference": _estimate(difference[0], spread, stories, n=stories),
            "stories": stories,
            "p_value": _swap_test(draws, stories, difference[0], resamples=resamples, seed=seed),
            "test": "random swaps",
        }
    )


def _rounded(differences: Features, scale: float) -> Features:
    """Take away what rounding leaves of the difference of equal distances."""
    return np.where(np.abs(differences) <= _ROUNDING * scale, 0.0, differences)


def _taken(counts: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Take stories of one run: the first half of the draws' stories is the left run's, the second the right's."""
    nothing = np.zeros_like(counts)
    return np.concatenate([counts, nothing] if side == 0 else [nothing, counts])


def _distances(draws: StoryDraws, counts: Sequence[NDArray[np.int64]], side: int) -> Features:
    return draws.distances(np.stack([_taken(draw, side) for draw in counts]))


def _estimate(value: float, drawn: Features, stories: int, *, n: int, floor: float | None = None) -> Estimate:
    """Give a distance its interval: the draws' spread, without the shift that repeated stories bring."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(value=float(value), n=n)
    low, high = ends_of(drawn - drawn.mean() + value, stories)
    lowest = float(low) if floor is None else max(floor, float(low))
    return Estimate(value=float(value), low=lowest, high=float(high), n=n)


def _swap_test(draws: StoryDraws, stories: int, difference: float, *, resamples: int, seed: int) -> float | None:
    """Find how often swapping runs within stories differs at least as much; every swap for few stories."""
    every = stories <= _ALL_SWAPS_UP_TO
    if not every and resamples == 0:
        return None
    swaps = (
        np.array(list(product((0, 1), repeat=stories)))
        if every
        else np.random.default_rng(seed).integers(0, 2, size=(resamples, stories))
    )
    one, other = (draws.distances(_swapped(swaps, side)) for side in (0, 1))
    smaller = np.abs(other - one) < abs(difference) * (1 - _ROUNDING)
    as_large = len(swaps) - int(smaller.sum())  # a swap that leaves a side without pictures speaks for nobody
    return as_large / len(swaps) if every else (1 + as_large) / (1 + len(swaps))


def _swapped(swaps: NDArray[np.int64], side: int) -> Counts:
    from_left = (swaps == side).astype(np.int64)
    return np.concatenate([from_left, 1 - from_left], axis=1)
