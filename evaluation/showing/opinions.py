"""What judges said, as the page tells it: a line an answer, beside its story; and how far judges agree, as rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from evaluation.judging.agreement import Agreement, AgreementReport
from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement
from evaluation.showing.numbers import words

_MAX_WHY = 1200
MAX_LISTED = 300
"""Answers that the page lists; the table beside it has them all."""


@dataclass(frozen=True)
class Opinion:
    """One answer, or why there is none."""

    story_id: str
    systems: str
    dimension: Dimension
    verdict: str
    """A score, whom it prefers, or a dash."""
    why: str
    judge: str


def opinions_of(judgements: Iterable[Judgement], label: Callable[[str], str]) -> list[Opinion]:
    """Tell what was said of told and true stories; tests of the judge are left out. `label` names a system."""
    return [_opinion(one, label) for one in judgements if one.purpose in {"score", "pair"}]


def by_story(opinions: Iterable[Opinion], story_ids: Sequence[str]) -> dict[str, list[Opinion]]:
    """Gather the opinions of some stories, by dimension, then by who told."""
    found: dict[str, list[Opinion]] = {story_id: [] for story_id in story_ids}
    for one in opinions:
        if one.story_id in found:
            found[one.story_id].append(one)
    return {story_id: sorted(own, key=_order) for story_id, own in found.items()}


def agreement_rows(report: AgreementReport) -> list[tuple[str, str, dict[Dimension, Agreement]]]:
    """Lay out who agrees on what; where nothing was rated twice in any dimension, the row is left out."""
    rows: list[tuple[str, str, dict[Dimension, Agreement]]] = [
        ("judges", "scores, as ranks", {one: levels["ordinal"] for one, levels in report.scores.items()}),
        ("judges", "outcomes of pairs", dict(report.pairs)),
    ]
    for judge, dimensions in report.repeats.items():
        rows.append((f"{judge} and itself", "repeats", {one: levels["ordinal"] for one, levels in dimensions.items()}))
    return [row for row in rows if any(one.units for one in row[2].values())]


def _opinion(one: Judgement, label: Callable[[str], str]) -> Opinion:
    names = [label(system) for system in one.systems]
    why = one.rationale or f"{words(one.status)}{f': {one.reason}' if one.reason else ''}"
    verdict = "–"  # noqa: RUF001 - a dash where there is no score
    if one.score is not None:
        verdict = f"{one.score:g}"
    elif one.choice is not None:
        verdict = "tie" if one.choice == "tie" else f"the {one.choice}"
    shortened = why if len(why) <= _MAX_WHY else f"{why[:_MAX_WHY]} …"
    return Opinion(one.story_id, ", then ".join(names), one.dimension, verdict, shortened, one.judge)


def _order(one: Opinion) -> tuple[int, bool, str, str]:
    return DIMENSIONS.index(one.dimension), ", then " in one.systems, one.systems, one.judge
