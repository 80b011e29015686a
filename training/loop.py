"""THE loop: every trained part of the pipeline runs through it.

It yields a `Step` after each optimizer step; logging is plain code in the `for` that consumes it. A checkpoint holds
the trained parameters and the optimizer's state; data order and random numbers are functions of (seed, step), so a run
that was killed and resumed ends with the same weights to the bit as one that was not.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from story_model.checkpoint import load_tensors, save_tensors
from story_model.train_config import OptimizerConfig, StageConfig
from training.batches import generator_of

log = logging.getLogger(__name__)

CHECKPOINT = ".checkpoint.safetensors"

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What one optimizer step was like."""

    number: int
    """1 is the first."""
    losses: dict[str, float]
    """By name; their sum is what was minimised."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    seconds: float


def train(
    parameters: Mapping[str, nn.Parameter],
    losses_of: Callable[[int, torch.Generator], Losses],
    *,
    config: StageConfig,
    seed: int,
    out_dir: Path,
    name: str,
) -> Iterator[Step]:
    """Minimise the sum of `losses_of(step, generator)` over the parameters; go on from a checkpoint if there is one.

    Raises:
        ValueError: a loss is not a finite number.
    """
    optimizer = _optimizer(parameters, config.optimizer)
    checkpoint = out_dir / CHECKPOINT
    done = _resume(checkpoint, parameters, optimizer)
    bar = tqdm(range(done, config.steps), initial=done, total=config.steps, desc=name, unit="step")
    for index in bar:
        started = time.monotonic()
        rate = config.optimizer.learning_rate * rate_factor(index, config.steps, config.optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(seed * 1_000_003 + index)  # dropout
        losses = losses_of(index, generator_of(seed, index))
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise ValueError(f"{name}: loss {total.item()} at step {index + 1}; lower the learning rate and run again")
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(parameters.values(), config.optimizer.max_grad_norm)
        optimizer.step()
        values = {key: value.item() for key, value in losses.items()}
        bar.set_postfix({key: f"{value:.3f}" for key, value in values.items()})
        if (index + 1) % config.checkpoint_every == 0:
            _save(checkpoint, index + 1, parameters, optimizer)
        yield Step(index + 1, values, norm.item(), rate, time.monotonic() - started)


def rate_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Give the learning rate at a step (0 is the first) over its peak: linear warm-up, then cosine to the floor."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(steps - config.warmup_steps, 1)
    floor = config.min_lr_ratio
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _optimizer(parameters: Mapping[str, nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        list(parameters.values()),
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


_MOMENTS = ("exp_avg", "exp_avg_sq")


def _save(path: Path, step: int, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    tensors = {"step": torch.tensor(step)}
    for name, parameter in parameters.items():
        tensors[f"parameter.{name}"] = parameter
        # A parameter that no loss has touched yet has no moments.
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": state[moment] for moment in _MOMENTS if moment in state}
        if "step" in state:
            tensors[f"count.{name}"] = state["step"]
    save_tensors(tensors, path)


@torch.no_grad()
def _resume(path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    try:
        tensors = load_tensors(path)
    except ValueError as error:
        log.warning("%s; training starts over", error)
        return 0
    for name, parameter in parameters.items():
        parameter.copy_(tensors[f"parameter.{name}"])
        if f"count.{name}" in tensors:
            moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS}
            optimizer.state[parameter] = {"step": tensors[f"count.{name}"], **moments}
    step = int(tensors["step"])
    log.info("going on at step %d", step + 1)
    return step
