"""The Fréchet distance without a matrix root: the same number, and an interval at a price that can be paid.

The interval is over 1,000 draws of whole stories. Ours draws them all; the matrix root's time is that of a few of the
same draws, times 1,000 by their number. Features are random ones of Inception's width, with a spectrum that falls off
as that of pictures does. Both sides run in one process on the same features, and their distances are compared.

Run it in the project's folder: `python -m benchmarks.fid`; `--draws 1` is quicker.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import argparse
import json
import time

import numpy as np
from scipy import linalg

from evaluation.distances.features import Features
from evaluation.distances.frechet import frechet_distance, frechet_over_stories
from evaluation.distances.resampling import StoryDraws, counts_of
from evaluation.statistics import drawn_stories

SHAPES = ((500, 400, 64), (120, 90, 64), (300, 300, 256), (90, 70, 256))
"""Told pictures, true pictures, features: more of these than of those, and fewer."""


def features(rng: np.random.Generator, rows: int, dim: int) -> Features:
    """Draw features whose spectrum falls off by a power, about a mean that is not zero."""
    spectrum = np.arange(1, dim + 1) ** -0.5
    found: Features = rng.standard_normal((rows, dim)) * spectrum + 0.4
    return found


def moments(x: Features, y: Features) -> tuple[Features, Features, float]:
    """Give both covariances, and what the distance is without the trace of their product's root."""
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(0) - y.mean(0)
    return first, second, float(shift @ shift + np.trace(first) + np.trace(second))


def by_matrix_root(x: Features, y: Features) -> float:
    """The published form, by scipy's matrix square root."""
    first, second, rest = moments(x, y)
    return rest - 2 * float(np.trace(linalg.sqrtm(first @ second)).real)


def by_eigenvalues(x: Features, y: Features) -> float:
    """The same trace as the sum of the product's eigenvalues' roots."""
    first, second, rest = moments(x, y)
    return rest - 2 * float(np.sqrt(linalg.eigvals(first @ second).astype(complex)).real.sum())


def errors(rng: np.random.Generator) -> dict[str, float]:
    """Compare the distance with both other forms on several shapes; singular products have no good matrix root."""
    found = {}
    for told, true, dim in SHAPES:
        x, y = features(rng, told, dim) * 1.1 + 0.02, features(rng, true, dim)
        ours = frechet_distance(x, y)
        others = {"eigenvalues": by_eigenvalues(x, y)}
        if min(told, true) > dim:
            others["matrix root"] = by_matrix_root(x, y)
        for form, other in others.items():
            found[f"{told} x {true} x {dim}, {form}"] = abs(ours - other) / abs(other)
    return found


def drawn(rng: np.random.Generator, given: argparse.Namespace) -> dict[str, float]:
    """Time the interval of one system's stories, and a few of its draws by the matrix root."""
    told, true = (np.array_split(features(rng, given.stories, given.dim), given.stories) for _ in range(2))
    start = time.perf_counter()
    estimate = frechet_over_stories(told, true, resamples=given.resamples, seed=0)
    ours = time.perf_counter() - start
    draws = list(drawn_stories(given.stories, resamples=given.draws, seed=0))
    start = time.perf_counter()
    roots = [by_matrix_root(*(np.concatenate([side[k] for k in draw]) for side in (told, true))) for draw in draws]
    theirs = (time.perf_counter() - start) / given.draws * given.resamples
    cheap = StoryDraws(told, true).distances(counts_of(draws, given.stories))
    assert estimate is not None
    return {
        "seconds_ours": ours,
        "seconds_matrix_root_extrapolated": theirs,
        "bootstrap_speedup": theirs / ours,
        "error_of_draws": float(np.max(np.abs(cheap - roots) / np.abs(roots))),
        "distance": estimate.value,
    }


def main() -> None:
    """Measure, print, and end on one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stories", type=int, default=180, help="one picture each")
    parser.add_argument("--dim", type=int, default=2048, help="features of a picture")
    parser.add_argument("--resamples", type=int, default=1000, help="draws behind the interval")
    parser.add_argument("--draws", type=int, default=3, help="draws that the matrix root is timed on")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    found = errors(rng)
    for shape, error in found.items():
        print(f"{shape:40} relative error {error:.1e}")
    measured = drawn(rng, given)
    for name, value in measured.items():
        print(f"{name:40} {value:.4g}")
    result = {"n": given.stories, "resamples": given.resamples, "matrix_root_draws_measured": given.draws}
    print(json.dumps(result | measured | {"max_relative_error": max(found.values())}))


if __name__ == "__main__":
    main()
