"""What a training costs, part by part: work, hours, memory of a GPU, disk.

Work is counted on networks without numbers (`flops.py`), activations are measured on them (`activations.py`), hours
follow from an assumed utilisation. Decoding pictures and what parts are measured on at their end are not in it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from torch import nn

from story_model.config import ModelConfig, RunConfig
from story_model.mllm import trainable
from story_model.train_config import LaunchConfig, Precision, StageConfig
from training.activations import part_activations
from training.flops import (
    SampleFlops,
    TrainedPart,
    counted_autoencoder,
    counted_image_encoder,
    counted_mllm,
    empty_autoencoder,
    empty_detokenizer,
    empty_image_encoder,
    empty_llama,
    empty_mllm,
    sample_flops,
    story_text,
    uses_published_weights,
)
from training.footprint import WIDTH, Footprint, footprint_of
from training.hardware import Gpu
from training.makers import autoencoder_maker, image_encoder_maker
from training.rows import row_bytes
from training.story_shape import StoryText, mean_prefix_shape, prefix_shapes, words_shape

_CHECKPOINT_WIDTH = 12
"""Bytes of a trained parameter in a checkpoint: itself and two moments."""
_BYTES_OF_A_TOKEN = 4


@dataclass(frozen=True)
class Assumptions:
    """What the configuration does not say."""

    gpu: Gpu
    gpus: int | None
    """None: as many processes as are configured."""
    utilisation: float
    caption_tokens: int
    pictures: int
    """Of all stories, held-out ones included."""
    picture_kb: float


@dataclass(frozen=True)
class OncePlan:
    """A frozen network that runs over everything once."""

    name: str
    parameters: int
    items: int
    flops_per_item: float
    hours: float
    disk: float
    """Bytes of what is stored."""


@dataclass(frozen=True)
class TrainedPlan:
    """A part that is trained."""

    name: TrainedPart
    parameters: int
    trained: int
    gpus: int
    steps: int
    samples: int
    epochs: float
    sample: SampleFlops
    step_flops: float
    """Of the whole batch: what counts for utilisation."""
    recomputed_flops: float
    """What activation checkpointing adds."""
    bytes_read: float
    """A step, from stores or pictures."""
    hours: float
    micro_batch: int
    """Samples that a GPU computes at once."""
    launch: str
    """Engine and activation checkpointing, in words."""
    memory: Footprint
    memory_gb: float
    """Of the GPU."""
    advice: str | None
    """What to change where it does not fit."""
    checkpoints: float
    """Bytes on disk at most, one being written."""
    weights: float
    """Bytes of the result."""

    @property
    def fits(self) -> bool:
        """Tell whether a GPU has room for it."""
        return self.memory.fits(self.memory_gb)


@dataclass(frozen=True)
class Plan:
    """A whole training."""

    preset: str
    assumptions: Assumptions
    once: list[OncePlan]
    trained: list[TrainedPlan]
    dataset: float
    """Bytes of the pictures."""

    @property
    def hours(self) -> float:
        """Of everything, one after another."""
        return sum(part.hours for part in self.once) + sum(part.hours for part in self.trained)

    @property
    def disk(self) -> float:
        """Bytes at most, with the checkpoints of the largest part."""
        kept = sum(part.disk for part in self.once) + sum(part.weights for part in self.trained)
        return self.dataset + kept + max(part.checkpoints for part in self.trained)


def plan(config: RunConfig, assumptions: Assumptions) -> Plan:
    """Plan a configured training."""
    parts: tuple[TrainedPart, ...] = ("stage1", "stage2", "stage3")
    if not uses_published_weights(config.model):
        parts = ("image_encoder", "language_model", *parts)
    return Plan(
        config.preset,
        assumptions,
        list(_once(config, assumptions)),
        [_trained(config, part, assumptions) for part in parts],
        dataset=assumptions.pictures * assumptions.picture_kb * 1e3,
    )


# ------------------------------------------------------------------------------------------------ what runs once


def _once(config: RunConfig, assumptions: Assumptions) -> Iterator[OncePlan]:
    model, precision = config.model, config.train.stage2.precision
    gpus, pictures = _gpus(config.train.launch.stage2, assumptions), assumptions.pictures

    def once(name: str, network: nn.Module, items: int, flops: float, item_bytes: float, is_exact: bool) -> OncePlan:
        hours = _hours(items * flops, "float32" if is_exact else precision, gpus, assumptions)
        return OncePlan(name, _count(network), items, flops, hours, items * item_bytes)

    encoder, autoencoder, mllm = empty_image_encoder(model), empty_autoencoder(model), empty_mllm(model)
    seen, latents, counted = counted_image_encoder(model), counted_autoencoder(model), counted_mllm(model)
    if config.train.features.enabled:
        yield once("image features", encoder, pictures, seen.forward, feature_bytes(config), False)
        # In float32 always: SD-XL's autoencoder overflows in less.
        yield once("latents", autoencoder, pictures, latents.forward, latent_bytes(config), True)
    text = story_text(config, assumptions.caption_tokens)
    targets = text.num_pairs - 1
    # Each target is predicted from a prefix of its own.
    flops = sum(counted.of(shape).forward for shape in prefix_shapes(text))
    views = math.ceil(pictures / text.num_pairs)
    if not config.train.features.enabled:
        flops += seen.forward * sum(shape.pictures for shape in prefix_shapes(text))
    yield once("predicted features", mllm, views, flops, targets * feature_bytes(config), False)


def feature_bytes(config: RunConfig) -> int:
    """Give the bytes of a picture's stored features."""
    return row_bytes(image_encoder_maker(config.model, "", config.train.features.dtype).fields)


