"""All systems of a mode beside one another: the few numbers that matter first, then every measure by what it is of."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.judging.questions import DIMENSIONS, REFERENCE, Dimension
from evaluation.measures.catalog import OF_TEXTS, in_reading_order
from evaluation.measures.measure import Measure
from evaluation.measures.summary import MeasureSummary
from evaluation.scores import Scores, SystemScores
from evaluation.showing.curves import Line, Panel, has_course, line_of
from evaluation.showing.measure_tables import LEVEL, Row, Table, Tested, row_of, tested_against
from evaluation.statistics import Estimate
from evaluation.systems import RECONSTRUCTION

DATASET = "the dataset itself"
_FIRST = (
    "character_agrees",
    "place_agrees",
    "clip_t",
    "similarity_reference",
    "dino_i_reference",
    "similarity_variety_ratio",
    "copies_of_any_earlier",
)
_FIRST_FREE = ("text_repeated", "text_overlap", "entities_kept")
"""Of texts that the system wrote itself."""
_GROUPS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("Picture and text", lambda name: name.endswith("_agrees") or name.startswith(("clip_t", "clip_score"))),
    ("Copies and training", lambda name: name.startswith("copies_") or "training" in name),
    ("Likeness and variety of pictures", lambda name: name.startswith(("similarity_", "clip_i_", "dino_i_"))),
    ("Style and characters", lambda name: name.startswith(("style_", "colours_")) or "character_" in name),
    ("Texts", lambda name: name.startswith(OF_TEXTS)),
)
_REST = "Other measures"
MAX_PANELS = 18
"""Drawings of a mode; what has a better end comes first, and all values are in `values.parquet`."""


@dataclass(frozen=True)
class Column:
    """A system as tables head it."""

    name: str
    label: str
    note: str
    is_headline: bool
    is_beside: bool
    """The ceiling and the dataset: what told stories are read against."""


@dataclass(frozen=True)
class HardToShow:
    """Too few stories for so many measures."""

    stories: int
    least_p: float
    """Of an exact test over so many stories."""
    measures: int


@dataclass(frozen=True)
class ModeTables:
    """All systems of one mode."""

    mode: str
    columns: tuple[Column, ...]
    first: Table
    more: tuple[Table, ...]


def mode_tables(scores: Scores, headline_policy: str) -> list[ModeTables]:
    """Lay out every mode in which stories were told."""
    return [_mode_tables(scores, mode, headline_policy) for mode in _modes(scores)]


def panels_of(scores: Scores, headline_policy: str) -> dict[str, list[Panel]]:
    """Set up drawings of what changes along the story, by mode: what agrees with truth first, then other measures."""
    return {mode: _panels(scores, mode, headline_policy) for mode in _modes(scores)}


def hard_to_show(scores: Scores) -> HardToShow | None:
    """Tell whether so few stories can show anything among the measures that were not named beforehand."""
    others = [one for one in scores.comparisons if not one.is_primary]
    if not others:
        return None
    stories = max(one.paired.n for one in others)
    least_p = min(1.0, 2.0 ** (1 - stories))
    pairs = Counter((one.system, one.against) for one in others)
    found = HardToShow(stories, least_p, max(pairs.values()))
    return found if found.least_p * found.measures >= LEVEL else None


def weak_judges(scores: Scores, dimension: Dimension) -> list[str]:
    """Name the judges who did not see all damage of a dimension in spoiled stories."""
    return [judge for judge, test in scores.judge.self_tests.items() if not test.dimensions.get(dimension, True)]


def label_of(system: SystemScores) -> str:
    """Name a system for readers of one mode's table."""
    if system.kind == "dataset":
        return DATASET
    if system.kind == "reconstruction":
        return "the dataset repainted"
    return system.name if system.kind == "external" else system.policy.replace("_", " ")


