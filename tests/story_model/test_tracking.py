import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from story_model.config import Settings
from story_model.tracking import child_run, parent_run, system_metrics
from story_model.workspace import RunFolder


@pytest.fixture
def settings(mlflow_uri: str) -> Settings:
    return Settings(tracking_uri=mlflow_uri)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_steps_are_children_of_their_folders_one_parent(folder: RunFolder, settings: Settings) -> None:
    with parent_run(folder, settings=settings) as parent:
        pass
    parents = set()
    for name in ("one", "two"):
        with child_run(folder, name, settings=settings) as tracker:
            parents.add(tracker.client.get_run(tracker.run_id).data.tags["mlflow.parentRunId"])
    assert parents == {parent.run_id}


def test_a_step_that_was_cut_short_goes_on_in_its_own_run(folder: RunFolder, settings: Settings) -> None:
    out_dir = folder.root / "part"
    out_dir.mkdir(parents=True)
    with pytest.raises(RuntimeError), child_run(folder, "part", settings=settings, out_dir=out_dir) as first:
        raise RuntimeError("killed")
    client = MlflowClient(settings.tracking_uri)
    assert client.get_run(first.run_id).info.status == "FAILED"
    with child_run(folder, "part", settings=settings, out_dir=out_dir) as second:
        second.metrics({"loss": 1.5}, step=3)
    run = client.get_run(first.run_id)
    assert (second.run_id, run.info.status, run.data.metrics) == (first.run_id, "FINISHED", {"loss": 1.5})


def test_artifacts_lie_beside_a_local_database(folder: RunFolder, settings: Settings) -> None:
    with child_run(folder, "part", settings=settings) as tracker:
        uri = tracker.client.get_run(tracker.run_id).info.artifact_uri
    assert uri.startswith(Path(settings.tracking_uri.removeprefix("sqlite:///")).parent.as_uri())


def test_the_machine_s_numbers_stand_beside_the_run_s_own(
    folder: RunFolder, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    with child_run(folder, "part", settings=settings) as tracker, system_metrics(tracker, settings=settings):
        time.sleep(0.5)
    names = tracker.client.get_run(tracker.run_id).data.metrics
    assert any(name.startswith("system/") for name in names)
