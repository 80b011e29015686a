"""The tasks of train-all: each stage in a process of its own."""

from typing import get_args

from prefect import task
from prefect.cache_policies import NO_CACHE

from story_model.config import Settings
from story_model.manifest import read_manifest
from story_model.train_config import TrainConfig
from story_model.workspace import Part, RunFolder
from tasks.artifacts import numbers_of, show_numbers
from tasks.measure import step
from tasks.process import run_module

_GRACE_S = 60.0
"""Seconds that a training has for its last checkpoint."""


@task(name="train", task_run_name="train {parts}", cache_policy=NO_CACHE)
def train(parts: tuple[Part, ...], folder: RunFolder, config: TrainConfig) -> None:
    """Train parts of a run's model, in order, spread as the last of them is; killed ones go on from a checkpoint."""
    with step(f"train {' and '.join(parts).replace('_', ' ')}"):
        run_module(
            "training",
            str(folder.root),
            *parts,
            threads=config.threads,
            spread=config.launch.of(parts[-1]),
            launcher=Settings().launcher,
            grace_s=_GRACE_S,
        )


def show_training(folder: RunFolder) -> None:
    """Show what each part measured of itself."""
    manifests = {part: read_manifest(folder.part_dir(part)) for part in get_args(Part)}
    show_numbers("training", folder.name, numbers_of(manifests))