def full_label(scores: Scores, name: str) -> str:
    """Name a system by its name, for readers of tables of several modes."""
    system = scores.reference if name == scores.reference.name else scores.systems.get(name)
    if system is None:
        return name
    told_by = label_of(system)
    return f"{system.mode.replace('_', ' ')}, {told_by}" if system.kind in {"policy", "baseline"} else told_by


def _modes(scores: Scores) -> list[str]:
    """List the modes in which we told stories; where we told none, those of other people's systems."""
    kinds = [[one.mode for one in scores.systems.values() if one.kind == kind] for kind in ("policy", "external")]
    return list(dict.fromkeys(kinds[0] or kinds[1]))


def _mode_tables(scores: Scores, mode: str, headline_policy: str) -> ModeTables:
    systems = systems_of_mode(scores, mode)
    headline = f"{mode}-{headline_policy}"
    tested = tested_against(headline, scores.comparisons)
    rivals = [one.name for one in systems if one.kind not in {"reconstruction", "dataset"}]
    shown = in_reading_order({name for one in systems for name in one.measures})
    shown = [one for one in shown if mode == "free" or not one.name.startswith(OF_TEXTS)]
    own = [row for measure in shown if (row := _measure_row(measure, systems, tested, rivals))]
    named = {measure.name: row for measure, row in zip(_kept(shown, systems), own, strict=True)}
    first = [*_judge_rows(scores, systems, rivals), *_distance_rows(systems, rivals)]
    first += [named[name] for name in (*_FIRST, *(_FIRST_FREE if mode == "free" else ())) if name in named]
    return ModeTables(
        mode,
        tuple(columns_of(systems, headline)),
        Table("At a glance", tuple(first)),
        tuple(_grouped(named)),
    )


def systems_of_mode(scores: Scores, mode: str) -> list[SystemScores]:
    """List a mode's systems, then the ceiling and the dataset's own stories.

    Other people's systems tell from the opening alone, so they stand beside ours that told freely; where none did,
    beside the last mode's.
    """
    modes = _modes(scores)
    home = "free" if "free" in modes else modes[-1]
    place = {one.name: home if one.kind == "external" else one.mode for one in scores.systems.values()}
    told = [one for one in scores.systems.values() if place[one.name] == mode and one.policy != RECONSTRUCTION]
    ceiling = [one for one in scores.systems.values() if one.kind == "reconstruction"]
    return [*told, *ceiling, scores.reference]


def columns_of(systems: Sequence[SystemScores], headline: str) -> list[Column]:
    """Head the columns of a mode's tables."""
    return [_column(one, headline) for one in systems]


def has_measure(system: SystemScores, measure: Measure) -> bool:
    """Tell whether a measure is the system's: the texts that the baseline and the ceiling show are not theirs."""
    return system.kind not in {"baseline", "reconstruction"} or not measure.name.startswith(OF_TEXTS)


def _column(system: SystemScores, headline: str) -> Column:
    return Column(
        system.name,
        label_of(system),
        "; ".join([f"{system.stories} stories, {system.pictures} pictures", *system.notes]),
        system.name == headline,
        system.kind in {"reconstruction", "dataset"},
    )


def _kept(measures: Sequence[Measure], systems: Sequence[SystemScores]) -> list[Measure]:
    return [one for one in measures if any(value is not None for value in _values(one, systems).values())]


def _values(measure: Measure, systems: Sequence[SystemScores]) -> dict[str, Estimate | None]:
    return {one.name: found.value if (found := _own(one, measure)) else None for one in systems}


def _own(system: SystemScores, measure: Measure) -> MeasureSummary | None:
    return system.measures.get(measure.name) if has_measure(system, measure) else None


def _measure_row(
    measure: Measure, systems: Sequence[SystemScores], tested: Tested, rivals: Sequence[str]
) -> Row | None:
    return row_of(measure, _values(measure, systems), tested, rivals)


