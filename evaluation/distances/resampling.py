"""Fréchet distances of many draws of the same stories, each at a fraction of the price of a first one.

A draw is a count for each story: 0 for one left out, 2 for one drawn twice. A repeated picture is a weight, so nothing
is copied, and what does not change from draw to draw is computed once:

- fewer pictures than features: the product of all pictures of one side with all of the other, [N, M]. A draw takes the
  rows and columns of its stories, centres and weighs them; singular values of that are all it needs.
- more pictures than features: each story's second moments. Those of all draws are one matrix product; a draw needs the
  eigenvalues of a [D, D] matrix. Roots of eigenvalues lose digits where these are small, so the loss is bounded, and a
  draw that it could show in is computed by singular values.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from evaluation.distances.features import Features, joined, story_numbers

Counts = NDArray[np.int64]
"""[draws, stories]: how often each story is taken."""
_BLOCK = 16
"""Draws whose second moments are held at once."""
_MAX_LOSS = 1e-7
"""Of a distance, relative, that eigenvalues may cost."""
_EPS = float(np.finfo(np.float64).eps)


class Side:
    """Pictures of one side, centred on their common mean so that draws lose no digits to it."""

    def __init__(self, stories: Sequence[Features], name: str) -> None:
        features = joined(stories, name)
        self.mean = features.mean(axis=0)
        self.rows = features - self.mean
        self.story = story_numbers(stories)
        self.squares = (self.rows**2).sum(axis=1)

    def weights(self, counts: NDArray[np.int64]) -> Features:
        """Give each picture its story's count, [N]."""
        weights: Features = counts[self.story].astype(np.float64)
        return weights

    def second_moments(self, num_stories: int) -> Features:
        """Sum the outer products of each story's pictures, [stories, D * D]."""
        starts = np.searchsorted(self.story, np.arange(num_stories + 1))
        stories = [self.rows[first:last] for first, last in pairwise(starts)]
        return np.stack([(story.T @ story).ravel() for story in stories])


class StoryDraws:
    """Distances of told from true pictures when some stories count more than once and some not at all."""

    def __init__(self, told: Sequence[Features], reference: Sequence[Features]) -> None:
        """Prepare what all draws share; story k of both sides is drawn together."""
        self.num_stories = len(told)
        self.sides = Side(told, "told"), Side(reference, "true")
        self.dim = self.sides[0].rows.shape[1]
        self.by_moments = min(len(side.rows) for side in self.sides) > 2 * self.dim
        if not self.by_moments:
            self.products = self.sides[0].rows @ self.sides[1].rows.T

    def distances(self, counts: Counts) -> Features:
        """Measure each draw, [draws]; not a number where a side has fewer than two pictures."""
        if self.by_moments:
            return self._by_moments(counts)
        return np.array([self._by_products(draw) for draw in counts])

    def _by_products(self, counts: NDArray[np.int64]) -> float:
        weights = [side.weights(counts) for side in self.sides]
        totals = [float(weight.sum()) for weight in weights]
        if min(totals) < 2:
            return float("nan")
        left, right = (weight.nonzero()[0] for weight in weights)
        a, b = weights[0][left], weights[1][right]
        taken = self.products[np.ix_(left, right)]
        taken = taken - (a @ taken / totals[0])[None, :]
        taken -= (taken @ b / totals[1])[:, None]
        taken *= np.sqrt(a / (totals[0] - 1))[:, None]
        taken *= np.sqrt(b / (totals[1] - 1))[None, :]
        cross = float(linalg.svdvals(taken, overwrite_a=True, check_finite=False).sum())
        means = [weight @ side.rows / total for weight, side, total in zip(weights, self.sides, totals, strict=True)]
        spread = sum(
            (weight @ side.squares - total * (mean @ mean)) / (total - 1)
            for weight, side, total, mean in zip(weights, self.sides, totals, means, strict=True)
        )
        shift = means[0] + self.sides[0].mean - means[1] - self.sides[1].mean
        return max(0.0, float(shift @ shift + spread - 2 * cross))

    def _by_moments(self, counts: Counts) -> Features:
        moments = [side.second_moments(self.num_stories) for side in self.sides]
        found = []
        for start in range(0, len(counts), _BLOCK):
            block = counts[start : start + _BLOCK]
            drawn = [block.astype(np.float64) @ moment for moment in moments]
            found += [self._of_moments(draw, drawn[0][row], drawn[1][row]) for row, draw in enumerate(block)]
        return np.array(found)

    def _of_moments(self, counts: NDArray[np.int64], told: Features, reference: Features) -> float:
        means, covariances = [], []
        for side, moments in zip(self.sides, (told, reference), strict=True):
            weights = side.weights(counts)
            total = float(weights.sum())
            if total < 2:
                return float("nan")
            mean = weights @ side.rows / total
            covariance = moments.reshape(self.dim, self.dim) - total * np.outer(mean, mean)
            means.append(mean + side.mean)
            covariances.append(covariance / (total - 1))
        shift = means[0] - means[1]
        rest = float(shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]))
        cross, loss = _root_trace(*covariances)
        if loss > _MAX_LOSS * (rest - 2 * cross):
            return self._by_rows(counts, rest)
        return max(0.0, rest - 2 * cross)

    def _by_rows(self, counts: NDArray[np.int64], rest: float) -> float:
        factors = []
        for side in self.sides:
            weights = side.weights(counts)
            taken = weights.nonzero()[0]
            centred = side.rows[taken] - weights @ side.rows / weights.sum()
            centred *= np.sqrt(weights[taken] / (weights.sum() - 1))[:, None]
            factors.append(linalg.qr(centred, mode="r", overwrite_a=True, check_finite=False)[0][: self.dim])
        cross = linalg.svdvals(factors[0] @ factors[1].T, overwrite_a=True, check_finite=False).sum()
        return max(0.0, rest - 2 * float(cross))


def counts_of(draws: Sequence[NDArray[np.int64]], num_stories: int) -> Counts:
    """Count how often each draw takes each story."""
    return np.stack([np.bincount(draw, minlength=num_stories) for draw in draws])


def _root_trace(first: Features, second: Features) -> tuple[float, float]:
    """Take the trace of (C1 C2)^1/2 from the eigenvalues of L^T C2 L, C1 = L L^T, and bound what rounding can cost."""
    try:
        root = np.linalg.cholesky(first)
    except np.linalg.LinAlgError:
        return 0.0, float("inf")
    eigenvalues = linalg.eigvalsh(root.T @ second @ root, overwrite_a=True, check_finite=False, driver="evd")
    noise = 4 * _EPS * float(np.linalg.norm(first) * np.linalg.norm(second))
    kept = np.clip(eigenvalues, noise, None)
    return float(np.sqrt(np.clip(eigenvalues, 0, None)).sum()), float((noise / (2 * np.sqrt(kept))).sum())
