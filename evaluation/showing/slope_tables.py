"""What every system loses over a story's length, in numbers: slopes, and what is past the trained length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.measures.catalog import in_reading_order
from evaluation.measures.measure import Measure
from evaluation.scores import Scores, SlopeDifference, SystemScores
from evaluation.showing.measure_tables import Better, Cell, Row, Table, Verdict, common_digits
from evaluation.showing.system_tables import Column, columns_of, has_measure, systems_of_mode
from evaluation.statistics import Estimate


@dataclass(frozen=True)
class LengthTables:
    """One mode's slopes, and changes past the trained length."""

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]


def length_tables(scores: Scores, mode: str, headline_policy: str) -> LengthTables:
    """Lay out what changes along the stories of one mode; a table without rows is left out."""
    systems = [one for one in systems_of_mode(scores, mode) if one.slopes]
    headline = f"{mode}-{headline_policy}"
    tested = {(one.measure, one.against): one for one in scores.slope_differences if one.system == headline}
    measures = in_reading_order({name for one in systems for name in one.slopes})
    slopes = (_row(one, _values(systems, one, "slopes"), tested) for one in measures)
    beyond = (_row(one, _values(systems, one, "beyond"), {}) for one in measures)
    found = (
        Table("Change per ten segments", tuple(row for row in slopes if row)),
        Table("Past the length of training's stories, less up to it", tuple(row for row in beyond if row)),
    )
    return LengthTables(tuple(columns_of(systems, headline)), tuple(table for table in found if table.rows))


def verdict_of(difference: Estimate, better: Better | None) -> Verdict:
    """Judge how another system changes beside the headline one, whose slope it was subtracted from."""
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return "same"
    if better is None:
        return "differs"
    return "worse" if (difference.value > 0) == (better == "higher") else "better"


def _values(
    systems: Sequence[SystemScores], measure: Measure, field: Literal["slopes", "beyond"]
) -> dict[str, Estimate | None]:
    return {one.name: getattr(one, field).get(measure.name) if has_measure(one, measure) else None for one in systems}


def _row(
    measure: Measure, values: Mapping[str, Estimate | None], tested: Mapping[tuple[str, str], SlopeDifference]
) -> Row | None:
    known = [value for value in values.values() if value is not None]
    if all(value.value == 0 for value in known):
        return None
    cells = tuple(_cell(value, measure.better, tested.get((measure.name, name))) for name, value in values.items())
    title = measure.name.replace("_", " ")
    return Row(title, measure.meaning, measure.better, is_share=False, digits=common_digits(known), cells=cells)


def _cell(value: Estimate | None, better: Better | None, tested: SlopeDifference | None) -> Cell:
    if value is None or tested is None:
        return Cell(value)
    found = tested.difference
    ends = "" if found.low is None or found.high is None else f" ({found.low:+.3g} to {found.high:+.3g})"
    said = f"slope of the headline minus this: {found.value:+.3g}{ends}"
    return Cell(value, verdict=verdict_of(found, better), explanation=said)
