"""Tables of measures: a row a measure, a column a system, and which differences from the headline system are real."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.measures.measure import Measure
from evaluation.measures.summary import MeasureSummary
from evaluation.statistics import Estimate, Paired

LEVEL = 0.05
"""Of significance, after Holm's correction."""
Verdict = Literal["better", "worse", "differs", "same"]
"""Of a system beside the headline one; `same`: no significant difference."""


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
class MeasureRow:
    """One measure of all systems of a table."""

    measure: Measure
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Tested:
    """A comparison of the headline system (left) with another one, in one measure."""

    paired: Paired
    p_holm: float


Summaries = Mapping[str, MeasureSummary]
"""By measure, of one system."""


def measure_rows(
    measures: Sequence[Measure],
    systems: Mapping[str, Summaries],
    tested: Mapping[tuple[str, str], Tested],
    rivals: Sequence[str],
) -> list[MeasureRow]:
    """Lay out the measures that some system has.

    Args:
        measures: in the order of the rows.
        systems: in the order of the columns, the dataset's own stories among them.
        tested: by measure and the system that the headline one was compared with.
        rivals: the systems among which one is best: those that told by themselves.
    """
    rows = []
    for measure in measures:
        found = {name: own[measure.name].value if measure.name in own else None for name, own in systems.items()}
        if all(value is None for value in found.values()):
            continue
        best = _best({name: found[name] for name in rivals if name in found}, measure)
        cells = (
            _cell(value, measure, is_best=name in best, tested=tested.get((measure.name, name)))
            for name, value in found.items()
        )
        rows.append(MeasureRow(measure, tuple(cells)))
    return rows


def verdict_of(tested: Tested, better: Literal["higher", "lower"] | None) -> Verdict:
    """Judge the other system beside the headline one, which is the left."""
    difference = tested.paired.difference
    if tested.p_holm >= LEVEL or difference is None or difference.value == 0:
        return "same"
    if better is None:
        return "differs"
    return "worse" if (difference.value > 0) == (better == "higher") else "better"


def _cell(value: Estimate | None, measure: Measure, *, is_best: bool, tested: Tested | None) -> Cell:
    if value is None or tested is None:
        return Cell(value, is_best)
    verdict = verdict_of(tested, measure.better)
    paired, difference = tested.paired, tested.paired.difference
    told = "" if difference is None else f"headline minus this: {difference.value:+.3g}"
    if difference is not None and difference.low is not None and difference.high is not None:
        told += f" ({difference.low:+.3g} to {difference.high:+.3g})"
    explanation = (
        f"{told}; headline better in {paired.wins} stories, worse in {paired.losses}, equal in {paired.ties}; "
        f"p {tested.p_holm:.2g} after Holm; {paired.said}"
    )
    return Cell(value, is_best, verdict, explanation)


def _best(values: Mapping[str, Estimate | None], measure: Measure) -> set[str]:
    """Name the best and all that the intervals cannot tell from it; nobody, where neither end is good in itself."""
    known = {name: value for name, value in values.items() if value is not None}
    if measure.better is None or len(known) < 2:
        return set()
    pick = max if measure.better == "higher" else min
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
