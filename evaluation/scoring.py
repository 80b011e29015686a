"""The work of the evaluation step: read what was told, measure it, write the tables and the page, log to MLflow."""

import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mlflow.entities import Dataset, DatasetInput, InputTag
from PIL import Image
from pydantic import TypeAdapter
from tqdm import tqdm

from evaluation.distances.random_features import EXTRACTOR, RandomFeatures, fingerprint
from evaluation.judging.judge import open_judge
from evaluation.judging.judging import JudgeReport, judge_systems
from evaluation.learning import learning_table, stage_metrics
from evaluation.measures.cartoon_world import Sight, Verdict, verdicts_of
from evaluation.measures.probe import Probe, ProbeConfig, load_probe, train_probe
from evaluation.pictures import Pair, Telling, read_tellings, sample_keyframes, stack
from evaluation.scores import Ruler, Scores, Verdicts, compare, flatten, score_reference, score_system
from evaluation.showing.figures import accuracy_curves, as_png, contact_sheet
from evaluation.showing.page import render_page
from evaluation.systems import systems_of
from story_model.config import RunConfig, Settings
from story_model.dataset import read_stories
from story_model.manifest import StepResult, digest_of, write_atomically
from story_model.pixels import detokenizer_square
from story_model.schema import LearningRow, TrueWorld, read_truth
from story_model.tracking import Tracker, child_run
from story_model.workspace import RunFolder

log = logging.getLogger(__name__)

