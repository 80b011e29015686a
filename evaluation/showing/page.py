"""The report: one HTML file that needs nothing beside it; shows what was told, how good it is, and where it is from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import yaml
from markupsafe import Markup

from evaluation.judging.questions import DIMENSIONS, REFERENCE
from evaluation.learning import learning_table, stage_metrics
from evaluation.material import Systems
from evaluation.measures.catalog import in_reading_order
from evaluation.people.preferences import read_human
from evaluation.scores import Scores, SystemScores
from evaluation.showing.curves import Line, Panel, css_dash, panel_svg
from evaluation.showing.distance_tables import distance_tables
from evaluation.showing.numbers import environment
from evaluation.showing.opinions import MAX_LISTED, agreement_rows, by_story, opinions_of
from evaluation.showing.provenance import dataset_facts, packages, step_rows, told_at
from evaluation.showing.slope_tables import length_tables
from evaluation.showing.strips import Strip, strips
from evaluation.showing.system_tables import full_label, hard_to_show, mode_tables, panels_of
from evaluation.showing.tiles import tiles_of, warnings_of
from evaluation.systems import CAPTIONS_ALONE, RECONSTRUCTION
from evaluation.tables import Verdicts
from story_model.config import RunConfig
from story_model.workspace import RunFolder

_TEMPLATE = "report.html"


@dataclass(frozen=True)
class DrawnPanel:
    """A panel with its drawing."""

    title: str
    meaning: str
    levels: tuple[tuple[str, float], ...]
    svg: Markup


@dataclass(frozen=True)
class LegendLine:
    """A system in the legend of a mode's drawings."""

    label: str
    colour: str
    dash: str
    is_headline: bool


@dataclass(frozen=True)
class Drawn:
    """A mode's drawings."""

    legend: tuple[LegendLine, ...]
    panels: tuple[DrawnPanel, ...]


def render_page(
    run: RunFolder, config: RunConfig, systems: Systems, verdicts: Mapping[str, Verdicts], scores: Scores
) -> str:
    """Write the page as HTML; what people answered on ballots is read from the run's folder.

    Raises:
        ValueError: the file of people's answers is damaged.
    """
    policy = config.evaluate.headline_policy
    shown = _strips(config, systems, verdicts)
    headline = scores.systems[scores.headline] if scores.headline else None
    panels = panels_of(scores, policy)
    page = environment()
    page.filters.update(untrusted=_untrusted, system=partial(full_label, scores))
    return page.get_template(_TEMPLATE).render(
        run=run.name,
        preset=config.preset,
        policy=policy,
        baseline=CAPTIONS_ALONE if config.train.baseline else None,
        baseline_steps=config.train.baseline.steps if config.train.baseline else None,
        repainted=any(own.kind == "reconstruction" for own in scores.systems.values()),
        told_at=told_at(run, config),
        scores=scores,
        headline=headline,
        tiles=tiles_of(scores),
        warnings=warnings_of(scores),
        learning=learning_table(stage_metrics(run), scores),
        strips=shown,
        mode_tables=mode_tables(scores, policy),
        hard_to_show=hard_to_show(scores),
        panels={mode: _drawn(drawn) for mode, drawn in panels.items()},
        lengths={mode: length_tables(scores, mode, policy) for mode in panels},
        distances=distance_tables(scores),
        **_judged(scores, shown),
        human=read_human(run),
        dataset=dataset_facts(run),
        measures=_measures([*scores.systems.values(), scores.reference]),
        steps=step_rows(run, config),
        packages=packages(),
        config_yaml=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
        seed=config.seed,
        cache=config.tell.cache,
    )


def _strips(config: RunConfig, systems: Systems, verdicts: Mapping[str, Verdicts]) -> list[Strip]:
    kept = {config.evaluate.headline_policy, CAPTIONS_ALONE, RECONSTRUCTION}
    shown = {name: own.tellings for name, own in systems.items() if own.policy in kept}
    return strips(
        shown or {name: own.tellings for name, own in systems.items()},
        verdicts,
        stories=config.evaluate.report_stories,
        transform=config.model.detokenizer.transform,
    )


def _judged(scores: Scores, shown: Sequence[Strip]) -> dict[str, object]:
    """Give what the judge's part of the page is made of."""
    judge = scores.judge
    opinions = opinions_of(judge.judgements, partial(full_label, scores))
    return {
        "dimensions": DIMENSIONS,
        "judged_reference": REFERENCE,
        "opinions": by_story(opinions, [strip.story_id for strip in shown]),
        "all_opinions": opinions[:MAX_LISTED],
        "num_opinions": len(opinions),
        "several_judges": len({one.judge for one in opinions}) > 1,
        "agreements": agreement_rows(judge.agreement) if judge.agreement else [],
        "total_usd": sum(row.usd for row in judge.bill),
        "total_before": sum(row.usd_before for row in judge.bill),
    }


def _measures(systems: Iterable[SystemScores]) -> list[object]:
    return list(in_reading_order({name for one in systems for name in one.measures}))


def _drawn(panels: Sequence[Panel]) -> Drawn:
    lines: dict[str, Line] = {}
    for panel in panels:
        lines |= {line.label: line for line in panel.lines}
    legend = (LegendLine(one.label, _css(one), css_dash(one), one.is_headline) for one in lines.values())
    # the drawing is ours, its letters are numbers and our own words
    drawn = (DrawnPanel(one.title, one.meaning, one.levels, Markup(panel_svg(one))) for one in panels)
    return Drawn(tuple(legend), tuple(drawn))


def _css(line: Line) -> str:
    return "currentColor" if line.is_reference else line.colour


def _untrusted(dimensions: Mapping[str, bool]) -> str:
    """Name the dimensions whose checks are not all passed."""
    return ", ".join(name for name, is_trusted in dimensions.items() if not is_trusted)
