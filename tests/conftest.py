"""What tests of several packages share: one MLflow database, since making one takes seconds."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def own_places(tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have Settings name a workspace of the test's own (handed out) and the tests' MLflow database."""
    monkeypatch.setenv("STORY_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("STORY_TRACKING_URI", mlflow_uri)
    return tmp_path / "workspace"
