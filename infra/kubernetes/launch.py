"""Run a command on several nodes of a Kubernetes cluster.

STORY_LAUNCHER='python infra/kubernetes/launch.py {nodes} {processes}'

What follows the two numbers becomes an indexed Job of that many pods with a GPU a process, made from the file
`training-job.yaml` beside this one; the pods meet at the first. The logs of the first pod are ours; when this process
is ended, so is the Job. Wants `kubectl` and the rights of `worker.yaml`'s service account.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

TEMPLATE = Path(__file__).with_name("training-job.yaml")
PASSED_ON = re.compile(r"STORY_(?!LAUNCHER|API_KEY)|MLFLOW_TRACKING_|PET_RDZV_|OMP_NUM_THREADS")
"""Variables of ours that the pods get too; keys come from the cluster's secrets."""
POLL_S = 5.0


def manifest(name: str, nodes: int, processes: int, command: list[str], environment: dict[str, str]) -> str:
    """Fill the template in."""
    filled = {
        "NAME": name,
        "NODES": str(nodes),
        "PROCESSES": str(processes),
        "IMAGE": environment.get("STORY_IMAGE", "storystream:latest"),
        "WORKDIR": os.getcwd(),  # noqa: PTH109 - as the shell would say it
        "COMMAND": json.dumps(shlex.join(command)),
        "ENVIRONMENT": json.dumps(
            [{"name": key, "value": value} for key, value in sorted(environment.items()) if PASSED_ON.match(key)]
        ),
    }
    return re.sub(r"\$\{(\w+)\}", lambda found: filled[found[1]], TEMPLATE.read_text())


def main() -> int:
    """Start the Job, follow it, end it."""
    nodes, processes, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    command[0] = "python"  # the pods' own
    name = f"storystream-{os.getpid()}-{int(time.time())}"
    environment = dict(os.environ) | {"PET_RDZV_ENDPOINT": f"{name}-0.{name}:29500", "PET_RDZV_ID": name}
    made = manifest(name, nodes, processes, command, environment)
    signal.signal(signal.SIGTERM, _stop)
    try:
        subprocess.run(["kubectl", "apply", "-f", "-"], input=made, text=True, check=True, stdout=subprocess.DEVNULL)
        return _follow(name)
    finally:
        # Pods get SIGTERM and the time to save (terminationGracePeriodSeconds).
        subprocess.run(["kubectl", "delete", "job,service", name, "--ignore-not-found", "--wait=true"], check=False)


def _follow(name: str) -> int:
    selector = f"job-name={name},batch.kubernetes.io/job-completion-index=0"
    wait = ["kubectl", "wait", "pod", "-l", selector, "--for=condition=Ready", "--timeout=30m"]
    while not _conditions(name) and subprocess.run(wait, check=False, capture_output=True).returncode:
        time.sleep(POLL_S)
    subprocess.run(["kubectl", "logs", "-f", "-l", selector, "--tail=-1"], check=False)
    while not (found := _conditions(name)):
        time.sleep(POLL_S)
    return 0 if "Complete" in found else 1


def _conditions(name: str) -> set[str]:
    """Say whether the Job is `Complete` or `Failed`."""
    said = subprocess.run(["kubectl", "get", "job", name, "-o", "json"], check=True, capture_output=True, text=True)
    conditions = json.loads(said.stdout).get("status", {}).get("conditions") or []
    return {one["type"] for one in conditions if one["status"] == "True"} & {"Complete", "Failed"}


def _stop(_: int, __: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