def latent_bytes(config: RunConfig) -> int:
    """Give the bytes of a picture's stored latents, with what SD-XL is told about its size."""
    return row_bytes(autoencoder_maker(config.model, "").fields)


# --------------------------------------------------------------------------------------------- what is trained


def _trained(config: RunConfig, part: TrainedPart, assumptions: Assumptions) -> TrainedPlan:
    stage: StageConfig = getattr(config.train, part)
    launch: LaunchConfig = getattr(config.train.launch, part)
    text, gpus = story_text(config, assumptions.caption_tokens), _gpus(launch, assumptions)
    parameters, trained = _sizes(config.model, part)
    sample = sample_flops(config, part, text, stored_features=config.train.features.enabled)
    step_flops = stage.batch_size * (sample.trained.total + sample.frozen)
    recomputed = stage.batch_size * sample.trained.forward if launch.activation_checkpointing == "full" else 0.0
    share, memory_gb = math.ceil(stage.batch_size / gpus), assumptions.gpu.memory_gb
    activations, bystanders = part_activations(config, part, text), _bystanders(config, part)

    def memory_of(launch: LaunchConfig) -> Footprint:
        micro_batch = min(launch.micro_batch_size or share, share)
        return footprint_of(
            parameters=parameters,
            trained=trained,
            bystanders=bystanders,
            activations=activations.of(micro_batch).kept(launch.activation_checkpointing),
            precision=stage.precision,
            launch=launch,
            gpus=gpus,
        )

    memory = memory_of(launch)
    return TrainedPlan(
        part,
        parameters,
        trained,
        gpus,
        stage.steps,
        samples=stage.steps * stage.batch_size,
        epochs=stage.steps * stage.batch_size / _samples_of_an_epoch(config, part, text, assumptions),
        sample=sample,
        step_flops=step_flops,
        recomputed_flops=recomputed,
        bytes_read=stage.batch_size * _bytes_read(config, part, text, assumptions),
        hours=stage.steps * _hours(step_flops + recomputed, stage.precision, gpus, assumptions),
        micro_batch=min(launch.micro_batch_size or share, share),
        launch=f"{_engine(launch)}, {launch.activation_checkpointing}",
        memory=memory,
        memory_gb=memory_gb,
        advice=None if memory.fits(memory_gb) else advice(part, launch, share, memory_of, memory_gb),
        # The newest, the best, and one that is being written.
        checkpoints=trained * _CHECKPOINT_WIDTH * (stage.keep_checkpoints + 2),
        weights=trained * WIDTH["float32"] + (parameters - trained) * WIDTH[stage.precision],
    )


