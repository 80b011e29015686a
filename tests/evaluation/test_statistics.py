import pytest

from evaluation.statistics import mean_over_stories, sign_test


def test_the_mean_is_over_items_not_over_stories():
    assert mean_over_stories([[1.0], [0.0, 0.0, 0.0]], resamples=0, seed=0).value == 0.25


def test_stories_are_redrawn_whole():
    """Within a story all items agree: over single items the interval of 400 would be a tenth of this."""
    found = mean_over_stories([[1.0] * 100, [0.0] * 100, [1.0] * 100, [0.0] * 100], resamples=500, seed=0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_equal_seeds_give_equal_intervals():
    groups = [[0.1, 0.9], [0.5], [0.3, 0.2, 0.7]]
    assert mean_over_stories(groups, resamples=50, seed=3) == mean_over_stories(groups, resamples=50, seed=3)


def test_one_story_has_no_interval():
    found = mean_over_stories([[1.0, 0.0], []], resamples=50, seed=0)
    assert (found.value, found.low, found.high, found.n) == (0.5, None, None, 2)


def test_nothing_measured_is_nothing_not_zero():
    assert mean_over_stories([[], []], resamples=50, seed=0) is None


@pytest.mark.parametrize(("wins", "losses", "p"), [(29, 22, 0.40), (93, 64, 0.025), (86, 31, 4e-7)])
def test_published_win_rates_get_their_p_values(wins, losses, p):
    """SEED-Story against MM-Interleaved in 180 pairs: style, engagement, coherence."""
    assert sign_test(wins, losses) == pytest.approx(p, rel=0.1)


def test_no_difference_at_all_proves_nothing():
    assert sign_test(0, 0) == 1.0
