"""What a long story loses on its way: the trend of a measure over the index, and what changes past the trained length.

SEED-Story shows this as a figure alone (pictures under three cache policies). Here it is a slope with an interval.
The slope is the within-story one: how a story's values move with the index, so that stories of unlike level or length
do not feign a trend. Stories are the unit that is drawn.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from evaluation.measures.measure import Values
from evaluation.measures.summary import Matrix, drawn_weights, ratios_over_stories
from evaluation.statistics import Estimate, ends_of, mean_over_stories

PER_SEGMENTS = 10
"""Slopes are changes per this many segments."""


class Degradation(BaseModel):
    """Of one measure of one system."""

    slope: Estimate | None
    """Change of the measure per ten segments; none where no story has two values."""
    beyond: Estimate | None
    """Mean past the trained length minus mean up to it, story by story; none where no story has both, or no length is
    given."""


def degradation_of(values: Values, *, trained_length: int | None, resamples: int, seed: int) -> Degradation:
    """Measure how a measure changes along the stories of one system.

    Args:
        values: of the system; index 0 is left out.
        trained_length: the last index that stories in training had; none to leave `beyond` out.
        resamples: draws of whole stories behind each interval; 0 for none.
        seed: of the draws.
    """
    moments = {story: _moments(found) for story, found in values.items()}
    steep = np.array([[moment[0]] for moment in moments.values()]).reshape(-1, 1) * PER_SEGMENTS
    spread = np.array([[moment[1]] for moment in moments.values()]).reshape(-1, 1)
    counts = np.array([[float(sum(index > 0 for index, _ in found))] for found in values.values()]).reshape(-1, 1)
    (slope,) = ratios_over_stories(steep, spread, counts, resamples=resamples, seed=seed)
    return Degradation(
        slope=slope,
        beyond=_beyond(values, trained_length, resamples=resamples, seed=seed),
    )


def slope_difference(one: Values, other: Values, *, resamples: int, seed: int) -> Estimate | None:
    """Estimate the slope of one system minus that of another, over the stories that both told.

    Both slopes come from the same drawn stories, so what the stories have in common cancels. None where no shared story
    has two values in both.
    """
    pairs = [(_moments(one[story]), _moments(other[story])) for story in one if story in other]
    kept = np.array([(*left, *right) for left, right in pairs if left[1] > 0 and right[1] > 0]).reshape(-1, 4)
    if not len(kept):
        return None
    value, n = float(_difference(kept.sum(axis=0)[None])[0]), len(kept)
    if resamples == 0 or n < 2:
        return Estimate(value=value, n=n)
    drawn = _difference(drawn_weights(n, resamples=resamples, seed=seed) @ kept)
    low, high = ends_of(drawn, n)
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def _difference(sums: Matrix) -> Matrix:
    """Subtract the slopes of rows of summed moments, [draws, 4]."""
    difference: Matrix = PER_SEGMENTS * (sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3])
    return difference


def _moments(found: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Sum, about the story's own means, index times value and index squared."""
    inside = np.array([(index, value) for index, value in found if index > 0], dtype=np.float64).reshape(-1, 2)
    if not len(inside):
        return 0.0, 0.0
    index, value = (inside - inside.mean(axis=0)).T
    return float(index @ value), float(index @ index)


def _beyond(values: Values, trained_length: int | None, *, resamples: int, seed: int) -> Estimate | None:
    if trained_length is None:
        return None
    changes = []
    for found in values.values():
        early = [value for index, value in found if 0 < index <= trained_length]
        late = [value for index, value in found if index > trained_length]
        if early and late:
            changes.append([float(np.mean(late) - np.mean(early))])
    return mean_over_stories(changes, resamples=resamples, seed=seed)
