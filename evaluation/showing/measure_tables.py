"""Tables of numbers: a row a measure, a column a system, and which differences from the headline system are real."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal

from evaluation.measures.measure import Measure
from evaluation.scores import Comparison
from evaluation.showing.numbers import digits_of
from evaluation.statistics import Estimate, Paired

LEVEL = 0.05
"""Of significance, after Holm's correction."""
Verdict = Literal["better", "worse", "differs", "same"]
"""Of a system beside the headline one; `same`: no significant difference."""
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Cell:
    """One system's value of a measure."""

    value: Estimate | None
    is_best: bool = False
    """Best of its mode, or not to be told from the best by the intervals."""
    verdict: Verdict | None = None
    """None for the headline system itself, the dataset, and where nothing was tested."""
    explanation: str = ""


@dataclass(frozen=True)
class Row:
    """One measure of all systems of a table."""

    title: str
    meaning: str
    better: Better | None
    is_share: bool
    """Written in percent."""
    digits: int
    """Decimals, of all its cells: what the middle one's interval bears."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Rows with a name."""

    title: str
    rows: tuple[Row, ...]


Tested = Mapping[tuple[str, str], Comparison]
"""Comparisons with the headline system, by measure and the other system."""


def row_of(
    measure: Measure,
    values: Mapping[str, Estimate | None],
    tested: Tested,
    rivals: Iterable[str],
    *,
    title: str | None = None,
) -> Row | None:
    """Lay out one measure; none where no system has it.

    Args:
        measure: its name, its meaning, which way is better.
        values: by system, in the order of the columns, the dataset's own stories among them.
        tested: comparisons with the headline system.
        rivals: the systems among which one is best: those that told by themselves.
        title: how the page calls it; its name if none is given.
    """
    if all(value is None for value in values.values()):
        return None
    best = _best({name: values[name] for name in rivals if name in values}, measure.better)
    cells = tuple(
        _cell(value, measure.better, is_best=name in best, tested=tested.get((measure.name, name)))
        for name, value in values.items()
    )
    shown = title or measure.name.replace("_", " ")
    is_share = measure.meaning.startswith("Share of")
    digits = common_digits([value for value in values.values() if value is not None])
    return Row(shown, measure.meaning, measure.better, is_share, max(0, digits - 2) if is_share else digits, cells)


def tested_against(headline: str, comparisons: Sequence[Comparison]) -> dict[tuple[str, str], Comparison]:
    """Look the comparisons of one headline system up by measure and other system."""
    return {(one.measure, one.against): one for one in comparisons if one.system == headline}


def verdict_of(paired: Paired, p_holm: float, better: Better | None) -> Verdict:
    """Judge the other system beside the headline one, which is the left."""
    difference = paired.difference
    if p_holm >= LEVEL or difference is None or difference.value == 0:
        return "same"
    if better is None:
        return "differs"
    return "worse" if (difference.value > 0) == (better == "higher") else "better"


def common_digits(values: Sequence[Estimate]) -> int:
    """Choose the decimals of a row: what the middle one of the intervals bears."""
    sure = [value for value in values if value.low != value.high]
    return median_low([digits_of(value) for value in sure or values])


def _cell(value: Estimate | None, better: Better | None, *, is_best: bool, tested: Comparison | None) -> Cell:
    if value is None or tested is None:
        return Cell(value, is_best)
    paired, difference = tested.paired, tested.paired.difference
    told = "" if difference is None else f"headline minus this: {difference.value:+.3g}"
    if difference is not None and difference.low is not None and difference.high is not None:
        told += f" ({difference.low:+.3g} to {difference.high:+.3g})"
    ahead = "higher" if better is None else "better"
    explanation = (
        f"{told}; headline {ahead} in {paired.wins} stories, not in {paired.losses}, equal in {paired.ties}; "
        f"p {tested.p_holm:.2g} after Holm; {paired.said}"
    )
    return Cell(value, is_best, verdict_of(paired, tested.p_holm, better), explanation)


def _best(values: Mapping[str, Estimate | None], better: Better | None) -> set[str]:
    """Name the best and all that the intervals cannot tell from it; nobody, where neither end is good in itself."""
    known = {name: value for name, value in values.items() if value is not None}
    if better is None or len(known) < 2:
        return set()
    pick = max if better == "higher" else min
    top = pick(known.values(), key=lambda value: value.value)
    near = {name for name, value in known.items() if _overlap(value, top)}
    return near if len(near) < len(known) else set()


def _overlap(one: Estimate, other: Estimate) -> bool:
    one_low, one_high = _ends(one)
    other_low, other_high = _ends(other)
    return one_low <= other_high and other_low <= one_high


def _ends(value: Estimate) -> tuple[float, float]:
    low = value.value if value.low is None else value.low
    return low, value.value if value.high is None else value.high
