"""What Prefect's and MLflow's pages show of a run, with links both ways."""

import logging
from collections.abc import Mapping

from mlflow import MlflowClient
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.runtime import flow_run

from story_model.config import Settings
from story_model.manifest import Manifest
from story_model.tracking import parent_run
from story_model.workspace import RunFolder

log = logging.getLogger(__name__)

_LOCAL_MLFLOW = "http://127.0.0.1:5000"


def show_numbers(key: str, run: str, numbers: Mapping[str, float]) -> None:
    """Show named numbers as a table on the flow run's page."""
    rows = [{"what": name, "value": round(value, 4)} for name, value in numbers.items()]
    create_table_artifact(table=rows, key=key, description=f"Run {run}")


def open_tracking(folder: RunFolder) -> None:
    """Make MLflow's database and the run's page in it, which takes seconds the first time."""
    with parent_run(folder, settings=Settings()):
        log.info("run %s in %s", folder.name, folder.root)


def link_to_tracking(folder: RunFolder) -> None:
    """Lead from the flow run to the run's MLflow page and back."""
    settings = Settings()
    with parent_run(folder, settings=settings) as tracker:
        tracker.tags(_flow_run_tags())
    create_link_artifact(
        run_address(tracker.run_id), key="mlflow", link_text=f"{folder.name} in MLflow", description=folder.name
    )


def link_back(run_id: str) -> None:
    """Lead from an MLflow run to the flow run that made or showed it last.

    Raises:
        MlflowException: MLflow does not hold the run.
    """
    client = MlflowClient(Settings().tracking_uri)
    for name, value in _flow_run_tags().items():
        client.set_tag(run_id, name, value)


def _flow_run_tags() -> dict[str, str]:
    return {"prefect.flow_run_id": str(flow_run.get_id()), "prefect.url": str(flow_run.get_flow_run_ui_url())}


def run_address(run_id: str) -> str:
    """Give the address of a run's page in MLflow; of a local database, the page that a bare `mlflow ui` serves.

    Raises:
        MlflowException: MLflow does not hold the run.
    """
    settings = Settings()
    experiment = MlflowClient(settings.tracking_uri).get_run(run_id).info.experiment_id
    scheme, _, place = settings.tracking_uri.rstrip("/").partition("://")
    own = f"{scheme}://{place.rpartition('@')[2]}"  # without a user and a password, which a page must not show
    return f"{own if scheme.startswith('http') else _LOCAL_MLFLOW}/#/experiments/{experiment}/runs/{run_id}"


def numbers_of(manifests: Mapping[str, Manifest | None]) -> dict[str, float]:
    """Join the counts and metrics of the steps that are finished."""
    return {
        f"{name} {key}": value
        for name, manifest in manifests.items()
        if manifest is not None
        for key, value in {**manifest.counts, **manifest.metrics}.items()
    }
