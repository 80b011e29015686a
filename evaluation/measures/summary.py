"""From values by story and segment to what a table and a curve show, with intervals over whole stories.

The estimate is that of `statistics.mean_over_stories`: the ratio of sums over drawn stories, its interval.
The draws are made once, as how often each story was drawn, so that one matrix product resamples all points of a curve.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from evaluation.measures.measure import Values
from evaluation.statistics import Estimate, ends_of

CURVE_REACH = 2
"""Neighbouring segments on each side that a point of a curve averages."""
Matrix = NDArray[np.float64]


class MeasureSummary(BaseModel):
    """One measure of one system."""

    value: Estimate | None
    """Mean over all segments that have a value; none where no segment has."""
    curve: list[Estimate | None]
    """By index, the first is 1, each averaged with its neighbours within `CURVE_REACH`; empty for a measure of whole
    stories."""
    by_story: dict[str, float]
    """Mean of each story that has a value, for paired comparisons."""


@dataclass(frozen=True)
class Table:
    """Values of one measure by story and index; cells without a value count 0."""

    stories: tuple[str, ...]
    sums: Matrix
    """[stories, indices], index 0 first."""
    counts: Matrix


def summarise(values: Values, *, resamples: int, seed: int) -> MeasureSummary:
    """Sum up a measure.

    Args:
        values: of one system.
        resamples: draws of whole stories behind each interval; 0 for none.
        seed: of the draws.

    Raises:
        ValueError: a value is not finite, or an index is negative.
    """
    table = tabulate(values)
    totals = np.array([[np.sum([value for _, value in found])] for found in values.values()]).reshape(-1, 1)
    counts = table.counts.sum(axis=1, keepdims=True)
    (value,) = ratios_over_stories(totals, counts, counts, resamples=resamples, seed=seed)
    sums, seen = (_around(part[:, 1:]) for part in (table.sums, table.counts))
    means = totals[:, 0] / np.maximum(counts[:, 0], 1)
    return MeasureSummary(
        value=value,
        curve=ratios_over_stories(sums, seen, seen, resamples=resamples, seed=seed),
        by_story={
            story: float(mean) for story, mean, n in zip(table.stories, means, counts[:, 0], strict=True) if n > 0
        },
    )


def summarise_all(measured: Mapping[str, Values], *, resamples: int, seed: int) -> dict[str, MeasureSummary]:
    """Sum up the measures of a system, by name."""
    return {name: summarise(values, resamples=resamples, seed=seed) for name, values in measured.items()}


def tabulate(values: Values) -> Table:
    """Lay values out by story and index.

    Raises:
        ValueError: a value is not finite, or an index is negative.
    """
    for story, found in values.items():
        for index, value in found:
            if index < 0 or not np.isfinite(value):
                raise ValueError(f"story {story}, segment {index}: {value} is no value of a measure")
    length = 1 + max((index for found in values.values() for index, _ in found), default=0)
    sums, counts = np.zeros((len(values), length)), np.zeros((len(values), length))
    for row, found in enumerate(values.values()):
        at = [index for index, _ in found]
        np.add.at(sums[row], at, [value for _, value in found])
        np.add.at(counts[row], at, 1)
    return Table(tuple(values), sums, counts)


def ratios_over_stories(
    tops: Matrix, bottoms: Matrix, counts: Matrix, *, resamples: int, seed: int
) -> list[Estimate | None]:
    """Estimate, for each column, the sum of `tops` over the sum of `bottoms`; 95 % intervals.

    Stories whose bottom is 0 have no part in a column. None where no story has; no interval with one story.

    Args:
        tops: [stories, columns].
        bottoms: at least 0, [stories, columns].
        counts: items behind each cell, [stories, columns].
        resamples: draws of whole stories.
        seed: of the draws.
    """
    found: list[Estimate | None] = [None] * tops.shape[1]
    for rows, columns in _alike(bottoms > 0):
        part = np.ix_(rows, columns)
        values = tops[part].sum(axis=0) / bottoms[part].sum(axis=0)
        items = counts[part].sum(axis=0)
        lows, highs = _intervals(tops[part], bottoms[part], resamples=resamples, seed=seed)
        for column, value, low, high, n in zip(columns, values, lows, highs, items, strict=True):
            found[column] = Estimate(value=float(value), low=low, high=high, n=int(n))
    return found


@lru_cache(maxsize=64)
def drawn_weights(num_stories: int, *, resamples: int, seed: int) -> Matrix:
    """Draw stories with replacement; how often each was drawn, [resamples, stories], not to be written to."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(num_stories, np.full(num_stories, 1 / num_stories), size=resamples).astype(np.float64)
    weights.setflags(write=False)
    return weights


def _intervals(
    tops: Matrix, bottoms: Matrix, *, resamples: int, seed: int
) -> tuple[Sequence[float | None], Sequence[float | None]]:
    num_stories, num_columns = tops.shape
    if resamples == 0 or num_stories < 2:
        return [None] * num_columns, [None] * num_columns
    weights = drawn_weights(num_stories, resamples=resamples, seed=seed).T
    low, high = ends_of((tops.T @ weights) / (bottoms.T @ weights), num_stories)
    return low.tolist(), high.tolist()


def _alike(present: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Gather the columns in which the same stories take part: (stories, columns), without those that have none."""
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if pattern.any():
            yield np.flatnonzero(pattern), np.flatnonzero(which == number)


def _around(cells: Matrix) -> Matrix:
    """Sum each column with its neighbours within reach."""
    length = cells.shape[1]
    running = np.cumsum(np.pad(cells, ((0, 0), (1, 0))), axis=1)
    ends = np.arange(length)
    return running[:, np.minimum(ends + CURVE_REACH + 1, length)] - running[:, np.maximum(ends - CURVE_REACH, 0)]
