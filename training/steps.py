"""What each trained part is made from: its inputs, its settings and the module that makes it. No torch here.

A step whose finished result is there returns before any heavy library is imported, so that a run that has nothing to
compute ends in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from story_model.config import ModelConfig, RunConfig, Settings
from story_model.manifest import Manifest, StepResult, run_step
from story_model.section import Section
from story_model.train_config import StageConfig
from story_model.workspace import Part, RunFolder


class PartConfig(Section):
    """All that decides the weights of one part."""

    seed: int
    chunk_length: int
    model: ModelConfig
    stage: StageConfig | None = None
    reconstruction_steps: int | None = None
    validation_samples: int


@dataclass(frozen=True)
class Job:
    """One part to be trained: what the module of the part is handed."""

    folder: RunFolder
    config: RunConfig
    settings: Settings
    out_dir: Path


@dataclass(frozen=True)
class _Recipe:
    module: str
    version: int
    needs: tuple[Part, ...]
    stage: Callable[[RunConfig], StageConfig | None] = lambda _: None


RECIPES: dict[Part, _Recipe] = {
    "tokenizer": _Recipe("training.tokenizer", 1, ()),
    "image_encoder": _Recipe("training.image_encoder", 2, (), lambda config: config.train.image_encoder),
    "autoencoder": _Recipe("training.autoencoder", 1, ()),
    "language_model": _Recipe("training.language_model", 1, ("tokenizer",), lambda config: config.train.language_model),
    "stage1": _Recipe(
        "training.stage1_detokenizer", 1, ("image_encoder", "autoencoder"), lambda config: config.train.stage1
    ),
    "stage2": _Recipe(
        "training.stage2_mllm",
        1,
        ("tokenizer", "image_encoder", "language_model"),
        lambda config: config.train.stage2,
    ),
    "stage3": _Recipe(
        "training.stage3_adapt",
        1,
        ("tokenizer", "image_encoder", "autoencoder", "stage1", "stage2"),
        lambda config: config.train.stage3,
    ),
}
"""In the order in which they build on one another."""


def train_part(part: Part, folder: RunFolder, config: RunConfig, settings: Settings) -> Manifest:
    """Train one part unless it is trained already.

    Raises:
        ValueError: what it builds on is missing.
    """
    recipe = RECIPES[part]
    decides = PartConfig(
        seed=config.seed,
        chunk_length=config.build.stories.chunk_length,
        model=config.model,
        stage=recipe.stage(config),
        reconstruction_steps=config.train.reconstruction_steps if part in {"stage1", "stage3"} else None,
        validation_samples=config.train.validation_samples,
    )

    def work(out_dir: Path) -> StepResult:
        result: StepResult = import_module(recipe.module).make(Job(folder, config, settings, out_dir))
        return result

    inputs = {"dataset": folder.dataset_dir} | {need: folder.part_dir(need) for need in recipe.needs}
    return run_step(
        folder.part_dir(part), work, step=part.replace("_", " "), version=recipe.version, config=decides, inputs=inputs
    )
