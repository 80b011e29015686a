import pytest
from mlflow import MlflowClient

from tasks import artifacts


class Store:
    """Stands for a server that needs a password, which no test has."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def get_run(self, run_id: str) -> object:
        return type("Run", (), {"info": type("Info", (), {"experiment_id": "7"})})


def test_a_password_in_mlflow_s_address_is_shown_on_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORY_TRACKING_URI", "https://anna:secret@mlflow.example/base/")
    monkeypatch.setattr(artifacts, "MlflowClient", Store)
    assert artifacts.run_address("abc") == "https://mlflow.example/base/#/experiments/7/runs/abc"


def test_a_run_in_a_local_database_is_shown_where_a_bare_mlflow_ui_serves(
    monkeypatch: pytest.MonkeyPatch, mlflow_uri: str
) -> None:
    monkeypatch.setenv("STORY_TRACKING_URI", mlflow_uri)
    client = MlflowClient(mlflow_uri)
    experiment = client.create_experiment("pages")
    run_id = client.create_run(experiment).info.run_id
    assert artifacts.run_address(run_id) == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run_id}"
