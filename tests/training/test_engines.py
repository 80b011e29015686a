"""Whatever engine trains a network, over however many processes, it becomes the same network.

Processes are started as torchrun starts them, few times: each start costs seconds.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from engine_runs import STALL, STALL_TIMEOUT_S
from fitting import CONFIG, CPU, Fitting, run, training
from torch import Tensor

from story_model.checkpoint import load_tensors, load_weights
from story_model.config import PROJECT_DIR
from story_model.train_config import LaunchConfig, StageConfig
from training.engine import start_engine
from training.processes import Processes

pytestmark = pytest.mark.xdist_group("engines")
ENGINES = ("torch", "zero1", "zero2", "zero3")
FIRST, SECOND = 5, 10
"""Steps after which the run that wanders goes on elsewhere; checkpoints are made there."""


@dataclass(frozen=True)
class Runs:
    """What the launches left."""

    folder: Path
    stall_code: int
    stall_log: str
    stall_s: float

    def weights(self, name: str) -> Tensor:
        return flat(load_tensors(self.folder / name / "weights.safetensors"))

    def steps(self, name: str) -> Tensor:
        """Give number, loss and gradient norm of each step."""
        return torch.tensor(json.loads((self.folder / name / "steps.json").read_text()))


def launch(num_processes: int, folder: Path, *runs: str) -> "subprocess.CompletedProcess[str]":
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    environment = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT_DIR)}
    return subprocess.run(
        [sys.executable, *torchrun, str(Path(__file__).with_name("engine_runs.py")), str(folder), *runs],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Train under every engine; have one run wander from engine to engine; and have a process stall."""
    folder = tmp_path_factory.mktemp("runs")
    for count, names in ((2, [*ENGINES, f"zero2:wandering:{FIRST}"]), (1, [f"zero3:wandering:{SECOND}"])):
        done = launch(count, folder, *names)
        assert done.returncode == 0, done.stderr[-4000:]
    last = launch(2, folder, f"zero1:wandering:{CONFIG.steps}", STALL)
    assert (folder / "stalled_at").is_file(), last.stderr[-4000:]
    return Runs(folder, last.returncode, last.stderr, time.time() - float((folder / "stalled_at").read_text()))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, Tensor]:
    """Weights and steps of plain torch in one process that computes each batch at once."""
    fit = training(tmp_path_factory.mktemp("alone"), Fitting(dropout=0.0))
    steps = run(fit)
    numbers = torch.tensor([(step.number, step.losses["fit"], step.gradient_norm) for step in steps])
    return flat(dict(fit.network.state_dict())), numbers


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_train_as_one_does(engine: str, runs: Runs, alone: tuple[Tensor, Tensor]) -> None:
    weights, steps = alone
    assert len(steps) == CONFIG.steps >= 10
    torch.testing.assert_close(runs.steps(engine), steps, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(runs.weights(engine), weights, atol=1e-4, rtol=0)


def test_a_run_goes_on_under_another_engine_over_other_processes(runs: Runs, alone: tuple[Tensor, Tensor]) -> None:
    assert runs.steps("wandering")[:, 0].tolist() == [*range(SECOND + 1, CONFIG.steps + 1)]
    torch.testing.assert_close(runs.weights("wandering"), runs.weights("torch"), atol=1e-6, rtol=0)


def test_weights_that_were_shared_out_load_into_the_plain_network(runs: Runs) -> None:
    network = Fitting(dropout=0.0).network()
    load_weights(network, runs.folder / "zero3" / "weights.safetensors")
    assert torch.equal(flat(dict(network.state_dict())), runs.weights("zero3"))
    assert not torch.equal(runs.weights("zero3"), flat(dict(Fitting().network().state_dict())))


def test_a_process_that_stalls_ends_the_run_and_says_where_it_stands(runs: Runs) -> None:
    assert runs.stall_code != 0
    assert "Timeout (0:00:02)!" in runs.stall_log
    assert "in _lay_out" in runs.stall_log
    assert "in batch" in runs.stall_log
    assert runs.stall_s < STALL_TIMEOUT_S + 20


def test_deepspeed_without_torchrun_is_refused() -> None:
    network = Fitting().network()
    with pytest.raises(ValueError, match="needs torchrun"):
        start_engine(
            network,
            dict(network.named_parameters()),
            config=StageConfig(steps=1, batch_size=1),
            launch=LaunchConfig(engine="deepspeed"),
            processes=Processes(CPU),
        )
