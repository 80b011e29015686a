"""What a training process holds in a GPU's memory: sums over weights, gradients, the optimizer's state and activations.

An estimate. What libraries and the allocator take on top is a flat share of the GPU (`USABLE`).
"""

from dataclasses import dataclass

from story_model.train_config import LaunchConfig, Precision

USABLE = 0.92
"""Share of a GPU's memory that tensors can take; the rest is CUDA's, NCCL's and lost between blocks."""
WIDTH: dict[Precision, int] = {"float32": 4, "bfloat16": 2}
"""Bytes of a number."""

_MOMENTS_WIDTH = 8
_GATHERED = 1e9
"""Parameters that ZeRO 3 holds whole at a time (DeepSpeed's `stage3_max_live_parameters`)."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of one process."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    """At their peak, or what the optimizer's step takes for a moment where that is more."""
    host: float = 0.0
    """On the CPU's side."""

    @property
    def gpu(self) -> float:
        """On the GPU."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def fits(self, memory_gb: float) -> bool:
        """Tell whether a GPU has room for it."""
        return self.gpu <= USABLE * memory_gb * 2**30


def footprint_of(
    *,
    parameters: int,
    trained: int,
    bystanders: float,
    activations: float,
    precision: Precision,
    launch: LaunchConfig,
    gpus: int,
) -> Footprint:
    """Add up what one process holds.

    Engine `torch` holds all of it in each process: what is trained and its gradients in float32, what is frozen in the
    precision of the arithmetic. DeepSpeed holds all weights and gradients in that precision, and what is trained in
    float32 besides as part of the optimizer's state; ZeRO shares that state out from stage 1 on, gradients from 2,
    weights from 3, of which a billion are gathered at a time.

    Args:
        parameters: Of the network in training.
        trained: How many of them are trained.
        bystanders: Bytes of frozen networks beside it.
        activations: Bytes that a micro-batch leaves for its backward pass.
        precision: Of the arithmetic.
        launch: How the part is spread.
        gpus: Processes, over all nodes.
    """
    is_deepspeed = launch.engine == "deepspeed"
    stage = launch.zero_stage if is_deepspeed else 0
    state_share, gradient_share, weight_share = (1 / gpus if stage >= least else 1.0 for least in (1, 2, 3))
    trained_width = WIDTH[precision] if is_deepspeed else WIDTH["float32"]
    whole = (parameters - trained) * WIDTH[precision] + trained * trained_width
    gathered = min(1.0, _GATHERED / parameters) if stage == 3 else 0.0
    optimizer = trained * (_MOMENTS_WIDTH + (WIDTH["float32"] if is_deepspeed else 0)) * state_share
    offloads = launch.offload and is_deepspeed
    resident = 0.0 if offloads and stage == 3 else whole * weight_share
    return Footprint(
        weights=resident + gathered * (whole - whole * weight_share) + bystanders,
        gradients=trained * trained_width * gradient_share,
        optimizer=0.0 if offloads else optimizer,
        # The optimizer's step works on all tensors at once and needs their size again, when activations are gone.
        activations=max(activations, 0.0 if offloads else trained * WIDTH["float32"] * state_share),
        host=(optimizer if offloads else 0.0) + whole * weight_share - resident,
    )
