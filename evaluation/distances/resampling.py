"""Fréchet distances of many draws of the same stories, each at a fraction of the price of a first one.

A draw is a count for each story: 0 for one left out, 2 for one drawn twice. A repeated picture is a weight, so nothing
is copied, and only distinct pictures enter:

- where pictures are few beside features, the product of all pictures of one side with all of the other, [N, M], is
  computed once. A draw takes the rows and columns of its stories, centres and weighs them; singular values of that are
  all it needs.
- where they are many, a draw needs the eigenvalues of a [D, D] matrix. Roots of eigenvalues lose digits where these are
  small, so the loss is bounded, and a draw that it could show in is computed by singular values.

Draws run side by side, each on one thread: matrices are too small for threads to help inside one.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.distances.features import Features, joined, story_numbers

Counts = NDArray[np.int64]
"""[draws, stories]: how often each story is taken."""
_MAX_LOSS = 1e-7
"""Of a distance, relative, that eigenvalues may cost."""
_EPS = float(np.finfo(np.float64).eps)


class Side:
    """Pictures of one side, centred on their common mean so that draws lose no digits to it."""

    def __init__(self, stories: Sequence[Features], name: str) -> None:
        features = torch.from_numpy(joined(stories, name))
        self.mean = features.mean(dim=0)
        self.rows = features - self.mean
        self.story = torch.from_numpy(story_numbers(stories))
        self.squares = self.rows.square().sum(dim=1)


class Draw:
    """One side's pictures of one draw: the distinct ones, how often each counts, and their mean."""

    def __init__(self, side: Side, counts: Tensor) -> None:
        weights = counts[side.story]
        self.side = side
        self.taken = weights.nonzero()[:, 0]
        self.weights = weights[self.taken].double()
        self.total = float(self.weights.sum())
        self.mean = self.weights @ side.rows[self.taken] / self.total

    @property
    def scale(self) -> Tensor:
        """What each picture is multiplied by so that the sum of its outer products is the covariance, [n]."""
        return (self.weights / (self.total - 1)).sqrt()

    @property
    def spread(self) -> float:
        """The trace of the covariance."""
        squares = self.weights @ self.side.squares[self.taken] - self.total * self.mean @ self.mean
        return float(squares) / (self.total - 1)

    def rows(self) -> Tensor:
        """Centre and scale the pictures: R with R^T R the covariance, [n, D]."""
        return (self.side.rows[self.taken] - self.mean) * self.scale[:, None]


class StoryDraws:
    """Distances of told from true pictures when some stories count more than once and some not at all."""

    def __init__(self, told: Sequence[Features], reference: Sequence[Features]) -> None:
        """Prepare what all draws share; story k of both sides is drawn together."""
        self.sides = Side(told, "told"), Side(reference, "true")
        few = min(len(side.rows) for side in self.sides)
        self.by_covariances = few > 2 * self.sides[0].rows.shape[1]
        self.products = None if self.by_covariances else self.sides[0].rows @ self.sides[1].rows.T

    def distances(self, counts: Counts) -> Features:
        """Measure each draw, [draws]; not a number where a side has fewer than two pictures."""
        with _one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
            return np.array(list(pool.map(self._distance, torch.from_numpy(counts))))

    def _distance(self, counts: Tensor) -> float:
        told, reference = (Draw(side, counts) for side in self.sides)
        if min(told.total, reference.total) < 2:
            return float("nan")
        shift = told.mean + told.side.mean - reference.mean - reference.side.mean
        rest = float(shift @ shift) + told.spread + reference.spread
        by_products = self.products is not None
        cross = self._by_products(told, reference) if by_products else _by_covariances(told, reference, rest)
        return max(0.0, rest - 2 * cross)

    def _by_products(self, told: Draw, reference: Draw) -> float:
        assert self.products is not None
        taken = self.products[told.taken][:, reference.taken]
        taken -= told.weights @ taken / told.total
        taken -= (taken @ reference.weights / reference.total)[:, None]
        taken *= told.scale[:, None] * reference.scale
        return float(torch.linalg.svdvals(taken).sum())


def counts_of(draws: Sequence[NDArray[np.int64]], num_stories: int) -> Counts:
    """Count how often each draw takes each story."""
    return np.stack([np.bincount(draw, minlength=num_stories) for draw in draws])


def _by_covariances(told: Draw, reference: Draw, rest: float) -> float:
    """Take the trace of (C1 C2)^1/2 from the eigenvalues of L^T C2 L, C1 = L L^T, unless rounding could show in it."""
    a, b = told.rows(), reference.rows()
    first, second = a.T @ a, b.T @ b
    root, failed = torch.linalg.cholesky_ex(first)
    if not failed:
        eigenvalues = torch.linalg.eigvalsh(root.T @ second @ root)
        noise = 4 * _EPS * float(first.norm() * second.norm())
        cross = float(eigenvalues.clamp(min=0).sqrt().sum())
        if float((noise / (2 * eigenvalues.clamp(min=noise).sqrt())).sum()) <= _MAX_LOSS * (rest - 2 * cross):
            return cross
    triangles = [torch.linalg.qr(rows, mode="r").R for rows in (a, b)]
    return float(torch.linalg.svdvals(triangles[0] @ triangles[1].T).sum())


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Keep matrices to one thread, and give how many threads there were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
