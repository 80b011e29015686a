"""The numbers of a whole run: what it cost, what it reused, what it made and how well (`summary.json`)."""

import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from story_model.config import Settings
from story_model.manifest import MANIFEST, read_manifest, write_atomically
from story_model.tracking import parent_run
from story_model.workspace import RunFolder
from tasks.measure import Measurement

log = logging.getLogger(__name__)


_COUNTS = {"episodes": "episodes", "frames": "pairs", "stories": "stories", "errors": "problems"}
"""Names in the summary and in the dataset's manifest."""


class Summary(BaseModel):
    """`summary.json`; a number is none where its step did not measure it."""

    model_config = ConfigDict(extra="forbid")

    run: str
    wall_s: float
    """From the start of the orchestrating process."""
    steps: dict[str, float]
    """Wall seconds of each step."""
    peak_memory_mb: float
    """Largest sum over the orchestrating process and its descendants."""
    orchestration_share: float
    """Share of the wall time in which no step was at work."""
    reused_steps: list[str]
    """Folders whose finished result was found and not computed again."""
    counts: dict[str, int]
    """Of the dataset: episodes, frames in stories, stories, errors (what could not be used)."""
    stage1_psnr_gain_db: float | None = None
    stage2_word_loss_ratio: float | None = None
    stage2_feature_error_ratio: float | None = None
    stage3_noise_loss_before: float | None = None
    stage3_noise_loss_after: float | None = None
    character_accuracy: float | None = None
    character_chance: float | None = None
    place_accuracy: float | None = None
    place_chance: float | None = None
    segments_told: float | None = None
    report: str


def finished_steps(folder: RunFolder) -> dict[str, int]:
    """List the folders with a manifest and when each was written (ns)."""
    manifests = sorted(folder.root.rglob(MANIFEST))
    return {path.parent.relative_to(folder.root).as_posix(): path.stat().st_mtime_ns for path in manifests}


def summarise(folder: RunFolder, measurement: Measurement, finished_before: Mapping[str, int]) -> Summary:
    """Join what was measured with what the steps' manifests say, and write it to the run's folder."""
    parts = [folder.part_dir("stage1"), folder.part_dir("stage2"), folder.part_dir("stage3"), folder.evaluation_dir]
    manifests = [manifest for manifest in map(read_manifest, parts) if manifest is not None]
    metrics = {name: value for manifest in manifests for name, value in manifest.metrics.items()}
    dataset = read_manifest(folder.dataset_dir)
    now = finished_steps(folder)
    summary = Summary(
        run=folder.name,
        wall_s=round(measurement.wall_s, 2),
        steps={name: round(seconds, 2) for name, seconds in measurement.steps.items()},
        peak_memory_mb=round(measurement.peak_memory_mb, 1),
        orchestration_share=round(measurement.orchestration_share, 4),
        reused_steps=[name for name, written in now.items() if finished_before.get(name) == written],
        counts={name: dataset.counts[own] for name, own in _COUNTS.items()} if dataset else {},
        report=str(folder.report_path),
        **{name: value for name, value in metrics.items() if name in Summary.model_fields},
    )
    write_atomically(folder.summary_path, summary.model_dump_json(indent=1).encode())
    _track(folder, summary)
    return summary


def read_summary(path: Path) -> Summary:
    """Read a run's `summary.json`."""
    return Summary.model_validate_json(path.read_bytes())


def _track(folder: RunFolder, summary: Summary) -> None:
    numbers = {name: value for name, value in summary.model_dump().items() if isinstance(value, int | float)}
    with parent_run(folder, settings=Settings()) as tracker:
        tracker.metrics(numbers | {f"seconds/{name}": seconds for name, seconds in summary.steps.items()})
