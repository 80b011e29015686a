import pytest

from evaluation.measures.measure import Measure
from evaluation.scores import Comparison
from evaluation.showing.measure_tables import row_of, verdict_of
from evaluation.showing.numbers import digits_of, measured, measured_share, number, p_value, usd
from evaluation.statistics import Estimate, paired

HIGHER = Measure("x", "higher", "Share of x.")


def estimate(value, reach=0.1):
    return Estimate(value=value, low=value - reach, high=value + reach, n=9)


def compared(left, right, p):
    return paired(dict(enumerate(left)), dict(enumerate(right)), resamples=0), p


@pytest.mark.parametrize(
    ("p", "better", "verdict"),
    [(0.2, "higher", "same"), (0.01, "higher", "worse"), (0.01, "lower", "better"), (0.01, None, "differs")],
)
def test_only_significant_differences_have_a_direction(p, better, verdict):
    assert verdict_of(*compared([3, 4], [1, 2], p), better) == verdict


def test_systems_without_any_difference_are_the_same_whatever_p_says():
    assert verdict_of(*compared([1, 2], [1, 2], 0.0), "higher") == "same"


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ({"a": estimate(0.9), "b": estimate(0.5)}, ["a"]),
        ({"a": estimate(0.9), "b": estimate(0.8), "c": estimate(0.2)}, ["a", "b"]),
        ({"a": estimate(0.9), "b": estimate(0.8)}, []),
        ({"a": estimate(0.9), "b": None}, []),
        ({"a": Estimate(value=1, n=1), "b": Estimate(value=2, n=1)}, ["b"]),
    ],
)
def test_the_best_are_all_that_intervals_cannot_tell_from_the_best(values, best):
    row = row_of(HIGHER, values, {}, list(values))
    assert [name for name, cell in zip(values, row.cells, strict=True) if cell.is_best] == best


def test_what_is_no_rival_is_never_the_best():
    row = row_of(HIGHER, {"a": estimate(0.5), "b": estimate(0.1), "dataset": estimate(0.99)}, {}, ["a", "b"])
    assert [cell.is_best for cell in row.cells] == [True, False, False]


def test_where_neither_end_is_good_nothing_is_best():
    row = row_of(Measure("x", None, "X."), {"a": estimate(0.9), "b": estimate(0.1)}, {}, ["a", "b"])
    assert not any(cell.is_best for cell in row.cells)


def test_a_row_is_written_with_the_digits_of_its_middle_interval():
    values = {"a": estimate(5, 2), "b": estimate(5, 0.2), "c": estimate(5, 0.02), "sure": estimate(5, 0)}
    assert row_of(Measure("x", None, "X."), values, {}, []).digits == 2
    assert row_of(Measure("x", None, "Share of X."), values, {}, []).digits == 0


def test_a_measure_that_no_system_has_makes_no_row():
    assert row_of(HIGHER, {"a": None}, {}, ["a"]) is None


def test_a_cell_says_what_its_verdict_stands_on():
    found, p = compared([3, 4, 5], [1, 2, 5], 0.01)
    comparison = Comparison(
        system="h", against="a", measure="x", paired=found, p_value=0.005, p_holm=p, is_primary=True
    )
    row = row_of(HIGHER, {"h": estimate(0.9), "a": estimate(0.5)}, {("x", "a"): comparison}, ["h", "a"])
    headline, other = row.cells
    assert headline.verdict is None
    assert other.verdict == "worse"
    assert (
        "headline better in 2 stories, not in 0, equal in 1; p 0.01 after Holm; 3 shared stories" in other.explanation
    )


@pytest.mark.parametrize(("reach", "digits"), [(12, 0), (4, 0), (1.2, 1), (0.4, 1), (0.02, 3), (0.00001, 4), (0, 2)])
def test_a_number_has_the_digits_that_its_interval_bears(reach, digits):
    assert digits_of(estimate(50, reach)) == digits


def test_shares_are_written_in_percent():
    assert measured_share(estimate(0.5, 0.02)) == '50.0 % <span class="ci">48.0 &ndash; 52.0</span>'
    assert "&ndash;" in measured(None)


def test_negative_ends_are_told_from_the_dash_between_them_and_no_zero_is_negative():
    found = number(Estimate(value=-0.0001, low=-1234.5, high=-0.2, n=3), 1)
    assert found == '0.0 <span class="ci">&minus;1,234.5 to &minus;0.2</span>'


def test_small_p_values_and_small_sums_are_not_written_as_zero():
    assert p_value(0.00002) == "&lt; 0.001"
    assert p_value(0.0312) == "0.031"
    assert [usd(0.0042), usd(3.2), usd(0.0)] == ["0.0042 USD", "3.20 USD", "0.00 USD"]
