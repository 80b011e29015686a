"""What training leaves in MLflow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from story_model.tracking import Tracker, child_run, system_metrics
from story_model.train_config import StageConfig
from training.flops import TrainedPart, stage_flops_per_sample
from training.hardware import peak_flops
from training.loop import Step, Training
from training.steps import Job


class Log:
    """One part's MLflow run; processes other than the first one write nothing."""

    def __init__(self, tracker: Tracker | None, *, flops_per_sample: float = 0.0, peak: float | None = None) -> None:
        """Take the run, a sample's model FLOPs, and the peak FLOP/s of all processes' devices, where it is known."""
        self._tracker = tracker
        self._flops_per_sample = flops_per_sample
        self._peak = peak

    @property
    def run_id(self) -> str | None:
        """The MLflow run."""
        return self._tracker.run_id if self._tracker else None

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters."""
        if self._tracker:
            self._tracker.params(values)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""
        if self._tracker:
            self._tracker.metrics(values, step)

    def artifact(self, path: Path) -> None:
        """Copy a file."""
        if self._tracker:
            self._tracker.artifact(path)

    def step(self, step: Step, training: Training) -> None:
        """Log a step's losses, gradient norm, pace and time lost, every `log_every` steps and at both ends."""
        if step.number % training.config.log_every and step.number not in {1, training.config.steps}:
            return
        numbers = {
            "gradient_norm": step.gradient_norm,
            "learning_rate": step.learning_rate,
            "samples_per_s": step.num_samples / step.seconds,
            "tokens_per_s": step.num_tokens / step.seconds,
            "wait_share": step.wait_s / step.seconds,
            "skipped": float(step.skipped),
        }
        if self._flops_per_sample:
            rate = self._flops_per_sample * step.num_samples / step.seconds
            numbers["model_tflops_per_s"] = rate / 1e12
            if self._peak:
                numbers["model_flops_utilisation"] = rate / self._peak
        self.metrics({f"loss/{name}": value for name, value in step.losses.items()} | numbers, step.number)


@contextmanager
def logged(job: Job, name: str, stage: StageConfig, *, part: TrainedPart | None = None) -> Iterator[Log]:
    """Open a part's MLflow run, with the machine's own numbers (memory, processors, GPUs) beside the part's.

    `part` names what the FLOPs of a sample are counted of, for the utilisation; none: they are not.
    """
    if not job.processes.is_first:
        yield Log(None)
        return
    with child_run(job.folder, name, settings=job.settings, out_dir=job.out_dir) as tracker:
        tracker.params({"stage": stage.model_dump(), "launch": job.launch.model_dump()})
        flops = stage_flops_per_sample(job.config, part) if part else 0.0
        peak = peak_flops(job.processes.device_name, stage.precision)
        count = job.processes.count
        with system_metrics(tracker, settings=job.settings):
            yield Log(tracker, flops_per_sample=flops, peak=peak and peak * count)
