"""The tasks of evaluate: tell long stories, then score them and write the report."""

from typing import Any
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client

from story_model.manifest import read_manifest
from story_model.workspace import RunFolder
from tasks.artifacts import numbers_of, show_numbers, show_report
from tasks.measure import step
from tasks.process import run_module


@task(name="tell stories", cache_policy=NO_CACHE)
def tell_stories(folder: RunFolder, threads: int) -> None:
    """Continue validation openings in every configured mode under every cache policy."""
    with step("tell stories"):
        run_module("evaluation.long_stories", str(folder.root), threads=threads)


@task(name="score and report", cache_policy=NO_CACHE)
def report(folder: RunFolder, threads: int) -> None:
    """Score the told stories, write the report and show the headline numbers."""
    with step("score and report"):
        run_module("evaluation.report", str(folder.root), threads=threads)
    numbers = numbers_of({"evaluation": read_manifest(folder.evaluation_dir)})
    show_numbers("evaluation", folder.name, {name: value for name, value in numbers.items() if "/" not in name})
    show_report(folder)


def run_trained_by(source_run: str) -> str:
    """Name the run that a flow run worked on, from the event's resource id `prefect.flow-run.<uuid>`.

    Raises:
        ValueError: it is not such an id.
    """
    prefix, _, uuid = source_run.rpartition(".")
    if prefix != "prefect.flow-run":
        raise ValueError(f"source_run {source_run!r} is not of the form prefect.flow-run.<uuid>")
    with get_client(sync_client=True) as client:
        parameters: dict[str, Any] = client.read_flow_run(UUID(uuid)).parameters
    return str(parameters["run"])
