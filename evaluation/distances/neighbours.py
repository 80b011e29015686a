"""Whether told pictures look true, and whether they show all that true ones do, by nearest neighbours of features.

Around each picture of a set lies a ball that reaches to its k-th nearest neighbour in the set. Precision is the share
of told pictures inside a true picture's ball, recall the share of true ones inside a told picture's (Kynkäänniemi et
al. 2019, eq. 1 and 2). One outlier with a wide ball can lift precision; density, the balls that a told picture lies
in over k, and coverage, the share of true balls with a told picture inside, do not suffer from it (Naeem et al. 2020,
eq. 3 and 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluation.distances.features import Features, joined
from evaluation.statistics import Estimate, mean_over_stories

_TIE = 1e-9
"""Relative width within which squared distances count as equal: rounding decides no neighbour."""


@dataclass(frozen=True)
class Surroundings:
    """Shares of pictures by nearest neighbours; intervals are over stories, with all balls as they are."""

    precision: Estimate | None
    recall: Estimate | None
    density: Estimate | None
    coverage: Estimate | None


def surroundings(
    told: Sequence[Features], reference: Sequence[Features], *, neighbours: int, resamples: int, seed: int
) -> Surroundings | None:
    """Measure precision, recall, density and coverage; None where a side has no more pictures than neighbours.

    Args:
        told: features of each story's told pictures, [n_k, D].
        reference: features of the same stories' pictures in the dataset, [m_k, D].
        neighbours: k.
        resamples: draws of whole stories behind the intervals; 0 for none.
        seed: of the draws.
    """
    x, y = joined(told, "told"), joined(reference, "true")
    if min(len(x), len(y)) <= neighbours:
        return None
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    between = _squared_distances(x, y)
    in_true = between <= _reach(y, neighbours)[None, :]
    in_told = between <= _reach(x, neighbours)[:, None]

    def shares(values: ArrayLike, stories: Sequence[Features]) -> Estimate | None:
        ends = np.cumsum([len(story) for story in stories])[:-1]
        parts = np.split(np.asarray(values, dtype=np.float64), ends)
        return mean_over_stories([part.tolist() for part in parts], resamples=resamples, seed=seed)

    return Surroundings(
        precision=shares(in_true.any(axis=1), told),
        recall=shares(in_told.any(axis=0), reference),
        density=shares(in_true.sum(axis=1) / neighbours, told),
        coverage=shares(in_true.any(axis=0), reference),
    )


def _reach(rows: Features, neighbours: int) -> Features:
    """Give each row's squared distance to its k-th nearest other row, [N]; the nearest is itself, at zero."""
    distances = _squared_distances(rows, rows)
    np.fill_diagonal(distances, 0)
    reach: Features = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return reach * (1 + _TIE)


def _squared_distances(x: Features, y: Features) -> Features:
    """Give [N, M]; what rounding leaves of equal rows is zero."""
    sizes = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None, :]
    distances: Features = sizes - 2 * (x @ y.T)
    distances[distances < _TIE * sizes] = 0
    return distances
