"""Prefect's server and worker and MLflow's pages on this machine: `python infra/services.py up | down | status`.

Everything listens on 127.0.0.1. Logs and process ids lie in workspace/services, Prefect's database in .prefect. Other
ports: PREFECT_PORT, MLFLOW_PORT; then also export the PREFECT_API_URL that `up` prints.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[1]
STATE = Path(os.environ.get("STORY_WORKSPACE", PROJECT / "workspace")).resolve() / "services"
PREFECT_PORT = int(os.environ.get("PREFECT_PORT", "4200"))
MLFLOW_PORT = int(os.environ.get("MLFLOW_PORT", "5000"))
PREFECT_URL = f"http://127.0.0.1:{PREFECT_PORT}"
MLFLOW_URL = f"http://127.0.0.1:{MLFLOW_PORT}"
START_TIMEOUT_S = 180
GRACE_S = 15
ENVIRONMENT = {
    **os.environ,
    "PREFECT_HOME": str(PROJECT / ".prefect"),
    "PREFECT_API_URL": f"{PREFECT_URL}/api",
    "PREFECT_WORKER_QUERY_SECONDS": "3",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else it keeps seven more processes
}
SERVER = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PREFECT_PORT)]
WORKER = ["prefect", "worker", "start", "--pool", "local", "--name", "local"]
MLFLOW = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(MLFLOW_PORT), "--workers", "1"]
MLFLOW += ["--backend-store-uri", f"sqlite:///{PROJECT}/mlflow.db", "--default-artifact-root", f"{PROJECT}/mlruns"]


def up() -> None:
    """Start what does not run yet, register the deployments, and return when all answers."""
    STATE.mkdir(parents=True, exist_ok=True)
    for name, command, port in (("server", SERVER, PREFECT_PORT), ("mlflow", MLFLOW, MLFLOW_PORT)):
        if running(name) is None:
            _must_be_free(port)
            _start(name, command)
    _wait_for("server", f"{PREFECT_URL}/api/health")
    if _call("prefect", "--no-prompt", "work-pool", "inspect", "local").returncode:
        _must_succeed("prefect", "--no-prompt", "work-pool", "create", "local", "--type", "process")
    _must_succeed("prefect", "--no-prompt", "deploy", "--all")
    if running("worker") is None:
        _close_orphans()
        _start("worker", WORKER)
    _wait_for("mlflow", f"{MLFLOW_URL}/health")
    status()


def down() -> None:
    """End the services and the flow runs below them: SIGTERM, then SIGKILL for what is left.

    The worker goes first and at once, so that it starts nothing more; its flow runs get to tell the server.
    """
    for name in ("worker", "mlflow", "server"):
        service = running(name)
        if service is not None:
            with suppress(psutil.NoSuchProcess):
                service.suspend()
                family = service.children(recursive=True)
                service.send_signal(signal.SIGKILL if name == "worker" else signal.SIGTERM)
                service.resume()
                _end([service, *family])
            print(f"{name} ended")
        (STATE / f"{name}.pid").unlink(missing_ok=True)


def status() -> None:
    """Say where to look, or what does not run."""
    missing = [name for name in ("server", "worker", "mlflow") if running(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} not running; start with `make up`")
    print(f"Prefect  {PREFECT_URL}\nMLflow   {MLFLOW_URL}\nlogs     {STATE}")
    print("run      prefect deployment run end-to-end")
    if PREFECT_PORT != 4200:
        print(f"first    export PREFECT_API_URL={PREFECT_URL}/api")


def running(name: str) -> psutil.Process | None:
    """Find a service that was started here; a process that merely got the same number is not taken for it."""
    try:
        pid, created = (STATE / f"{name}.pid").read_text().split()
        process = psutil.Process(int(pid))
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    is_ours = process.create_time() == float(created) and process.status() != psutil.STATUS_ZOMBIE
    return process if is_ours else None


def _start(name: str, command: list[str]) -> None:
    with (STATE / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (STATE / f"{name}.pid").write_text(f"{process.pid} {psutil.Process(process.pid).create_time()!r}")


def _end(family: list[psutil.Process]) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(family, timeout=GRACE_S)
    late = [child for process in left for child in _children(process)]
    for process in [*left, *late]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs([*left, *late], timeout=GRACE_S)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _wait_for(name: str, address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(address):
        if running(name) is None or time.monotonic() > deadline:
            words = (STATE / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
            down()
            sys.exit("\n  ".join([f"{name} did not start; the end of {STATE}/{name}.log:", *words]))
        time.sleep(0.2)


def _close_orphans() -> None:
    """Tell the server that flow runs of a killed worker are over; else they hold their deployment's one slot."""
    alive = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}, "deployment_id": {"is_null_": False}}
    for flow_run in _post("flow_runs/filter", {"flow_runs": alive}):
        state = {"type": "CRASHED", "message": "its worker was ended; start it again and it goes on"}
        _post(f"flow_runs/{flow_run['id']}/set_state", {"state": state, "force": True})
        print(f"flow run {flow_run['name']} was left unfinished by a worker that was ended; start it again")


def _post(path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever the API answers
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{PREFECT_URL}/api/{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _must_be_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            name = "PREFECT_PORT" if port == PREFECT_PORT else "MLFLOW_PORT"
            sys.exit(f"port {port} is in use by another program; choose another one: {name}=... make up")


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def _must_succeed(*command: str) -> None:
    done = _call(*command)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    commands = {"up": up, "down": down, "status": status}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit("usage: python infra/services.py up | down | status")
    commands[sys.argv[1]]()
