"""Trains the line of `fitting.py` under torchrun: `torchrun engine_runs.py OUT_DIR RUN...`, several runs in a launch.

    NAME                a run from its first step to its last
    NAME:FOLDER:STEP    a run in FOLDER, from wherever that is to STEP
    stall               a run whose last process stops giving batches

Each leaves its weights and what it lost at each step.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from fitting import CONFIG, CPU, Fitting, Points, run, training
from torch import distributed

from story_model.train_config import LaunchConfig
from training.processes import joined
from training.task import Draw

LAUNCHES = {
    "torch": LaunchConfig(micro_batch_size=2),
    **{f"zero{stage}": LaunchConfig(engine="deepspeed", zero_stage=stage, micro_batch_size=2) for stage in (1, 2, 3)},
}
STALL = "stall"
STALL_TIMEOUT_S = 2.0


class Stalling(Fitting):
    """Gives a few batches, then none for a long time."""

    num_given = 0

    def batch(self, draws: Sequence[Draw]) -> Points:
        self.num_given += 1
        if self.num_given > 3:
            time.sleep(600)
        return super().batch(draws)


def main() -> None:
    """Make the runs that are named."""
    out_dir = Path(sys.argv[1])
    with joined(CPU, timeout_s=60) as processes:
        for named in sys.argv[2:]:
            name, *rest = named.split(":")
            folder, stop_after = (out_dir / rest[0], int(rest[1])) if rest else (out_dir / name, None)
            task = Fitting(dropout=0.0)
            launch = LAUNCHES.get(name, LaunchConfig())
            if name == STALL:
                launch = LaunchConfig(stall_timeout_s=STALL_TIMEOUT_S)
                if not processes.is_first:
                    task = Stalling(dropout=0.0)
                (out_dir / "stalled_at").write_text(str(time.time()))
            fit = training(folder, task, CONFIG, launch, processes)
            steps = run(fit, stop_after)
            fit.save_weights(folder / "weights.safetensors")
            if processes.is_first:
                numbers = [(step.number, step.losses["fit"], step.gradient_norm) for step in steps]
                (folder / "steps.json").write_text(json.dumps(numbers))
            distributed.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
