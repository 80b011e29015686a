"""The work of the evaluation step: read what was told, have it measured and judged, write tables and page, log it."""

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from pydantic import TypeAdapter

from evaluation.judged import call_judges, judge
from evaluation.judging.again import ERRORS
from evaluation.learning import learning_table, stage_metrics
from evaluation.material import read_systems
from evaluation.measured_run import Evaluated, measure_run
from evaluation.people.preferences import read_human
from evaluation.scores import Scores, flatten
from evaluation.showing.curves import curves_figure
from evaluation.showing.figures import as_png, contact_sheet
from evaluation.showing.page import render_page
from evaluation.showing.system_tables import panels_of
from evaluation.tables import write_items, write_judgements, write_values
from evaluation.tracked import rows_of, track_dataset, track_files, track_judge, track_tables
from story_model.config import RunConfig, Settings
from story_model.manifest import StepResult, write_atomically
from story_model.schema import LearningRow
from story_model.tracking import Tracker, child_run
from story_model.workspace import RunFolder


def score_run(run: RunFolder, config: RunConfig, settings: Settings, out_dir: Path) -> StepResult:
    """Measure a run, have it judged where a judge is configured, and write all that came of it.

    Raises:
        ValueError: there is nothing to measure, a network's file is not what it should be, or a judge is not there;
            said before anything is measured or paid.
    """
    torch.set_num_threads(config.train.threads)
    systems = read_systems(run, config)
    read_human(run)  # what the page will show is seen to be whole before anything is measured or paid
    panel, hearing = call_judges(run, config, settings, systems)
    with child_run(run, "evaluate", settings=settings, out_dir=out_dir) as tracker:
        found = measure_run(run, config, systems)
        found = found.with_judge(judge(panel, hearing, config, systems))
        items = _write(run, config, found, out_dir)
        metrics = flatten(found.scores)
        _track(tracker, run, config, found, metrics, items, out_dir)
        return StepResult(counts=_counts(found.scores, len(items)), metrics=metrics, tracking_run_id=tracker.run_id)


def _write(run: RunFolder, config: RunConfig, found: Evaluated, out_dir: Path) -> list[dict[str, object]]:
    scores, systems = found.scores, found.systems
    write_atomically(out_dir / "scores.json", scores.model_dump_json(indent=1).encode())
    learning = learning_table(stage_metrics(run), scores)
    write_atomically(out_dir / "learning.json", TypeAdapter(list[LearningRow]).dump_json(learning, indent=1))
    items = write_items(out_dir / "items.parquet", systems, found.verdicts)
    write_values(out_dir / "values.parquet", found.values)
    write_judgements(out_dir / "judgements.parquet", scores.judge.judgements)
    shown = systems.get(scores.headline or "") or next(iter(systems.values()))
    transform, stories = config.model.detokenizer.transform, config.evaluate.report_stories
    _save_png(contact_sheet(shown.tellings, stories=stories, transform=transform), out_dir / "contact_sheet.png")
    panels = panels_of(scores, config.evaluate.headline_policy)
    curves = curves_figure([panel for drawn in panels.values() for panel in drawn[:6]])
    if curves is not None:
        write_atomically(out_dir / "curves.png", as_png(curves))
    page = render_page(run, config, systems, found.verdicts, scores)
    write_atomically(out_dir / "report.html", page.encode())
    return items


def _track(
    tracker: Tracker,
    run: RunFolder,
    config: RunConfig,
    found: Evaluated,
    metrics: Mapping[str, float],
    items: list[dict[str, object]],
    out_dir: Path,
) -> None:
    scores = found.scores
    track_dataset(tracker, run, config)
    tracker.metrics(metrics)
    answers = scores.judge.judgements
    tables = {"items": items, "comparisons": rows_of(scores.comparisons), "judgements": rows_of(answers)}
    track_tables(tracker, tables)
    told = ((name, telling) for name, system in found.systems.items() for telling in system.tellings)
    texts = {(name, telling.story_id): [pair.text for pair in telling.told] for name, telling in told}
    track_judge(tracker, answers, networks=scores.networks, texts=texts)
    track_files(tracker, out_dir)


def _counts(scores: Scores, segments: int) -> dict[str, int]:
    answers = scores.judge.judgements
    return {
        "systems": len(scores.systems),
        "segments": segments,
        "pictures": sum(system.pictures for system in scores.systems.values()),
        "judge_answers": sum(answer.status == "ok" for answer in answers),
        "judge_failures": sum(answer.status != "ok" for answer in answers),
        ERRORS: sum(answer.status == "error" for answer in answers),
    }


def _save_png(image: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