def advice(
    part: TrainedPart,
    launch: LaunchConfig,
    share: int,
    memory_of: Callable[[LaunchConfig], Footprint],
    memory_gb: float,
) -> str:
    """Name the least change of a launch with which a part fits: first what costs no time, last what costs most.

    Args:
        part: Whose launch it is.
        launch: As it is.
        share: Samples of a batch that fall to one process.
        memory_of: What a launch holds.
        memory_gb: Of the GPU.
    """
    least = math.inf
    for changed in _milder_launches(part, launch, share):
        memory = memory_of(changed)
        if memory.fits(memory_gb):
            names = [name for name in LaunchConfig.model_fields if getattr(changed, name) != getattr(launch, name)]
            values = (f"train.launch.{part}.{name}={str(getattr(changed, name)).lower()}" for name in names)
            return f"--set {' '.join(values)} needs {memory.gpu / 2**30:.3g} GiB"
        least = min(least, memory.gpu / 2**30)
    return f"nothing that can be set helps (least: {least:.0f} GiB); take larger GPUs, or more with engine deepspeed"


def _milder_launches(part: TrainedPart, launch: LaunchConfig, share: int) -> Iterator[LaunchConfig]:
    largest = min(launch.micro_batch_size or share, share)
    sizes = sorted({math.ceil(largest / parts) for parts in range(1, largest + 1)}, reverse=True)
    again: dict[str, object] = {"activation_checkpointing": "full"}
    changes: list[dict[str, object]] = [{}]
    if part == "image_encoder":  # it has no blocks that could be run again
        again = {}
    elif launch.activation_checkpointing == "none":
        changes += [{"activation_checkpointing": "selective"}, again]
    else:
        changes.append(again)
    for offload in (False, True):
        changes += [{**again, "engine": "deepspeed", "zero_stage": stage, "offload": offload} for stage in (2, 3)]
    for change in changes:
        for size in sizes:
            yield launch.model_copy(update={"micro_batch_size": size, **change})


@cache
def _sizes(model: ModelConfig, part: TrainedPart) -> tuple[int, int]:
    """Give the parameters of the network that a part trains, and how many of them are trained."""
    network: nn.Module
    if part == "image_encoder":
        network = empty_image_encoder(model)
    elif part == "language_model":
        network = empty_llama(model)
    else:
        network = empty_mllm(model) if part == "stage2" else empty_detokenizer(model, part)
    return _count(network), sum(parameter.numel() for _, parameter in trainable(network))


def _bystanders(config: RunConfig, part: TrainedPart) -> float:
    """Give the bytes of frozen networks that a part runs at each step where nothing is stored."""
    if config.train.features.enabled or part in {"image_encoder", "language_model"}:
        return 0.0
    stage: StageConfig = getattr(config.train, part)
    held = _count(empty_image_encoder(config.model)) * WIDTH[stage.precision]
    return held + (0 if part == "stage2" else _count(empty_autoencoder(config.model)) * WIDTH["float32"])


def _samples_of_an_epoch(config: RunConfig, part: TrainedPart, text: StoryText, assumptions: Assumptions) -> float:
    pictures = assumptions.pictures * (1 - config.build.stories.validation_fraction)
    views = pictures / text.num_pairs
    if part in {"image_encoder", "stage1"}:
        return pictures
    return views * (text.num_pairs - 1) if part == "stage3" else views


def _bytes_read(config: RunConfig, part: TrainedPart, text: StoryText, assumptions: Assumptions) -> float:
    """Give the bytes of a sample that are read from disk."""
    if part == "language_model":
        return words_shape(text).tokens * _BYTES_OF_A_TOKEN
    used = 1.0
    if part == "stage2":
        used = text.num_pairs if config.train.stage2.sequences == "all_targets" else mean_prefix_shape(text).pictures
    if part == "image_encoder":
        return assumptions.picture_kb * 1e3
    if config.train.features.enabled:
        return used * feature_bytes(config) if part == "stage2" else feature_bytes(config) + latent_bytes(config)
    predictions = feature_bytes(config) if part == "stage3" else 0
    return used * assumptions.picture_kb * 1e3 + predictions


def _engine(launch: LaunchConfig) -> str:
    if launch.engine == "torch":
        return "torch"
    return f"ZeRO {launch.zero_stage}" + (" offloaded" if launch.offload else "")


def _gpus(launch: LaunchConfig, assumptions: Assumptions) -> int:
    return assumptions.gpus or launch.processes * launch.nodes


def _hours(flops: float, precision: Precision, gpus: int, assumptions: Assumptions) -> float:
    return flops / (gpus * assumptions.gpu.peak_flops(precision) * assumptions.utilisation) / 3600


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