def _distance_rows(systems: Sequence[SystemScores], rivals: Sequence[str]) -> list[Row]:
    rows = []
    for key in dict.fromkeys(key for one in systems for key in one.distances):
        found = [one.distances.get(key) for one in systems]
        values = {one.name: None if own is None else own.frechet for one, own in zip(systems, found, strict=True)}
        label = next(own.label for own in found if own is not None)
        told = {one.name: own.told for one, own in zip(systems, found, strict=True) if own and one.name in rivals}
        most = max(told.values(), default=0)
        fewer = min(told.values(), default=0) < most
        caution = " Of fewer pictures it comes out larger: only equal numbers may be compared." if fewer else ""
        measure = Measure(key, "lower", f"From the dataset's pictures, in the features of one network.{caution}")
        among = [name for name, pictures in told.items() if pictures == most]
        row = row_of(measure, values, {}, among, title=f"Fréchet distance, {label}")
        rows += [row] if row else []
    return rows


def _judge_rows(scores: Scores, systems: Sequence[SystemScores], rivals: Sequence[str]) -> list[Row]:
    judged = scores.judge.scores
    rows = []
    for dimension in DIMENSIONS if judged else ():
        names = {one.name: REFERENCE if one.kind == "dataset" else one.name for one in systems}
        values = {name: judged.pooled.get(key, {}).get(dimension) for name, key in names.items()} if judged else {}
        weak = weak_judges(scores, dimension)
        caution = f" {', '.join(weak)} missed damage in the self-test." if weak else ""
        measure = Measure(dimension, "higher", f"The judge's score, 1 to 10.{caution}")
        row = row_of(measure, values, {}, rivals, title=f"Judge: {dimension}")
        rows += [row] if row else []
    return rows


def _grouped(named: Mapping[str, Row]) -> list[Table]:
    groups: dict[str, list[Row]] = {title: [] for title in (*(title for title, _ in _GROUPS), _REST)}
    for name, row in named.items():
        groups[next((title for title, fits in _GROUPS if fits(name)), _REST)].append(row)
    return [Table(title, tuple(rows)) for title, rows in groups.items() if rows]


def _panels(scores: Scores, mode: str, headline_policy: str) -> list[Panel]:
    systems = systems_of_mode(scores, mode)
    found = []
    shown = in_reading_order({name for one in systems for name in one.measures})
    for measure in sorted(shown, key=lambda one: one.better is None):
        if mode != "free" and measure.name.startswith(OF_TEXTS):
            continue
        curves = [(one, own.curve) for one in systems if (own := _own(one, measure))]
        lines = [_line(one, curve, number, headline_policy) for number, (one, curve) in enumerate(curves) if any(curve)]
        if has_course([line for line in lines if not line.is_reference]):
            levels = _levels(scores, systems, measure.name)
            found.append(Panel(measure.name.replace("_", " "), mode, measure.meaning, tuple(lines), levels))
    return found[:MAX_PANELS]


def _line(system: SystemScores, curve: Sequence[Estimate | None], number: int, headline_policy: str) -> Line:
    return line_of(
        label_of(system),
        curve,
        number,
        is_headline=system.kind == "policy" and system.policy == headline_policy,
        is_reference=system.kind == "dataset",
    )


def _levels(scores: Scores, systems: Sequence[SystemScores], name: str) -> tuple[tuple[str, float], ...]:
    """Give the chance and the ceiling that agreement with truth is read against."""
    levels = []
    for aspect in ("character", "place"):
        if name != f"{aspect}_agrees":
            continue
        chances = [own.chance_majority for one in systems for key, own in one.accuracy.items() if key == aspect]
        known = [chance for chance in chances if chance is not None]
        levels += [("chance", max(known))] if known else []
        ceiling = (scores.probe or {}).get(f"probe_{aspect}_accuracy")
        levels += [("the classifier's own accuracy", ceiling)] if ceiling is not None else []
    return tuple(levels)
