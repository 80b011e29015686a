"""Kernel distance of two sets of features: unbiased for any number of pictures, where the Fréchet distance is not.

The squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, without the pairs of a picture with itself,
averaged over random subsets (Binkowski et al. 2018, eq. 4 and section 4). It may be negative, where two sets differ
less than two draws from one distribution do.
"""

from collections.abc import Sequence

import numpy as np

from evaluation.distances.features import Features, joined, story_numbers
from evaluation.distances.resampling import counts_of
from evaluation.statistics import Estimate, drawn_stories, ends_of

MAX_SUBSET = 1000
"""Pictures of each side in a subset, where there are so many."""
_BLOCK = 1024


def kernel_distance(told: Features, reference: Features, *, subsets: int, seed: int) -> float:
    """Average the unbiased distance of features [N, D] and [M, D] over random subsets of min(N, M, 1000) pictures.

    Where a subset holds all pictures of both sides, one is enough.

    Raises:
        ValueError: a set has fewer than two pictures, or a picture's features are not finite.
    """
    if len(told) < 2 or len(reference) < 2:
        raise ValueError(f"a distance needs two pictures on each side, not {len(told)} and {len(reference)}")
    x, y = joined([told], "told"), joined([reference], "true")
    size = min(len(x), len(y), MAX_SUBSET)
    if len(x) == len(y) == size:
        return _distance(x, y)
    rng = np.random.default_rng(seed)
    chosen = ((rng.permutation(len(x))[:size], rng.permutation(len(y))[:size]) for _ in range(subsets))
    return float(np.mean([_distance(x[own], y[true]) for own, true in chosen]))


def kernel_over_stories(
    told: Sequence[Features], reference: Sequence[Features], *, subsets: int, resamples: int, seed: int
) -> Estimate | None:
    """Measure the distance of all pictures; the interval says how far it moves with the stories drawn.

    Story k of both sides is drawn together. A picture is never paired with its own copy in a story drawn twice; what a
    draw is shifted by all the same is taken out. None with under two pictures.

    Args:
        told: features of each story's told pictures, [n_k, D].
        reference: features of the same stories' pictures in the dataset, [m_k, D].
        subsets: random subsets that the value is averaged over.
        resamples: draws behind the interval; 0 for none.
        seed: of subsets and draws.
    """
    x, y = joined(told, "told"), joined(reference, "true")
    if len(x) < 2 or len(y) < 2:
        return None
    value = kernel_distance(x, y, subsets=subsets, seed=seed)
    if resamples == 0 or len(told) < 2:
        return Estimate(value=value, n=len(x))
    drawn = _draws(told, reference, resamples=resamples, seed=seed)
    low, high = ends_of(drawn - drawn.mean() + value, len(told))
    return Estimate(value=value, low=float(low), high=float(high), n=len(x))


def _draws(told: Sequence[Features], reference: Sequence[Features], *, resamples: int, seed: int) -> Features:
    """Measure the distance of each draw from sums over pairs of stories; draws with too few pictures are left out."""
    number = len(told)
    counts = counts_of(list(drawn_stories(number, resamples=resamples, seed=seed)), number).astype(np.float64)
    sums = _story_sums(told, told), _story_sums(reference, reference), _story_sums(told, reference)
    own, true = np.array([len(story) for story in told]), np.array([len(story) for story in reference])
    pairs = np.outer(own, own) - np.diag(own), np.outer(true, true) - np.diag(true), np.outer(own, true)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [
            ((counts @ total) * counts).sum(axis=1) / ((counts @ pair) * counts).sum(axis=1)
            for total, pair in zip(sums, pairs, strict=True)
        ]
    drawn: Features = means[0] + means[1] - 2 * means[2]
    return drawn[np.isfinite(drawn)]


def _story_sums(first: Sequence[Features], second: Sequence[Features]) -> Features:
    """Sum the kernel over the pictures of each pair of stories, [K, K]; without a picture and itself in one set."""
    x, y = np.concatenate(first), np.concatenate(second)
    membership = np.eye(len(second))[story_numbers(second)]
    rows = np.concatenate([_kernel(x[start : start + _BLOCK], y) @ membership for start in range(0, len(x), _BLOCK)])
    if first is second:
        rows[np.arange(len(x)), story_numbers(first)] -= ((x * x).sum(axis=1) / x.shape[1] + 1) ** 3
    sums: Features = np.eye(len(first))[story_numbers(first)].T @ rows
    return sums


def _distance(x: Features, y: Features) -> float:
    n, m = len(x), len(y)
    own, true = _kernel(x, x), _kernel(y, y)
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (true.sum() - np.trace(true)) / (m * (m - 1))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: Features, y: Features) -> Features:
    kernel: Features = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
