"""Engines: what moves the weights. Plain torch here; DeepSpeed behind the same small interface (`sharded_engine.py`).

The loop hands an engine gradients, a micro-batch at a time, and asks it to step. Losses come weighted so that the mean
of the processes' gradients is the gradient of the whole batch's mean loss. State goes in and out as whole float32
tensors by name, the same from every engine.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from story_model.train_config import LaunchConfig, OptimizerConfig, StageConfig
from training.checkpoints import Checkpoint
from training.processes import Processes
from training.recomputation import recompute

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of each parameter."""


class Engine(Protocol):
    """A network in training."""

    network: nn.Module
    """What losses are to be computed with."""

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those that are there."""
        ...

    def step(self, learning_rate: float) -> float:
        """Clip the gradients, move the weights and let the gradients go; gives the gradients' norm before clipping.

        Where the norm is not finite nothing moves.
        """
        ...

    def drop_gradients(self) -> None:
        """Let the gradients go."""
        ...

    def parameters(self) -> dict[str, Tensor]:
        """Hand out what is trained, whole, in float32; all processes have to ask."""
        ...

    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Give what is trained other values; all processes have to."""
        ...

    def optimizer_state(self) -> dict[str, Tensor]:
        """Hand out what the optimizer remembers, as checkpoints hold it; all processes have to ask."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Hand out the network's whole state, what is trained in float32, on the CPU; all processes have to ask."""
        ...


def start_engine(
    network: nn.Module,
    trained: Mapping[str, nn.Parameter],
    *,
    config: StageConfig,
    launch: LaunchConfig,
    processes: Processes,
    checkpoint: Checkpoint | None = None,
) -> Engine:
    """Set a network up for training on this process's device, from a checkpoint on if there is one.

    All but `trained` is frozen.
    """
    if checkpoint is not None:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(checkpoint.parameters[name])
    state = {} if checkpoint is None else checkpoint.optimizer
    names = {id(parameter) for parameter in trained.values()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in names)
    recompute(network, launch.activation_checkpointing)
    if launch.engine == "deepspeed":
        from training.sharded_engine import ShardedEngine

        return ShardedEngine(network, trained, state, config=config, launch=launch, processes=processes)
    return TorchEngine(network, trained, state, config=config, processes=processes)


class TorchEngine:
    """A copy of the network in each process; gradients are averaged once a step, after all micro-batches."""

    def __init__(
        self,
        network: nn.Module,
        trained: Mapping[str, nn.Parameter],
        state: Mapping[str, Tensor],
        *,
        config: StageConfig,
        processes: Processes,
    ) -> None:
        """Move the network to the process's device; what is frozen takes the precision of the arithmetic."""
        if config.precision == "bfloat16":
            for parameter in network.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.bfloat16()
        self._inner = network.to(processes.device)
        self.network = _Autocast(self._inner, processes.device) if config.precision == "bfloat16" else self._inner
        self._trained = dict(trained)
        self._config = config.optimizer
        self._processes = processes
        self._optimizer = adamw(self._trained.values(), config.optimizer)
        for name, parameter in self._trained.items():
            if f"step.{name}" in state:
                moments = {kind: state[f"{kind}.{name}"].to(parameter.device) for kind in MOMENTS}
                self._optimizer.state[parameter] = {"step": state[f"step.{name}"], **moments}

    def backward(self, loss: Tensor) -> None:
        """Add gradients."""
        loss.backward()

    def step(self, learning_rate: float) -> float:
        """Average over processes, clip, move."""
        for parameter in self._trained.values():
            if parameter.grad is None and self._processes.count > 1:
                parameter.grad = torch.zeros_like(parameter)  # untouched here, perhaps not elsewhere
        self._processes.average([p.grad for p in self._trained.values() if p.grad is not None])
        norm = float(nn.utils.clip_grad_norm_(self._trained.values(), self._config.max_grad_norm))
        if torch.isfinite(torch.tensor(norm)):
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate
            self._optimizer.step()
        self.drop_gradients()
        return norm

    def drop_gradients(self) -> None:
        """Let the gradients go."""
        self._optimizer.zero_grad(set_to_none=True)

    def parameters(self) -> dict[str, Tensor]:
        """Hand out what is trained."""
        return {name: parameter.detach() for name, parameter in self._trained.items()}

    @torch.no_grad()
    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Copy values in."""
        for name, parameter in self._trained.items():
            parameter.copy_(values[name])

    def optimizer_state(self) -> dict[str, Tensor]:
        """Hand out the moments; a parameter that no loss has touched yet has none."""
        states = ((name, self._optimizer.state.get(parameter, {})) for name, parameter in self._trained.items())
        return {f"{kind}.{name}": state[kind] for name, state in states for kind in ("step", *MOMENTS) if state}

    def weights(self) -> dict[str, Tensor]:
        """Hand out the network's state."""
        return {name: tensor.detach().cpu() for name, tensor in self._inner.state_dict().items()}


class _Autocast(nn.Module):
    """A network whose matrix products are done in bfloat16."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.inner = network
        self._device_type = device.type

    def forward(self, *inputs: object, **named: object) -> object:
        with torch.autocast(self._device_type, torch.bfloat16):
            return self.inner(*inputs, **named)


def adamw(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.AdamW:
    """Make the optimizer that every engine uses."""
    return torch.optim.AdamW(
        list(parameters),
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
