import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from evaluation.distances.kernel import kernel_distance, kernel_over_stories


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def written_out(x, y):
    """The estimator term by term (Binkowski et al. 2018, eq. 4)."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    own = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    true = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + true - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_it_is_the_published_estimator(rng):
    x, y = rng.standard_normal((9, 5)), rng.standard_normal((9, 5)) + 0.4
    assert kernel_distance(x, y, subsets=3, seed=0) == pytest.approx(written_out(x, y), rel=1e-12)


def test_its_kernel_is_scikit_learns_polynomial(rng):
    x, y = rng.standard_normal((50, 7)), 2 * rng.standard_normal((50, 7))
    own, true, cross = polynomial_kernel(x), polynomial_kernel(y), polynomial_kernel(x, y)
    within = ((own.sum() - own.trace()) + (true.sum() - true.trace())) / (50 * 49)
    assert kernel_distance(x, y, subsets=1, seed=0) == pytest.approx(within - 2 * cross.mean(), rel=1e-12)


def test_sets_of_one_distribution_are_at_zero_on_average(rng):
    """The Fréchet distance of such sets is far from zero; this one's mean is not."""
    pool = rng.standard_normal((4000, 8)) + 0.3
    found = [kernel_distance(pool[k : k + 50], pool[k + 50 : k + 100], subsets=1, seed=0) for k in range(0, 4000, 100)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_sets_of_unequal_size_are_compared_in_subsets_that_a_seed_decides(rng):
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((25, 6)) + 0.5
    first, again, other = (kernel_distance(x, y, subsets=20, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == pytest.approx(written_out(x, y), rel=0.3)


def test_the_interval_holds_the_distance_and_widens_with_the_spread_between_stories(rng):
    reference = [rng.standard_normal((10, 6)) for _ in range(8)]
    alike = [story + 1 for story in reference]
    apart = [story + number / 4 for number, story in enumerate(reference)]
    narrow, wide = (kernel_over_stories(told, reference, subsets=5, resamples=99, seed=0) for told in (alike, apart))
    assert narrow.low <= narrow.value <= narrow.high
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_the_interval_is_as_wide_as_fresh_stories_spread(rng):
    """Stories drawn anew from the distribution move the distance as far as the interval of one set says."""

    def stories(shift):
        return [rng.standard_normal((3, 4)) + 0.3 * rng.standard_normal(4) + shift for _ in range(60)]

    fresh = [kernel_over_stories(stories(0.8), stories(0), subsets=1, resamples=0, seed=0).value for _ in range(60)]
    widths = []
    for seed in range(5):
        estimate = kernel_over_stories(stories(0.8), stories(0), subsets=1, resamples=300, seed=seed)
        widths.append(estimate.high - estimate.low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(fresh), rel=0.35)


def test_stories_without_pictures_are_drawn_with_the_others(rng):
    told = [rng.standard_normal((k % 3, 4)) for k in range(9)]
    reference = [rng.standard_normal((2, 4)) for _ in range(9)]
    estimate = kernel_over_stories(told, reference, subsets=5, resamples=50, seed=0)
    assert estimate.n == 9
    assert estimate.low < estimate.high


def test_one_picture_has_no_distance(rng):
    one, more = [rng.standard_normal((1, 4))], [rng.standard_normal((3, 4))]
    assert kernel_over_stories(one, more, subsets=1, resamples=0, seed=0) is None
    with pytest.raises(ValueError, match="two pictures"):
        kernel_distance(one[0], more[0], subsets=1, seed=0)
