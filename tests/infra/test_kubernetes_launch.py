"""A command becomes a Job of so many pods, is followed, and its end is the Job's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from infra.kubernetes.launch import manifest

LAUNCH = Path(__file__).parents[2] / "infra" / "kubernetes" / "launch.py"
COMMAND = ["python", "-m", "training", "/workspace/a run", "stage2"]
KUBECTL = """#!/bin/sh
echo "$@" >> calls
case "$1" in
  apply) cat > applied;;
  logs) echo "stage 2: 100%"; {logs};;
  get) echo '{{"status": {{"conditions": [{{"type": "{end}", "status": "True"}}]}}}}';;
esac
"""


def fake_cluster(folder: Path, *, end: str, logs: str = "true") -> dict[str, str]:
    """Put a `kubectl` on the path that says how the Job ended."""
    kubectl = folder / "kubectl"
    kubectl.write_text(KUBECTL.format(end=end, logs=logs))
    kubectl.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_job_has_a_pod_a_node_and_a_gpu_a_process() -> None:
    environment = {"STORY_WORKSPACE": "/workspace", "STORY_API_KEY": "hunter2", "STORY_LAUNCHER": "x", "HOME": "/root"}
    made = manifest("name", 3, 8, COMMAND, environment)
    service, job = yaml.safe_load_all(made)
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 3
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert container["command"] == ["bash", "-c", "python -m training '/workspace/a run' stage2"]
    assert service["spec"]["selector"] == {"job-name": "name"}
    assert container["env"] == [{"name": "STORY_WORKSPACE", "value": "/workspace"}]
    assert "hunter2" not in made


@pytest.mark.parametrize(("end", "code"), [("Complete", 0), ("Failed", 1)])
def test_the_job_s_end_is_the_command_s_and_nothing_is_left(tmp_path: Path, end: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, str(LAUNCH), "2", "8", *COMMAND],
        env=fake_cluster(tmp_path, end=end),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "stage 2: 100%" in done.stdout
    assert (tmp_path / "calls").read_text().splitlines()[-1].startswith("delete job,service storystream-")
    job = list(yaml.safe_load_all((tmp_path / "applied").read_text()))[1]
    meeting = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert meeting["PET_RDZV_ENDPOINT"] == f"{job['metadata']['name']}-0.{job['metadata']['name']}:29500"


def test_a_launch_that_is_ended_ends_its_job(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(LAUNCH), "2", "8", *COMMAND],
        env=fake_cluster(tmp_path, end="Complete", logs="exec sleep 60"),
        cwd=tmp_path,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "calls").exists() or "logs" not in (tmp_path / "calls").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert "delete job,service" in (tmp_path / "calls").read_text()
