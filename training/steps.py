"""What each trained part is made from: its inputs, its settings and the module that makes it. No torch here.

A step whose finished result is there returns before any heavy library is imported, so that a run that has nothing to
compute ends in seconds.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SerializeAsAny

from story_model.config import ModelConfig, RunConfig, Settings
from story_model.manifest import Manifest, StepResult, run_step
from story_model.section import Section
from story_model.train_config import LaunchConfig, StageConfig
from story_model.workspace import Part, RunFolder
from training.picture_sources import source_inputs
from training.pretrained import start_inputs, take_over

if TYPE_CHECKING:
    from training.processes import Processes


CHECKPOINTS = ".checkpoints"
"""Folder of a part in training, within the part's own; gone once the part is trained."""


class Interrupted(BaseException):
    """SIGTERM came; a checkpoint is written, the same command goes on from it."""


class PartConfig(Section):
    """All that decides the weights of one part."""

    seed: int
    chunk_length: int
    model: ModelConfig
    stage: SerializeAsAny[StageConfig] | None = None
    reconstruction_steps: int | None = None
    validation_samples: int
    features: str | None = None
    """How features are stored; none: they are not."""
    bad_records: str
    subset_weights: dict[str, float]


@dataclass(frozen=True)
class Job:
    """One part to be trained: what the module of the part is handed."""

    folder: RunFolder
    config: RunConfig
    settings: Settings
    out_dir: Path
    launch: LaunchConfig
    processes: "Processes"
    counts: dict[str, int] = field(default_factory=dict)
    """What was done on the way; goes into the manifest beside what the part counts itself."""

    def count(self, **done: int) -> None:
        """Add to the counts."""
        for name, number in done.items():
            self.counts[name] = self.counts.get(name, 0) + number


@dataclass(frozen=True)
class _Recipe:
    module: str
    version: int
    needs: tuple[Part, ...]
    stage: Callable[[RunConfig], StageConfig | None] = lambda _: None


RECIPES: dict[Part, _Recipe] = {
    "tokenizer": _Recipe("training.tokenizer", 1, ()),
    "image_encoder": _Recipe("training.image_encoder", 3, (), lambda config: config.train.image_encoder),
    "autoencoder": _Recipe("training.autoencoder", 1, ()),
    "language_model": _Recipe(
        "training.language_model",
        2,
        ("tokenizer",),
        lambda config: config.train.language_model,
    ),
    "features": _Recipe("training.encode", 1, ("image_encoder", "autoencoder")),
    "stage1": _Recipe(
        "training.stage1_detokenizer",
        2,
        ("image_encoder", "autoencoder"),
        lambda config: config.train.stage1,
    ),
    "stage2": _Recipe(
        "training.stage2_mllm",
        2,
        ("tokenizer", "image_encoder", "language_model"),
        lambda config: config.train.stage2,
    ),
    "stage3": _Recipe(
        "training.stage3_adapt",
        2,
        ("tokenizer", "image_encoder", "autoencoder", "stage1", "stage2"),
        lambda config: config.train.stage3,
    ),
    "baseline": _Recipe(
        "training.baseline_diffusion",
        1,
        ("tokenizer", "autoencoder", "language_model", "stage1"),
        lambda config: config.train.baseline,
    ),
}
"""In the order in which they build on one another."""


def train_parts(parts: Sequence[Part], folder: RunFolder, config: RunConfig, settings: Settings) -> list[Manifest]:
    """Train parts in order, but for those that are trained already; the manifests, of the first process alone.

    Raises:
        ValueError: what they build on is missing, or the training cannot go on.
    """
    if not started_by_torchrun():
        return [_train_alone(part, folder, config, settings) for part in parts]
    manifests = []
    with _joined(settings, config.train.launch.of(parts[-1])) as processes:
        for part in parts:
            manifest = _train_among(processes, part, folder, config, settings)
            if manifest is not None:
                manifests.append(manifest)
    return manifests


def started_by_torchrun() -> bool:
    """Tell whether this process was started as one of several: torchrun tells each of them its rank."""
    return "RANK" in os.environ


def _train_alone(part: Part, folder: RunFolder, config: RunConfig, settings: Settings) -> Manifest:
    def work(out_dir: Path) -> StepResult:
        from story_model.device import chosen_device
        from training.processes import Processes

        return _make(part, folder, config, settings, out_dir, Processes(chosen_device(settings.device)))

    return _as_step(part, folder, config, settings, work)


def _train_among(
    processes: "Processes", part: Part, folder: RunFolder, config: RunConfig, settings: Settings
) -> Manifest | None:
    """Train a part with others; the first process finds out whether there is anything to do, and writes."""
    if not processes.is_first:
        if processes.all_hear(False):
            _make(part, folder, config, settings, folder.part_dir(part), processes)
        return None
    heard = False

    def work(out_dir: Path) -> StepResult:
        nonlocal heard
        heard = processes.all_hear(True)
        return _make(part, folder, config, settings, out_dir, processes)

    manifest = _as_step(part, folder, config, settings, work)
    if not heard:
        processes.all_hear(False)
    return manifest


def _make(
    part: Part, folder: RunFolder, config: RunConfig, settings: Settings, out_dir: Path, processes: "Processes"
) -> StepResult:
    recipe = RECIPES[part]
    job = Job(folder, config, settings, out_dir, config.train.launch.of(part), processes)
    result: StepResult = import_module(recipe.module).make(job)
    return replace(result, counts=result.counts | job.counts)


def _as_step(
    part: Part, folder: RunFolder, config: RunConfig, settings: Settings, work: Callable[[Path], StepResult]
) -> Manifest:
    recipe, train = RECIPES[part], config.train
    if part in train.pretrained.taken_over:
        return take_over(part, folder, config, settings)
    decides = PartConfig(
        seed=config.seed,
        chunk_length=config.build.stories.chunk_length,
        model=config.model,
        stage=recipe.stage(config),
        reconstruction_steps=train.reconstruction_steps if part in {"stage1", "stage3", "baseline"} else None,
        validation_samples=train.validation_samples,
        features=train.features.dtype if train.features.enabled else None,
        bad_records=train.bad_records,
        subset_weights=train.subset_weights,
    )
    inputs: dict[str, Path | str] = {"dataset": folder.dataset_dir}
    inputs |= {need: folder.part_dir(need) for need in recipe.needs}
    inputs |= start_inputs(part, folder, config, settings)
    inputs |= source_inputs(part, folder, config, settings)
    manifest = run_step(
        folder.part_dir(part), work, step=part.replace("_", " "), version=recipe.version, config=decides, inputs=inputs
    )
    if not manifest.reused:
        shutil.rmtree(folder.part_dir(part) / CHECKPOINTS, ignore_errors=True)
    return manifest


@contextmanager
def _joined(settings: Settings, launch: LaunchConfig) -> Iterator["Processes"]:
    """Join the other processes, with torch imported at last."""
    from story_model.device import chosen_device
    from training.processes import joined

    with joined(chosen_device(settings.device), timeout_s=launch.stall_timeout_s) as processes:
        yield processes
