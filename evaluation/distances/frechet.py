"""Fréchet distance between two sets of features, and how far chance moves it.

The distance of two Gaussians, |m1 - m2|^2 + Tr C1 + Tr C2 - 2 Tr (C1 C2)^1/2 (Heusel et al. 2017, eq. 6). With A and B
the centred features over sqrt(n - 1), the last trace is the nuclear norm of A B^T: no matrix square root, no imaginary
parts, no epsilon, and cheap enough to resample.
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from evaluation.distances.features import Features, joined
from evaluation.distances.resampling import StoryDraws, counts_of
from evaluation.statistics import Estimate, drawn_stories, ends_of


def frechet_distance(told: Features, reference: Features) -> float:
    """Measure the distance of features [N, D] and [M, D] in float64, with unbiased covariances.

    Raises:
        ValueError: a set has fewer than two pictures, or a picture's features are not finite.
    """
    if len(told) < 2 or len(reference) < 2:
        raise ValueError(f"a distance needs two pictures on each side, not {len(told)} and {len(reference)}")
    x, y = joined([told], "told"), joined([reference], "true")
    a, b = _centred(x), _centred(y)
    shift = x.mean(axis=0) - y.mean(axis=0)
    cross = np.linalg.svd(_factor(a) @ _factor(b).T, compute_uv=False).sum()
    return float(max(0.0, shift @ shift + (a**2).sum() + (b**2).sum() - 2 * cross))


def frechet_over_stories(
    told: Sequence[Features], reference: Sequence[Features], *, resamples: int, seed: int
) -> Estimate | None:
    """Measure the distance of all pictures; the interval says how far it moves with the stories drawn.

    Story k of both sides is drawn together. A resample repeats stories and so lies farther off than the sample does;
    that shift is taken out, so the interval shows spread, not the bias of small sets. None with under two pictures.

    Args:
        told: features of each story's told pictures, [n_k, D].
        reference: features of the same stories' pictures in the dataset, [m_k, D].
        resamples: draws; 0 for no interval.
        seed: of the draws.

    Raises:
        ValueError: a picture's features are not finite.
    """
    all_told, all_reference = joined(told, "told"), joined(reference, "true")
    if len(all_told) < 2 or len(all_reference) < 2:
        return None
    value = frechet_distance(all_told, all_reference)
    if resamples == 0 or len(told) < 2:
        return Estimate(value=value, n=len(all_told))
    draws = counts_of(list(drawn_stories(len(told), resamples=resamples, seed=seed)), len(told))
    drawn = StoryDraws(told, reference).distances(draws)
    drawn = drawn[np.isfinite(drawn)]
    low, high = ends_of(drawn - drawn.mean() + value, len(told))
    return Estimate(value=value, low=max(0.0, float(low)), high=float(high), n=len(all_told))


def _centred(features: Features) -> Features:
    return (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)


def _factor(centred: Features) -> Features:
    """Return a matrix of at most D rows with the same singular structure; rotations do not change the norm."""
    rows, columns = centred.shape
    if rows <= columns:
        return centred
    factor: Features = linalg.qr(centred, mode="economic")[1]
    return factor
