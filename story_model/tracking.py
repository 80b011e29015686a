"""MLflow: one parent run for a run's folder, a child for each step that computed something.

Only the client API is used, with run ids passed along: no hidden current run, so that steps in different processes,
killed ones and resumed ones all end in the right place.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from story_model.config import Settings
from story_model.manifest import write_atomically
from story_model.workspace import RunFolder

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

log = logging.getLogger(__name__)
logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # says when it starts and ends

_SQLITE = "sqlite:///"
_PARENT_FILE = ".tracking_run"
_CHILD_FILE = ".tracking_run"
_MAX_BATCH = 900
_MAX_VALUE = 5000


class Tracker:
    """Writes to one MLflow run."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Take the client and the id of an existing run."""
        self.client = client
        self.run_id = run_id

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters; nested sections become dotted names."""
        flat = [Param(name, str(value)[:_MAX_VALUE]) for name, value in _flatten(values)]
        for start in range(0, len(flat), 100):
            self.client.log_batch(self.run_id, params=flat[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step, in one request."""
        now = int(time.time() * 1000)
        rows = [Metric(name, float(value), now, step) for name, value in values.items()]
        for start in range(0, len(rows), _MAX_BATCH):
            self.client.log_batch(self.run_id, metrics=rows[start : start + _MAX_BATCH])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, value[:_MAX_VALUE]) for name, value in values.items()])

    def note(self, markdown: str) -> None:
        """Set the description shown on the run's page."""
        self.client.set_tag(self.run_id, "mlflow.note.content", markdown)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artifacts."""
        self.client.log_artifact(self.run_id, str(path), folder)


@contextmanager
def child_run(folder: RunFolder, name: str, *, settings: Settings, out_dir: Path | None = None) -> Iterator[Tracker]:
    """Open the MLflow run of one step under the parent of its folder; ends it FINISHED, FAILED or KILLED.

    `out_dir` is the step's folder: a step that was cut short goes on in the MLflow run it had begun.
    """
    client, experiment = _connect(settings)
    note = out_dir / _CHILD_FILE if out_dir else None
    run_id = _known(client, note)
    if run_id is None:
        tags = {"mlflow.parentRunId": _parent(client, experiment, folder), "storystream.run": folder.name}
        run_id = client.create_run(experiment, run_name=f"{folder.name} / {name}", tags=tags).info.run_id
        if note:
            write_atomically(note, run_id.encode())
    else:
        client.update_run(run_id, status="RUNNING")
    try:
        yield Tracker(client, run_id)
    except Exception:
        client.set_terminated(run_id, "FAILED")
        raise
    except BaseException:
        client.set_terminated(run_id, "KILLED")
        raise
    client.set_terminated(run_id, "FINISHED")


@contextmanager
def system_metrics(tracker: Tracker, *, settings: Settings) -> Iterator[None]:
    """Log the machine's memory, processors and GPUs to a run meanwhile, every ten seconds; a resumed run goes on."""
    monitor = SystemMetricsMonitor(tracker.run_id, resume_logging=True, tracking_uri=settings.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


@contextmanager
def parent_run(folder: RunFolder, *, settings: Settings) -> Iterator[Tracker]:
    """Open the parent run of a folder, made on first use."""
    client, experiment = _connect(settings)
    run_id = _parent(client, experiment, folder)
    client.update_run(run_id, status="RUNNING")
    try:
        yield Tracker(client, run_id)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _connect(settings: Settings) -> tuple[MlflowClient, str]:
    client = MlflowClient(settings.tracking_uri)
    found = client.get_experiment_by_name(settings.experiment)
    if found is not None:
        return client, found.experiment_id
    return client, client.create_experiment(settings.experiment, artifact_location=_artifacts_of(settings))


def _artifacts_of(settings: Settings) -> str | None:
    """Place artifacts beside a local database (MLflow's own default is wherever a process happens to run)."""
    if not settings.tracking_uri.startswith(_SQLITE):
        return None
    database = Path(settings.tracking_uri.removeprefix(_SQLITE)).resolve()
    return (database.parent / "mlruns" / settings.experiment).as_uri()


def _parent(client: MlflowClient, experiment: str, folder: RunFolder) -> str:
    note = folder.root / _PARENT_FILE
    run_id = _known(client, note)
    if run_id is None:
        run_id = client.create_run(experiment, run_name=folder.name, tags={"storystream.run": folder.name}).info.run_id
        folder.root.mkdir(parents=True, exist_ok=True)
        write_atomically(note, run_id.encode())
        client.set_terminated(run_id, "FINISHED")
    return run_id


def _known(client: MlflowClient, note: Path | None) -> str | None:
    """Read a remembered run id; none where the store does not hold it (any more)."""
    if note is None or not note.is_file():
        return None
    try:
        run = client.get_run(note.read_text().strip())
    except MlflowException:
        log.warning("%s names an MLflow run that the store does not hold; a new one is made", note)
        return None
    return run.info.run_id if run.info.lifecycle_stage == "active" else None


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
