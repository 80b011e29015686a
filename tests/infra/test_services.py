"""Services are found by who they are, not only by their number, and nothing of them is left behind."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from story_model.config import PROJECT_DIR

KEEPS_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("STORY_WORKSPACE", str(tmp_path))
    spec = importlib.util.spec_from_file_location("services", PROJECT_DIR / "infra" / "services.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.STATE.mkdir()
    return module


def start(services: ModuleType, name: str) -> tuple[psutil.Process, psutil.Process]:
    """Start a process with a child of its own and note it as a service."""
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, "-c", KEEPS_A_CHILD], stdin=pipe, stdout=pipe)
    assert parent.stdout is not None
    parent.stdout.readline()
    process = psutil.Process(parent.pid)
    (services.STATE / f"{name}.pid").write_text(f"{process.pid} {process.create_time()!r}")
    return process, process.children()[0]


@pytest.mark.parametrize("name", ["server", "worker"])
def test_down_ends_a_service_and_its_children(services: ModuleType, name: str) -> None:
    family = start(services, name)
    services.down()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_another_process_of_the_same_number_is_left_alone(services: ModuleType) -> None:
    own = psutil.Process()
    (services.STATE / "server.pid").write_text(f"{own.pid} {own.create_time() - 100!r}")
    assert services.running("server") is None


def test_down_without_services_is_harmless(services: ModuleType) -> None:
    services.down()


def test_status_names_what_does_not_run(services: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"server, worker, mlflow not running; start with `make up`"):
        services.status()
