"""Where a report's numbers are from: the steps behind it, how the dataset came about, the packages in use."""

import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pyarrow.parquet as pq

from evaluation.systems import systems_of
from story_model.config import RunConfig
from story_model.manifest import MANIFEST, Manifest, read_manifest
from story_model.workspace import RunFolder

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


def step_rows(run: RunFolder, config: RunConfig) -> list[StepRow]:
    """List the finished steps that the report stands on."""
    folders = {"dataset": run.dataset_dir} | {
        path.name: path for path in sorted((run.root / "model").glob("*")) if path.is_dir()
    }
    folders |= {
        f"told: {mode.replace('_', ' ')}, {policy.replace('_', ' ')}": run.told_dir(mode, policy)
        for mode, policy in systems_of(config)
    }
    folders["probe"] = run.probe_dir
    found = {name: read_manifest(folder) for name, folder in folders.items()}
    return [_step_row(name, manifest) for name, manifest in found.items() if manifest is not None]


def told_at(run: RunFolder, config: RunConfig) -> str:
    """Name the day and minute at which the last of the stories was finished (UTC)."""
    paths = [run.told_dir(mode, policy) / MANIFEST for mode, policy in systems_of(config)]
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(path.stat().st_mtime for path in paths)))


def dataset_facts(run: RunFolder) -> DatasetFacts:
    """Count what the dataset was made of."""
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


def packages() -> dict[str, str]:
    """Name the versions of the packages that decide numbers."""
    return {name: found for name in _PACKAGES if (found := _installed(name))}


def _step_row(name: str, manifest: Manifest) -> StepRow:
    return StepRow(name, manifest.digest[:12], manifest.seconds, manifest.peak_memory_mb, manifest.code_version)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
