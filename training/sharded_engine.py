"""DeepSpeed's ZeRO as an engine: optimizer state, gradients and parameters shared out over the processes.

What DeepSpeed writes itself can be read by as many processes as wrote it and no others; here whole tensors go in and
out, through DeepSpeed's own access to them, so that checkpoints are those of any other engine.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_get_local_fp32_param,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, distributed, nn

from story_model.train_config import LaunchConfig, StageConfig
from training.engine import MOMENTS, adamw
from training.processes import Processes


def deepspeed_config(config: StageConfig, launch: LaunchConfig) -> dict[str, Any]:
    """Give DeepSpeed's settings, derived from ours.

    Batches and accumulation are the loop's affair: what DeepSpeed is told of them has no effect but must be there.
    """
    zero: dict[str, Any] = {"stage": launch.zero_stage, "overlap_comm": False, "contiguous_gradients": True}
    if launch.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        if launch.zero_stage == 3:
            zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "bf16": {"enabled": config.precision == "bfloat16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 60,
    }


class ShardedEngine:
    """A network under ZeRO."""

    def __init__(
        self,
        network: nn.Module,
        trained: Mapping[str, nn.Parameter],
        state: Mapping[str, Tensor],
        *,
        config: StageConfig,
        launch: LaunchConfig,
        processes: Processes,
    ) -> None:
        """Share the network out, from an optimizer's state on if there is one.

        Raises:
            ValueError: the process was not started by torchrun.
        """
        if not distributed.is_initialized():
            raise ValueError(
                "the engine deepspeed needs torchrun: torchrun --standalone --nproc-per-node N -m training"
            )
        if processes.device.type == "cpu":
            # Compiled with g++ on first use, for a communication that gloo does as well.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(auto_mpi_discovery=False)
        self._inner = network
        self._trained = dict(trained)
        self._stage = launch.zero_stage
        self._rank, self._count = processes.rank, processes.count
        # DeepSpeed makes its float32 copies from weights that it has rounded to bfloat16 before.
        exact = {name: parameter.detach().float().cpu().clone() for name, parameter in trained.items()}
        engine, *_ = deepspeed.initialize(
            model=network.to(processes.device),
            optimizer=adamw(self._trained.values(), config.optimizer),
            config=deepspeed_config(config, launch),
        )
        self._engine: Any = engine
        self.network: nn.Module = engine
        self._load(exact, state)
        if config.precision == "bfloat16":
            network.register_forward_pre_hook(_in_bfloat16, with_kwargs=True)

    def backward(self, loss: Tensor) -> None:
        """Add gradients."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def step(self, learning_rate: float) -> float:
        """Clip and move; DeepSpeed itself leaves a step out whose gradients are not finite."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        return float(self._engine.get_global_grad_norm())

    def drop_gradients(self) -> None:
        """Do nothing: DeepSpeed lets gradients go with the step they belong to, and the loop leaves out no other."""

    def parameters(self) -> dict[str, Tensor]:
        """Gather what is trained."""
        return {name: safe_get_full_fp32_param(parameter).cpu() for name, parameter in self._trained.items()}

    @torch.no_grad()
    def set_parameters(self, values: Mapping[str, Tensor]) -> None:
        """Copy values in, the exact ones and those that are computed with."""
        for name, parameter in self._trained.items():
            value = values[name].to(self._engine.device)
            self._set(parameter, value)
            with deepspeed.zero.GatheredParameters(parameter, modifier_rank=0) if self._stage == 3 else nullcontext():
                parameter.copy_(value)

    def optimizer_state(self) -> dict[str, Tensor]:
        """Gather the moments."""
        steps = [state["step"] for state in self._engine.optimizer.optimizer.state.values() if "step" in state]
        if not steps:
            return {}
        out = {f"step.{name}": torch.as_tensor(steps[0]).float().cpu().clone() for name in self._trained}
        for name, parameter in self._trained.items():
            for kind in MOMENTS:
                out[f"{kind}.{name}"] = safe_get_full_optimizer_state(parameter, kind).cpu()
        return out

    def weights(self) -> dict[str, Tensor]:
        """Gather the network's state."""
        exact = self.parameters()
        everything = list(self._inner.parameters())
        gathered = deepspeed.zero.GatheredParameters(everything) if self._stage == 3 else nullcontext()
        with gathered, _replaced(self._trained, exact):
            return {name: tensor.detach().cpu().clone() for name, tensor in self._inner.state_dict().items()}

    def _load(self, exact: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        if state:
            self._make_room_for_moments(max(value for name, value in state.items() if name.startswith("step.")))
        self.set_parameters(exact)
        for name, parameter in self._trained.items():
            for kind in MOMENTS:
                if f"{kind}.{name}" in state:
                    self._set(parameter, state[f"{kind}.{name}"].to(self._engine.device), kind)

    def _set(self, parameter: nn.Parameter, value: Tensor, kind: str | None = None) -> None:
        """Write a parameter's exact values or one of its moments."""
        if self._stage < 3 and kind is None:
            safe_set_full_fp32_param(parameter, value)
        elif self._stage < 3:
            safe_set_full_optimizer_state(parameter, value, kind)
        else:
            # Each process writes its own part: whole values are refused where parts are not all of one length.
            length = safe_get_local_fp32_param(parameter).numel()
            padded = nn.functional.pad(value.flatten(), (0, length * self._count - value.numel()))
            part = padded[length * self._rank :][:length]
            if kind is None:
                safe_set_local_fp32_param(parameter, part)
            else:
                safe_set_local_optimizer_state(parameter, part, kind)

    def _make_room_for_moments(self, step: Tensor) -> None:
        """Set up what the first step would: DeepSpeed gives no access to moments before."""
        optimizer = self._engine.optimizer
        is_stage3 = self._stage == 3
        flats = optimizer.fp32_partitioned_groups_flat if is_stage3 else optimizer.single_partition_of_fp32_groups
        for flat in flats:
            moments = {kind: torch.zeros_like(flat) for kind in MOMENTS}
            optimizer.optimizer.state[flat] = {"step": step.clone(), **moments}
        if not is_stage3:
            optimizer._lazy_init_hp_params_optimizer_state()


@contextmanager
def _replaced(trained: Mapping[str, nn.Parameter], exact: Mapping[str, Tensor]) -> Iterator[None]:
    """Let parameters hold other values for a while."""
    held = {name: parameter.data for name, parameter in trained.items()}
    try:
        for name, parameter in trained.items():
            parameter.data = exact[name]
        yield
    finally:
        for name, parameter in trained.items():
            parameter.data = held[name]


def _in_bfloat16(
    _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def cast(value: Any) -> Any:  # noqa: ANN401 - whatever a network takes
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.bfloat16() if is_float else value

    return tuple(cast(value) for value in inputs), {name: cast(value) for name, value in named.items()}
