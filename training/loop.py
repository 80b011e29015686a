"""THE loop: every trained part of the pipeline runs through it.

Iterating over a `Training` gives a `Step` after each optimizer step; logging is plain code in the `for` that consumes
it. A step's batch is shared out over the processes, each share cut into micro-batches; losses are weighted so that
neither makes a difference. Data order and random numbers are functions of (seed, step), so a run that was killed and
resumed ends with the same weights to the bit as one that was not.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import torch
from torch import nn
from tqdm import tqdm

from story_model.checkpoint import save_tensors
from story_model.seeds import seed_of
from story_model.train_config import LaunchConfig, OptimizerConfig, StageConfig
from training.batches import rows_of_step
from training.checkpoints import Checkpoint, best_checkpoint, newest_checkpoint, save_checkpoint
from training.engine import Engine, start_engine
from training.guards import Guard
from training.processes import Processes, watched
from training.steps import Interrupted
from training.task import BatchT, Draw, Task, draws_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """What one optimizer step was like."""

    number: int
    """1 is the first."""
    losses: dict[str, float]
    """By name, means over the batch; their sum was minimised. Not a number where all of it was left out."""
    gradient_norm: float
    """Before clipping; not finite where the step was left out."""
    learning_rate: float
    seconds: float
    wait_s: float
    """Of `seconds`, those that the network waited for its batch."""
    num_samples: int
    num_tokens: int
    """Positions that networks were shown, over all processes."""
    skipped: int
    """Micro-batches and steps left out so far."""


class Training(Generic[BatchT]):
    """A part in training: an iterator over its steps, from its newest checkpoint on."""

    def __init__(
        self,
        network: nn.Module,
        trained: Mapping[str, nn.Parameter],
        task: Task[BatchT],
        *,
        config: StageConfig,
        launch: LaunchConfig,
        processes: Processes,
        seed: int,
        out_dir: Path,
        name: str,
        held_out_loss: Callable[[nn.Module], float] | None = None,
    ) -> None:
        """Set the network up on this process's device; what is not `trained` is frozen.

        Raises:
            ValueError: the batch cannot be shared out evenly.
        """
        if config.batch_size % processes.count:
            raise ValueError(
                f"{name}: a batch of {config.batch_size} cannot be shared out evenly over {processes.count} processes; "
                f"set its batch_size to a multiple of {processes.count}"
            )
        self.config = config
        self.processes = processes
        self._task = task
        self._seed = seed
        self._out_dir = out_dir
        self._name = name
        self._held_out_loss = held_out_loss if config.keep_best else None
        self._stall_timeout_s = launch.stall_timeout_s
        self._share = config.batch_size // processes.count
        self._micro_batch_size = min(launch.micro_batch_size or self._share, self._share)
        checkpoint = newest_checkpoint(out_dir)
        self._done = 0 if checkpoint is None else checkpoint.step
        self._guard = Guard(config.guards, name=name, out_dir=out_dir if processes.is_first else None)
        if checkpoint is not None:
            log.info("%s: going on at step %d", name, self._done + 1)
            self._guard.go_on(skipped=checkpoint.skipped, recent=checkpoint.recent)
        self._engine: Engine = start_engine(
            network, trained, config=config, launch=launch, processes=processes, checkpoint=checkpoint
        )
        self.network = self._engine.network
        """To compute with: on the process's device, at the configured precision."""

    def __iter__(self) -> Iterator[Step]:
        """Train to the last step; with `keep_best`, go back to the best checkpoint then.

        Raises:
            ValueError: too many steps in a row had losses or gradients that would have spoiled the weights.
            Interrupted: SIGTERM came.
        """
        steps = self.config.steps
        is_hidden = not self.processes.is_first
        bar = tqdm(total=steps, initial=self._done, desc=self._name, unit="step", disable=is_hidden)
        noted, watching = self.processes.noting_sigterm(), watched(self._stall_timeout_s)
        with ThreadPoolExecutor(1, "batches") as ahead, noted, watching as watch, bar:
            coming = ahead.submit(self._lay_out, self._done)
            while self._done < steps:
                started = time.monotonic()
                laid_out = coming.result()
                waited = time.monotonic() - started
                if self._done + 1 < steps:
                    coming = ahead.submit(self._lay_out, self._done + 1)
                step = self._step(laid_out, started, waited)
                self._done += 1
                bar.update()
                bar.set_postfix({key: f"{value:.3f}" for key, value in step.losses.items()})
                watch.sign_of_life()
                if self._done % self.config.checkpoint_every == 0 or self._done == steps:
                    self._save()
                    watch.sign_of_life()
                yield step
        if self._held_out_loss is not None and (best := best_checkpoint(self._out_dir)) is not None:
            log.info("%s: taking the weights of step %d, the best on held-out episodes", self._name, best.step)
            self._engine.set_parameters(best.parameters)

    def save_weights(self, path: Path, *, within: str = "") -> None:
        """Write the whole network, or what a prefix names of it; what is trained in float32.

        All processes have to ask, the first one writes.
        """
        weights = self._engine.weights()
        if self.processes.is_first:
            named = {name: tensor for name, tensor in weights.items() if name.startswith(within)}
            save_tensors({name.removeprefix(within): tensor for name, tensor in named.items()}, path)

    def _step(self, laid_out: "_LaidOut[BatchT]", started: float, waited: float) -> Step:
        """Run a step's micro-batches and move the weights; with less at once where the memory does not suffice."""
        index, rate = self._done, self.config.optimizer.learning_rate
        rate *= rate_factor(index, self.config.steps, self.config.optimizer)
        while True:
            if laid_out.micro_batch_size != self._micro_batch_size:
                laid_out = self._lay_out(index)
            totals = self._totals(laid_out)
            try:
                losses, why = self._run(laid_out, totals, index)
                break
            except torch.OutOfMemoryError:
                self._compute_less_at_once()
        norm = math.nan
        if losses:
            norm = self._engine.step(rate)
            if not math.isfinite(norm):
                why = f"gradient norm {norm}"
                self._guard.leave_out(index, self._rows(index), why)
        self._guard.close_step(moved=math.isfinite(norm), why=why)
        return Step(
            number=index + 1,
            losses=losses or dict.fromkeys(laid_out.batches[0].counts, math.nan),
            gradient_norm=norm,
            learning_rate=rate,
            seconds=time.monotonic() - started,
            wait_s=waited,
            num_samples=self.config.batch_size,
            num_tokens=sum(batch.num_tokens for batch in laid_out.batches) * self.processes.count,
            skipped=self._guard.skipped,
        )

    def _run(
        self, laid_out: "_LaidOut[BatchT]", totals: list[dict[str, float]], index: int
    ) -> tuple[dict[str, float], str]:
        """Gather the gradients of a step; gives its mean losses, and what was wrong with the last bad micro-batch.

        A micro-batch that would spoil the weights is left out, by all processes.
        """
        share = 1 / self.processes.count  # engines average over processes
        whole = {name: sum(total[name] for total in totals) for name in totals[0]}
        sums, seen, why = dict.fromkeys(whole, 0.0), dict.fromkeys(whole, 0.0), ""
        for number, (batch, total) in enumerate(zip(laid_out.batches, totals, strict=True)):
            place = number * laid_out.micro_batch_size
            torch.manual_seed(seed_of(self._seed, index, "dropout", self.processes.rank * self._share + place))
            losses = self._task.losses(self.network, batch.to(self.processes.device))
            means = [float(loss.detach()) * batch.counts[name] / total[name] for name, loss in losses.items()]
            means = self.processes.sum(means)
            complaint = self._guard.complaint(sum(means))
            if complaint is not None:
                why = complaint
                rows = self._rows(index, place, place + laid_out.micro_batch_size)
                self._guard.leave_out(index, rows, complaint)
                log.warning("%s: step %d: %s; its samples are left out", self._name, index + 1, complaint)
                continue
            weighted = [loss * (batch.counts[name] / share / whole[name]) for name, loss in losses.items()]
            self._engine.backward(torch.stack(weighted).sum())
            for name, mean in zip(losses, means, strict=True):
                sums[name] += mean * total[name]
                seen[name] += total[name]
        return {name: sums[name] / seen[name] for name in sums if seen[name]}, why

    def _lay_out(self, index: int) -> "_LaidOut[BatchT]":
        """Lay out this process's share of a step's batch."""
        size, first = self._micro_batch_size, self.processes.rank * self._share
        draws = self._draws(index)[first : first + self._share]
        return _LaidOut([self._task.batch(draws[at : at + size]) for at in range(0, len(draws), size)], size)

    def _totals(self, laid_out: "_LaidOut[BatchT]") -> list[dict[str, float]]:
        """Count what each micro-batch's losses are means over, in all processes together.

        Raises:
            Interrupted: one of them was asked to stop.
        """
        names = list(laid_out.batches[0].counts)
        ours = [float(batch.counts[name]) for batch in laid_out.batches for name in names]
        stop, *sums = self.processes.sum([float(self.processes.is_asked_to_stop), *ours])
        if stop:
            self._save()
            raise Interrupted(f"{self._name}: stopped after step {self._done}; the same command goes on from there")
        rows = [sums[at : at + len(names)] for at in range(0, len(sums), len(names))]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _draws(self, index: int) -> list[Draw]:
        task, size = self._task, self.config.batch_size
        rows = rows_of_step(task.num_samples, size, seed=self._seed, step=index, weights=task.weights)
        return draws_of(rows, seed=self._seed, step=index)

    def _rows(self, index: int, start: int = 0, end: int | None = None) -> list[int]:
        """List the samples of a step, or those at some places of every process's share."""
        draws = self._draws(index)
        shares = [draws[first : first + self._share] for first in range(0, len(draws), self._share)]
        return [draw.row for share in shares for draw in share[start:end]]

    def _compute_less_at_once(self) -> None:
        """Halve the micro-batch: the gradient stays the same, its memory does not.

        Raises:
            ValueError: there is nothing left to halve, or other processes are in the middle of the step.
        """
        self._engine.drop_gradients()
        if self._micro_batch_size == 1 or self.processes.count > 1:
            raise ValueError(
                f"{self._name}: out of memory with {self._micro_batch_size} samples at once; set a smaller "
                "micro_batch_size, activation_checkpointing, or an engine that shares out (train.launch), and run again"
            ) from None
        self._micro_batch_size = -(-self._micro_batch_size // 2)
        log.warning("%s: out of memory; going on with %d samples at once", self._name, self._micro_batch_size)

    def _save(self) -> None:
        held_out = self._held_out_loss(self.network) if self._held_out_loss else None
        parameters, state = self._engine.parameters(), self._engine.optimizer_state()
        if self.processes.is_first:
            guard = self._guard
            checkpoint = Checkpoint(self._done, parameters, state, guard.skipped, held_out, guard.recent)
            save_checkpoint(self._out_dir, checkpoint, keep=self.config.keep_checkpoints)


@dataclass(frozen=True)
class _LaidOut(Generic[BatchT]):
    """A process's share of a step."""

    batches: list[BatchT]
    micro_batch_size: int


def rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Give the learning rate at a step (0 is the first) over its peak: linear warm-up, then cosine to the floor."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    floor = config.min_lr_ratio
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
