"""A bare deployment name means the one deployment of that name, and says what to do where there is none."""

import asyncio
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.settings import PREFECT_API_URL

from flows.bare_names import full_name, setup_environment
from story_model.config import PROJECT_DIR

KNOWN = ["build-dataset/build-dataset", "train-all/train-all", "train-all/nightly", "evaluate/nightly"]


def context(api_url: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(api_url=api_url)


def test_a_bare_name_means_the_one_deployment_of_that_name() -> None:
    assert full_name("build-dataset", KNOWN) == "build-dataset/build-dataset"


def test_a_name_that_several_deployments_have_lists_them() -> None:
    with pytest.raises(ValueError, match="evaluate/nightly, train-all/nightly"):
        full_name("nightly", KNOWN)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean build-dataset"):
        full_name("build-datasets", KNOWN)


def test_without_deployments_the_next_command_is_named() -> None:
    with pytest.raises(ValueError, match="did you run `make up`"):
        full_name("build-dataset", [])


def test_the_command_line_says_make_up_where_no_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/prefect", "deployment", "run", "build-dataset"])
    with pytest.raises(SystemExit, match="make up"):
        setup_environment(ctx=context("http://127.0.0.1:9/api"))


def test_a_client_without_the_method_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Moved:
        pass

    monkeypatch.setattr("prefect.client.orchestration.PrefectClient", Moved)
    monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient", Moved)
    setup_environment(ctx=context())
    assert "name deployments in full" in caplog.text


@flow(name="build-dataset")
def placeholder() -> None:
    """Stands for a deployed flow."""


@pytest.fixture(scope="module")
def deployment_id(prefect_server: None) -> str:
    with get_client(sync_client=True) as client:
        return str(client.create_deployment(client.create_flow(placeholder), name="build-dataset"))


@pytest.mark.xdist_group("prefect")
def test_both_clients_find_a_deployment_by_its_bare_name(deployment_id: str) -> None:
    setup_environment(ctx=context())

    async def found() -> str:
        async with get_client() as client:
            return str((await client.read_deployment_by_name("build-dataset")).id)

    with get_client(sync_client=True) as client:
        assert str(client.read_deployment_by_name("build-dataset").id) == deployment_id
    assert asyncio.run(found()) == deployment_id


@pytest.mark.xdist_group("prefect")
def test_a_full_name_goes_through_unchanged(deployment_id: str) -> None:
    setup_environment(ctx=context())
    with get_client(sync_client=True) as client:
        assert str(client.read_deployment_by_name("build-dataset/build-dataset").id) == deployment_id


@pytest.mark.xdist_group("prefect")
@pytest.mark.skipif(
    "storystream" not in entry_points(group="prefect.plugins").names,
    reason="Prefect finds the plugin where the package is installed: pip install -e .",
)
def test_prefect_s_own_command_runs_a_bare_name(deployment_id: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "prefect", "deployment", "run", "build-dataset"]
    done = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Created flow run" in done.stdout


def test_prefect_s_clients_still_have_the_method_that_is_wrapped() -> None:
    assert hasattr(PrefectClient, "read_deployment_by_name")
    assert hasattr(SyncPrefectClient, "read_deployment_by_name")
