"""Which run is to be evaluated: one that is named, the one whose training ended just now, or the newest of all."""

import logging
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client

from story_model.config import Settings, read_config
from story_model.manifest import MANIFEST, intact, read_manifest
from story_model.workspace import Part, RunFolder

log = logging.getLogger(__name__)

NEWEST = "newest"
_NEEDED: tuple[Part, ...] = ("tokenizer", "image_encoder", "autoencoder", "stage1", "stage2", "stage3")


def run_to_evaluate(run: str, source_run: str | None = None) -> str:
    """Name the run that is meant by `newest`, an empty name, or the event that started the flow.

    Raises:
        ValueError: no run is fully trained, or `source_run` is no flow run's resource id.
    """
    if source_run:
        return run_trained_by(source_run)
    return newest_trained(Settings().workspace) if run in {"", NEWEST} else run


def newest_trained(workspace: Path) -> str:
    """Name the run whose third stage was finished last, among those that are trained in all parts.

    When it was finished says the manifest that ends a step, not the folder: looking at a run does not make it newer.

    Raises:
        ValueError: there is none.
    """
    folders = [RunFolder(path.parent) for path in sorted(workspace.glob("*/config.yaml"))]
    trained = [(finished, folder.name) for folder in folders if (finished := _trained_at(folder)) is not None]
    if not trained:
        raise ValueError(f"no run in {workspace} is fully trained; run train-all first, or name a run")
    newest = max(trained)[1]
    log.info("the newest of %d trained runs is %s", len(trained), newest)
    return newest


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


def _trained_at(folder: RunFolder) -> int | None:
    """Say when a run's third stage was finished (ns); none where a part that tells stories is missing."""
    try:
        baseline: tuple[Part, ...] = ("baseline",) if read_config(folder.config_path).train.baseline else ()
    except ValueError as error:
        log.warning("run %s is passed over: %s", folder.name, error)
        return None
    for part in (*_NEEDED, *baseline):
        manifest = read_manifest(folder.part_dir(part))
        if manifest is None or not intact(folder.part_dir(part), manifest):
            return None
    return (folder.part_dir("stage3") / MANIFEST).stat().st_mtime_ns
