import math

import numpy as np
import pytest
from scipy import stats

from evaluation.statistics import (
    detectable_difference,
    detectable_rate,
    holm,
    least_significant_rate,
    mean_over_stories,
    paired,
    sign_test,
    tail_of,
    wilson,
    win_table,
)


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


def test_only_stories_that_both_told_are_compared_and_the_others_are_counted():
    found = paired({"a": 3.0, "b": 1.0, "x": 99.0}, {"a": 1.0, "b": 1.0, "y": 0.0, "z": 0.0})
    assert (found.n, found.left_only, found.right_only) == (2, 1, 2)
    assert (found.difference.value, found.wins, found.losses, found.ties) == (1.0, 1, 0, 1)
    assert found.said == "2 shared stories; left out, for one side lacks them: 1 + 2"


def test_lower_values_win_where_lower_is_better_and_the_difference_keeps_its_sign():
    left, right = {"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 5.0}
    assert (paired(left, right, better="lower").wins, paired(left, right).losses) == (2, 2)
    assert paired(left, right, better="lower").difference.value == paired(left, right).difference.value == -2.5


def test_swapping_the_sides_mirrors_everything():
    left = {str(n): float(n % 7) for n in range(30)}
    right = {str(n): float(n % 5) for n in range(30)}
    one, other = paired(left, right, resamples=0), paired(right, left, resamples=0)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert (one.sign_p, one.wilcoxon_p, one.detectable) == (other.sign_p, other.wilcoxon_p, other.detectable)
    assert one.difference.value == -other.difference.value


def test_a_difference_by_rounding_alone_is_a_tie():
    assert paired({"a": 0.1 + 0.2}, {"a": 0.3}).ties == 1


def test_systems_without_a_common_story_have_no_difference():
    found = paired({"a": 1.0}, {"b": 1.0})
    assert (found.n, found.difference, found.wilcoxon_p, found.detectable, found.sign_p) == (0, None, None, None, 1.0)


def test_a_story_without_a_number_is_named():
    with pytest.raises(ValueError, match="story b has a value"):
        paired({"a": 1.0, "b": float("nan")}, {"a": 1.0, "b": 1.0})


def test_the_signed_rank_test_leaves_stories_without_a_difference_out():
    """All six of six differences to one side: exact p is 2 / 2^6; ten ties must not change it."""
    left = {str(n): float(n + 1) for n in range(6)} | {f"tie {n}": 5.0 for n in range(10)}
    right = {str(n): 0.0 for n in range(6)} | {f"tie {n}": 5.0 for n in range(10)}
    assert paired(left, right).wilcoxon_p == pytest.approx(2 / 64)


def test_the_detectable_difference_is_found_in_80_of_100_experiments():
    differences = np.resize([1.0, -1.0], 10)
    smallest = detectable_difference(differences)
    draws = np.random.default_rng(0).normal(smallest, differences.std(ddof=1), size=(20_000, 10))
    assert (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.01)


def test_no_spread_says_nothing_of_what_could_be_detected():
    assert detectable_difference([0.5, 0.5, 0.5]) is None
    assert detectable_difference([0.5]) is None


def test_the_detectable_win_rate_is_found_in_80_of_100_experiments():
    least = round(least_significant_rate(51) * 51)
    assert stats.binom.sf(least - 1, 51, detectable_rate(51)) == pytest.approx(0.8)


def test_five_decided_stories_can_prove_nothing():
    """Even five wins of five have p = 1/16."""
    table = win_table(5, 0, 0)
    assert (table.least_significant, table.detectable, table.sign_p) == (None, None, 1 / 16)
    assert win_table(6, 0, 0).least_significant == 1.0


def test_a_win_rate_is_of_the_decided():
    table = win_table(29, 129, 22)
    assert (table.win_rate.value, table.win_rate.n) == (29 / 51, 51)
    assert win_table(0, 9, 0).win_rate is None


def test_wilsons_interval_is_the_textbooks_and_stays_within_bounds():
    found = wilson(29, 51)
    z, p, n = 1.959964, 29 / 51, 51
    middle, half = (p + z**2 / (2 * n)), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert (found.low, found.high) == pytest.approx(
        ((middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n))
    )
    assert (wilson(0, 10).low, wilson(10, 10).high) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (0, 0), (3, 2), (-1, 4)])
def test_no_proportion_is_refused(successes, n):
    with pytest.raises(ValueError, match="is no proportion"):
        wilson(successes, n)


def test_holms_adjustment_steps_down():
    """0.01 x 4, 0.02 x 3, then never below what came before, and never above 1."""
    found = holm({"d": 0.9, "a": 0.01, "c": 0.03, "b": 0.02})
    assert found == pytest.approx({"d": 0.9, "a": 0.04, "c": 0.06, "b": 0.06})
    assert list(found) == ["d", "a", "c", "b"]


def test_one_p_value_alone_stays_as_it_is():
    assert holm({"a": 0.4}) == {"a": 0.4}
    assert holm({}) == {}


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(ValueError, match="the p-value of a"):
        holm({"a": value})


@pytest.mark.parametrize(("num_stories", "least"), [(5, 0.89), (8, 0.92)])
def test_an_interval_holds_the_truth_as_often_as_it_says_with_few_stories(num_stories, least):
    """Plain percentiles do in 83 and 89 of 100."""
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        found = mean_over_stories(rng.standard_normal((num_stories, 1)).tolist(), resamples=400, seed=trial)
        held += found.low <= 0 <= found.high
    assert held / 400 >= least


def test_with_many_stories_the_ends_are_the_percentiles():
    assert tail_of(10_000) == pytest.approx(0.025, rel=0.01)
    assert tail_of(2) < 1e-9
