"""The tasks of train-all: each stage in a process of its own."""

from typing import get_args

from prefect import task
from prefect.cache_policies import NO_CACHE

from story_model.manifest import read_manifest
from story_model.workspace import Part, RunFolder
from tasks.artifacts import numbers_of, show_numbers
from tasks.measure import step
from tasks.process import run_module

STEPS = ("prepare", "stage1_detokenizer", "stage2_mllm", "stage3_adapt")
"""Modules of `training` in the order in which they build on one another; `prepare` trains the frozen parts."""


@task(name="train", task_run_name="train {name}", cache_policy=NO_CACHE)
def train(name: str, folder: RunFolder, threads: int) -> None:
    """Run one of `STEPS` on a run's folder; a killed one goes on from its checkpoint."""
    with step(f"train {name}"):
        run_module(f"training.{name}", str(folder.root), threads=threads)


def show_training(folder: RunFolder) -> None:
    """Show what each part measured of itself."""
    manifests = {part: read_manifest(folder.part_dir(part)) for part in get_args(Part)}
    show_numbers("training", folder.name, numbers_of(manifests))
