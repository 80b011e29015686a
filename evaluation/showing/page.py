"""The report: one HTML file that needs nothing beside it; shows what was told, how good it is, and where it is from."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from evaluation.judging.judge import DIMENSIONS
from evaluation.judging.judging import REFERENCE
from evaluation.learning import learning_table, stage_metrics
from evaluation.pictures import Telling
from evaluation.scores import Scores, Verdicts
from evaluation.showing.figures import as_svg
from evaluation.showing.strips import strips
from evaluation.statistics import Estimate
from evaluation.systems import CAPTIONS_ALONE, systems_of
from story_model.config import RunConfig
from story_model.manifest import MANIFEST, Manifest, read_manifest
from story_model.workspace import RunFolder

_TEMPLATE = "report.html"
_PACKAGES = ("torch", "transformers", "diffusers", "peft", "numpy", "scipy", "pillow", "pyarrow", "mlflow", "openai")
_CAPTION_NOTES = {
    "narrated": "the line spoken over the frame",
    "measured": "nothing was said over these frames and no model was asked; the text states what can be measured in "
    "the picture, such as light, colours and movement, not who or what it shows",
    "seen": "a model looked at the frame and said what it shows",
    "truncated": "a model's answer that was cut off at its longest length",
}


@dataclass(frozen=True)
class StepRow:
    """A finished step behind the report."""

    name: str
    digest: str
    seconds: float
    peak_memory_mb: float
    code_version: str


@dataclass(frozen=True)
class DatasetFacts:
    """How the dataset came about, in counts."""

    digest: str
    counts: dict[str, int]
    """From its manifest."""
    frames: dict[str, int]
    """Keyframe candidates by what became of them."""
    captions: dict[str, int]
    """Kept frames by how their caption was made."""
    caption_notes: dict[str, str]
    """What a way of captioning means, where the name does not say it."""
    errors: dict[str, int]
    """Files that could not be used, by reason."""


def render_page(
    run: RunFolder,
    config: RunConfig,
    systems: Mapping[str, Sequence[Telling]],
    verdicts: Mapping[str, Verdicts],
    scores: Scores,
    curves: Figure | None,
) -> str:
    """Write the page as HTML."""
    steps = _steps(run, config)
    policy = config.evaluate.headline_policy
    transform = config.model.detokenizer.transform
    shown = {name: own for name, own in systems.items() if own[0].policy in {policy, CAPTIONS_ALONE}}
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            run=run.name,
            preset=config.preset,
            policy=policy,
            baseline=CAPTIONS_ALONE if config.train.baseline else None,
            baseline_steps=config.train.baseline.steps if config.train.baseline else None,
            told_at=_told_at(run, config),
            scores=scores,
            headline=scores.systems[scores.headline] if scores.headline else None,
            learning=learning_table(stage_metrics(run), scores),
            strips=strips(shown, verdicts, stories=config.evaluate.report_stories, transform=transform),
            curves=Markup(as_svg(curves)) if curves is not None else None,  # our own drawing, no text from data
            modes=list(dict.fromkeys(system.mode for system in scores.systems.values())),
            dimensions=DIMENSIONS,
            judged_reference=REFERENCE,
            dataset=_dataset_facts(run),
            steps=[_step_row(name, manifest) for name, manifest in steps.items()],
            packages={name: found for name in _PACKAGES if (found := _installed(name))},
            config_yaml=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),
            seed=config.seed,
            cache=config.tell.cache,
        )
    )


def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=_number, percent=_percent, words=lambda name: name.replace("_", " "))
    return environment


def _number(value: Estimate | float | None, digits: int = 2) -> Markup:
    """Write a number, its interval small behind it; a dash where there is none."""
    if value is None:
        return Markup('<span class="none">&ndash;</span>')
    if not isinstance(value, Estimate):
        return Markup("{:,.{}f}").format(value, digits)
    if value.low is None or value.high is None:
        return Markup("{:,.{}f}").format(value.value, digits)
    interval = Markup('<span class="ci">{:,.{}f} &ndash; {:,.{}f}</span>').format(value.low, digits, value.high, digits)
    return Markup("{:,.{}f} {}").format(value.value, digits, interval)


def _percent(value: Estimate | float | None, digits: int = 0) -> Markup:
    """Write a share in percent, as `_number` does."""
    if value is None:
        return _number(None)
    if not isinstance(value, Estimate):
        return Markup("{:.{}f} %").format(100 * value, digits)
    text = Markup("{:.{}f} %").format(100 * value.value, digits)
    if value.low is None or value.high is None:
        return text
    low, high = 100 * value.low, 100 * value.high
    return text + Markup(' <span class="ci">{:.{}f} &ndash; {:.{}f}</span>').format(low, digits, high, digits)


def _steps(run: RunFolder, config: RunConfig) -> dict[str, Manifest]:
    folders = {"dataset": run.dataset_dir} | {
        path.name: path for path in sorted((run.root / "model").glob("*")) if path.is_dir()
    }
    folders |= {
        f"told: {mode.replace('_', ' ')}, {policy.replace('_', ' ')}": run.told_dir(mode, policy)
        for mode, policy in systems_of(config)
    }
    folders["probe"] = run.probe_dir
    found = {name: read_manifest(folder) for name, folder in folders.items()}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def _step_row(name: str, manifest: Manifest) -> StepRow:
    return StepRow(name, manifest.digest[:12], manifest.seconds, manifest.peak_memory_mb, manifest.code_version)


def _told_at(run: RunFolder, config: RunConfig) -> str:
    """Name the day and minute at which the last of the stories was finished (UTC)."""
    paths = [run.told_dir(mode, policy) / MANIFEST for mode, policy in systems_of(config)]
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(path.stat().st_mtime for path in paths)))


def _dataset_facts(run: RunFolder) -> DatasetFacts:
    manifest = read_manifest(run.dataset_dir)
    frames, captions = Counter[str](), Counter[str]()
    for path in sorted((run.dataset_dir / "frames").glob("*.parquet")):
        for row in pq.read_table(path, columns=["status", "caption_status"]).to_pylist():
            frames[row["status"].partition(":")[0]] += 1
            if row["status"] == "kept":
                captions[row["caption_status"] or "none"] += 1
    errors_path = run.dataset_dir / "meta" / "errors.parquet"
    reasons = (
        pq.read_table(errors_path, columns=["reason"]).column("reason").to_pylist() if errors_path.is_file() else []
    )
    return DatasetFacts(
        digest=manifest.digest if manifest else "",
        counts=manifest.counts if manifest else {},
        frames=dict(frames.most_common()),
        captions=dict(captions.most_common()),
        caption_notes={status: note for status, note in _CAPTION_NOTES.items() if status in captions},
        errors=dict(Counter(reasons).most_common()),
    )


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
