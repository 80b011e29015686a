import numpy as np
import pytest

from evaluation.distances.frechet import frechet_distance, frechet_over_stories


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_eigenvalues(x, y):
    """The textbook form, by the eigenvalues of the product of the covariances."""
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    shift = x.mean(0) - y.mean(0)
    return shift @ shift + np.trace(first) + np.trace(second) - 2 * cross


def test_the_nuclear_norm_is_the_trace_of_the_matrix_root(rng):
    x, y = rng.standard_normal((90, 12)) * np.arange(1, 13), rng.standard_normal((70, 12)) + 0.3
    assert frechet_distance(x, y) == pytest.approx(by_eigenvalues(x, y), rel=1e-6)


def test_fewer_pictures_than_features_give_the_same_number(rng):
    x, y = rng.standard_normal((9, 16)), rng.standard_normal((11, 16))
    assert frechet_distance(x, y) == pytest.approx(by_eigenvalues(x, y), rel=1e-5)


def test_a_set_has_no_distance_from_itself(rng):
    x = rng.standard_normal((50, 8))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_it_is_symmetric(rng):
    x, y = rng.standard_normal((40, 8)), 2 * rng.standard_normal((50, 8))
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)


def test_a_shift_adds_its_square(rng):
    x = rng.standard_normal((60, 8))
    assert [frechet_distance(x, x + shift) for shift in (1, 2)] == pytest.approx([8, 32])


def test_one_picture_is_not_enough(rng):
    with pytest.raises(ValueError, match="two pictures"):
        frechet_distance(rng.standard_normal((1, 4)), rng.standard_normal((5, 4)))


def test_the_interval_holds_the_distance_and_widens_with_the_spread_between_stories(rng):
    reference = [rng.standard_normal((10, 6)) for _ in range(6)]
    alike = [story + 1 for story in reference]
    apart = [story + number for number, story in enumerate(reference)]
    narrow, wide = (frechet_over_stories(told, reference, resamples=50, seed=0) for told in (alike, apart))
    assert narrow.low <= narrow.value <= narrow.high
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_stories_without_pictures_have_no_distance(rng):
    assert frechet_over_stories([np.empty((0, 4))], [rng.standard_normal((9, 4))], resamples=5, seed=0) is None