HEADLINE_MODE = "captions_given"
ITEMS = pa.schema(
    [
        ("story_id", pa.string()),
        ("mode", pa.string()),
        ("policy", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("reference_text", pa.string()),
        ("has_picture", pa.bool_()),
        ("named_characters", pa.list_(pa.string())),
        ("seen_character", pa.string()),
        ("character_confidence", pa.float32()),
        ("character_agrees", pa.bool_()),
        ("named_places", pa.list_(pa.string())),
        ("seen_place", pa.string()),
        ("place_confidence", pa.float32()),
        ("place_agrees", pa.bool_()),
    ]
)
"""One row a told segment; what the probe saw is empty without a picture, and on videos that were not drawn."""

Systems = Mapping[str, Sequence[Telling]]
"""Tellings of each system, by its name."""


def score_run(run: RunFolder, config: RunConfig, settings: Settings, out_dir: Path) -> StepResult:
    """Measure a run and write its scores, the learning table, a row for every segment, the figures and the page."""
    torch.set_num_threads(config.train.threads)
    with child_run(run, "evaluate", settings=settings, out_dir=out_dir) as tracker:
        systems = _read_systems(run, config)
        scores, verdicts = _score(run, config, settings, systems)
        write_atomically(out_dir / "scores.json", scores.model_dump_json(indent=1).encode())
        learning = learning_table(stage_metrics(run), scores)
        write_atomically(out_dir / "learning.json", TypeAdapter(list[LearningRow]).dump_json(learning, indent=1))
        rows = [row for name, tellings in systems.items() for row in _rows(tellings, verdicts.get(name))]
        pq.write_table(pa.Table.from_pylist(rows, schema=ITEMS), out_dir / "items.parquet")
        shown = systems.get(scores.headline or "") or next(iter(systems.values()))
        sheet = contact_sheet(
            shown, stories=config.evaluate.report_stories, transform=config.model.detokenizer.transform
        )
        _save_png(sheet, out_dir / "contact_sheet.png")
        curves = accuracy_curves(scores, config.evaluate.headline_policy)
        if curves is not None:
            write_atomically(out_dir / "curves.png", as_png(curves))
        page = render_page(run, config, systems, verdicts, scores, curves)
        write_atomically(out_dir / "report.html", page.encode())
        metrics = flatten(scores)
        _track(tracker, run, config, metrics, rows, out_dir)
        counts = {
            "systems": len(systems),
            "segments": len(rows),
            "pictures": sum(bool(row["has_picture"]) for row in rows),
            "judge_answers": sum(answer.status == "ok" for answer in scores.judge.answers),
            "judge_failures": sum(answer.status != "ok" for answer in scores.judge.answers),
        }
        return StepResult(counts=counts, metrics=metrics, tracking_run_id=tracker.run_id)


def _read_systems(run: RunFolder, config: RunConfig) -> dict[str, list[Telling]]:
    validation = read_stories(run.dataset_dir, "validation")
    square = detokenizer_square(config.model.detokenizer)
    return {
        f"{mode}-{policy}": read_tellings(run.told_dir(mode, policy), validation, square)
        for mode, policy in systems_of(config)
    }


def _score(
    run: RunFolder, config: RunConfig, settings: Settings, systems: Systems
) -> tuple[Scores, dict[str, dict[str, list[Verdict]]]]:
    truth = read_truth(run.videos_dir)
    square = detokenizer_square(config.model.detokenizer)
    probe_metrics, probe, world = None, None, None
    if truth is not None:
        world = truth[0]
        probe_config = ProbeConfig(steps=config.evaluate.probe_steps, seed=config.seed, square=square)
        probe_metrics = train_probe(run, probe_config).metrics
        probe = load_probe(run.probe_dir, world)
    ruler = Ruler(RandomFeatures(), world, resamples=config.evaluate.bootstrap, seed=config.seed)
    verdicts = (
        {name: _verdicts(tellings, probe, world) for name, tellings in systems.items()} if probe and world else {}
    )
    any_system = next(iter(systems.values()))
    bar = tqdm(systems.items(), desc="systems", unit="system", mininterval=2)
    measured = {name: score_system(tellings, verdicts.get(name), ruler) for name, tellings in bar}
    keyframes = sample_keyframes(
        run.dataset_dir,
        sum(len(telling.reference) for telling in any_system),
        square=square,
        seed=config.seed,
    )
    true_pairs = [_as_told(telling) for telling in any_system]
    true_verdicts = _verdicts(true_pairs, probe, world) if probe and world else None
    headline = f"{HEADLINE_MODE}-{config.evaluate.headline_policy}"
    scores = Scores(
        headline=headline if headline in measured else None,
        extractor=EXTRACTOR,
        extractor_fingerprint=fingerprint(ruler.network),
        systems=measured,
        reference=score_reference(any_system, true_verdicts, keyframes, ruler),
        comparisons=compare(measured, config.evaluate.headline_policy),
        probe=probe_metrics,
        judge=_judge(run, config, settings, systems),
    )
    return scores, verdicts


def _verdicts(tellings: Iterable[Telling], probe: Probe, world: TrueWorld) -> dict[str, list[Verdict]]:
    return {
        telling.story_id: verdicts_of(
            telling, world, *(part.tolist() for part in probe.probabilities(stack(telling.told)))
        )
        for telling in tellings
    }


def _as_told(telling: Telling) -> Telling:
    """Put the dataset's own pairs in the place of the told ones."""
    return Telling(telling.story_id, "dataset", "dataset", telling.opening, telling.reference, telling.reference)


def _judge(run: RunFolder, config: RunConfig, settings: Settings, systems: Systems) -> JudgeReport:
    judge = open_judge(config.evaluate.judge, settings, run.judge_dir)
    if isinstance(judge, str):
        log.info("the judge is skipped: %s", judge)
        return JudgeReport(skipped=judge)
    asked = {name: one for name, one in systems.items() if one[0].policy == config.evaluate.headline_policy}
    return judge_systems(
        asked,
        judge,
        model=config.evaluate.judge.model or "",
        stories=config.evaluate.judge.stories,
        segments=config.evaluate.judge.segments,
        resamples=config.evaluate.bootstrap,
        seed=config.seed,
    )


def _rows(tellings: Sequence[Telling], verdicts: Verdicts | None) -> Iterable[dict[str, object]]:
    for telling in tellings:
        known = {pair.index: pair.text for pair in telling.reference}
        seen = {verdict.index: verdict for verdict in (verdicts or {}).get(telling.story_id, ())}
        for pair in telling.told:
            yield {
                "story_id": telling.story_id,
                "mode": telling.mode,
                "policy": telling.policy,
                "reference_text": known.get(pair.index),
                **_row(pair),
                **_sights(seen.get(pair.index)),
            }


def _row(pair: Pair) -> dict[str, object]:
    return {"index": pair.index, "text": pair.text, "has_picture": pair.pixels is not None}


def _sights(verdict: Verdict | None) -> dict[str, object]:
    if verdict is None:
        return {}
    return _sight("character", verdict.character) | _sight("place", verdict.place)


def _sight(aspect: str, sight: Sight) -> dict[str, object]:
    return {
        f"named_{aspect}s": list(sight.named),
        f"seen_{aspect}": sight.seen,
        f"{aspect}_confidence": sight.confidence,
        f"{aspect}_agrees": sight.agrees,
    }


def _track(
    tracker: Tracker,
    run: RunFolder,
    config: RunConfig,
    metrics: Mapping[str, float],
    rows: Sequence[Mapping[str, object]],
    out_dir: Path,
) -> None:
    digest = digest_of(run.dataset_dir)
    tracker.params({"evaluate": config.evaluate.model_dump(mode="json"), "seed": config.seed})
    tracker.tags({"storystream.dataset_digest": digest, "storystream.extractor": EXTRACTOR})
    source = json.dumps({"uri": run.dataset_dir.as_uri()})
    dataset = Dataset(name=config.build.subset, digest=digest[:16], source_type="local", source=source)
    context = [InputTag("mlflow.data.context", "eval")]
    tracker.client.log_inputs(tracker.run_id, [DatasetInput(dataset, context)])
    tracker.metrics(metrics)
    table = {name: [row.get(name) for row in rows] for name in ITEMS.names}
    tracker.client.log_table(tracker.run_id, table, "items.json")
    for name in ("report.html", "scores.json", "items.parquet", "contact_sheet.png", "curves.png"):
        if (out_dir / name).is_file():
            tracker.artifact(out_dir / name)


def _save_png(image: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
