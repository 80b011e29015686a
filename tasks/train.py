"""The tasks of train-all: each stage in a process of its own."""

from typing import get_args

from prefect import task
from prefect.cache_policies import NO_CACHE

from story_model.manifest import read_manifest
from story_model.workspace import Part, RunFolder
from tasks.artifacts import numbers_of, show_numbers
from tasks.measure import step
from tasks.process import run_module


@task(name="train", task_run_name="train {parts}", cache_policy=NO_CACHE)
def train(parts: tuple[Part, ...], folder: RunFolder, threads: int) -> None:
    """Train parts of a run's model in one process, in order; a killed one goes on from its checkpoint."""
    with step(f"train {' and '.join(parts).replace('_', ' ')}"):
        run_module("training", str(folder.root), *parts, threads=threads)


def show_training(folder: RunFolder) -> None:
    """Show what each part measured of itself."""
    manifests = {part: read_manifest(folder.part_dir(part)) for part in get_args(Part)}
    show_numbers("training", folder.name, numbers_of(manifests))
