import numpy as np
import pytest
from scipy import linalg

from evaluation.distances.frechet import frechet_distance, frechet_over_stories
from evaluation.distances.resampling import StoryDraws, counts_of
from evaluation.statistics import drawn_stories


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


@pytest.mark.parametrize("shape", [(60, 60, 12), (300, 200, 40), (64, 50, 48)])
def test_it_is_what_scipys_matrix_root_gives(rng, shape):
    n, m, dim = shape
    mixed = rng.standard_normal((dim, dim)) * np.exp(-np.arange(dim) / 10)
    x, y = rng.standard_normal((n, dim)) @ mixed, rng.standard_normal((m, dim)) @ mixed * 1.3 + 0.2
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(0) - y.mean(0)
    expected = shift @ shift + np.trace(first) + np.trace(second) - 2 * linalg.sqrtm(first @ second).real.trace()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


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


def test_a_picture_without_finite_features_is_named(rng):
    told, reference = [rng.standard_normal((3, 4)) for _ in range(5)], [rng.standard_normal((3, 4)) for _ in range(5)]
    told[2][1, 3] = np.nan
    with pytest.raises(ValueError, match="told picture 1 of story 2"):
        frechet_over_stories(told, reference, resamples=0, seed=0)
    reference[4][0, 0] = np.inf
    with pytest.raises(ValueError, match="true picture 0 of story 4"):
        frechet_over_stories([told[0]] * 5, reference, resamples=0, seed=0)


def by_copies(told, reference, draws):
    """Every draw from the start: its pictures put together, repeats included."""
    return [
        frechet_distance(np.concatenate([told[k] for k in draw]), np.concatenate([reference[k] for k in draw]))
        for draw in draws
    ]


@pytest.mark.parametrize(
    ("told_each", "true_each", "dim", "by_covariances"), [(1, 1, 64, False), (5, 4, 8, True), (3, 5, 30, True)]
)
def test_a_cheap_draw_is_the_distance_of_its_pictures(rng, told_each, true_each, dim, by_covariances):
    mixed = rng.standard_normal((dim, dim))
    told = [rng.standard_normal((told_each, dim)) @ mixed + 0.5 for _ in range(24)]
    reference = [rng.standard_normal((true_each, dim)) @ mixed for _ in range(24)]
    draws = list(drawn_stories(24, resamples=12, seed=1))
    cheap = StoryDraws(told, reference)
    assert cheap.by_covariances is by_covariances
    assert cheap.distances(counts_of(draws, 24)) == pytest.approx(by_copies(told, reference, draws), rel=1e-6)


def test_features_that_repeat_one_another_cost_no_digits(rng):
    """Covariances without an inverse have no Cholesky factor, and roots of their rounded eigenvalues are noise."""
    told, reference = ([rng.standard_normal((5, 4)) for _ in range(20)] for _ in range(2))
    told, reference = ([np.hstack([story, 2 * story, 0 * story]) for story in side] for side in (told, reference))
    draws = list(drawn_stories(20, resamples=12, seed=1))
    cheap = StoryDraws(told, reference)
    assert cheap.by_covariances
    assert cheap.distances(counts_of(draws, 20)) == pytest.approx(by_copies(told, reference, draws), rel=1e-6)


def test_features_of_very_unequal_size_cost_no_digits(rng):
    """Their covariances have an inverse, but roots of their smallest eigenvalues would be wrong by more than 1e-6."""
    turned = np.logspace(0, -7, 40)[:, None] * np.linalg.qr(rng.standard_normal((40, 40)))[0]
    reference = [rng.standard_normal((5, 40)) @ turned for _ in range(30)]
    told = [story + 1e-3 * rng.standard_normal((5, 40)) @ turned for story in reference]
    draws = list(drawn_stories(30, resamples=12, seed=1))
    cheap = StoryDraws(told, reference)
    assert cheap.by_covariances
    assert cheap.distances(counts_of(draws, 30)) == pytest.approx(by_copies(told, reference, draws), rel=1e-6, abs=0)


def test_stories_of_unequal_length_and_without_pictures_are_drawn_too(rng):
    told = [rng.standard_normal((k % 4, 3)) for k in range(16)]
    reference = [rng.standard_normal((4, 3)) for _ in range(16)]
    draws = list(drawn_stories(16, resamples=8, seed=2))
    cheap = StoryDraws(told, reference).distances(counts_of(draws, 16))
    assert cheap == pytest.approx(by_copies(told, reference, draws), rel=1e-6)


def test_a_draw_of_one_picture_has_no_distance(rng):
    told, reference = [rng.standard_normal((1, 8)), np.empty((0, 8))], [rng.standard_normal((3, 8))] * 2
    assert np.isnan(StoryDraws(told, reference).distances(np.array([[1, 1]]))).all()
