"""A run's trained networks, loaded from its folder: which weights file belongs to which network.

Networks are built without memory for their weights and take these from the file one tensor at a time, where and as
precise as they shall be: the largest one is never held twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from accelerate import init_empty_weights
from torch import nn

from story_model import tokens
from story_model.autoencoder import Autoencoder
from story_model.build import (
    build_autoencoder,
    build_captions_diffusion,
    build_detokenizer,
    build_image_encoder,
    build_llama,
    build_mllm,
)
from story_model.captions_diffusion import LanguageModelEncoder
from story_model.checkpoint import assign_weights
from story_model.config import ModelConfig, RunConfig
from story_model.detokenizer import Detokenizer
from story_model.device import dtype_of
from story_model.generate import merged
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm
from story_model.painting import Painter
from story_model.tell_config import SamplerConfig
from story_model.tokens import StoryTokenizer
from story_model.train_config import BaselineConfig
from story_model.workspace import Part, RunFolder

_Network = TypeVar("_Network", bound=nn.Module)
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Networks:
    """What it takes to tell and paint, all on one device."""

    config: RunConfig
    tokenizer: StoryTokenizer
    encoder: ImageEncoder
    mllm: Mllm
    """Its LoRA merged."""
    painter: Painter


def weights_path(folder: RunFolder, part: Part) -> Path:
    """Name the weights file of a part."""
    return folder.part_dir(part) / "model.safetensors"


def tokenizer_path(folder: RunFolder) -> Path:
    """Name the tokenizer's file."""
    return folder.part_dir("tokenizer") / "tokenizer.json"


def load_networks(folder: RunFolder, config: RunConfig, device: torch.device) -> Networks:
    """Load what tells and paints, in the precision that is configured for telling.

    Raises:
        ValueError: a part is missing or does not fit.
    """
    model, dtype = config.model, dtype_of(config.tell.precision)
    encoder = load_image_encoder(folder, model, device=device, dtype=dtype)
    painter = load_painter(folder, config, encoder, device=device, dtype=dtype)
    mllm = merged(load_mllm(folder, model, device=device, dtype=dtype))
    return Networks(config, load_tokenizer(folder, model), encoder, mllm, painter)


def load_tokenizer(folder: RunFolder, config: ModelConfig) -> StoryTokenizer:
    """Load the run's tokenizer."""
    return tokens.load_tokenizer(tokenizer_path(folder), config.mllm.num_image_tokens)


def load_image_encoder(
    folder: RunFolder, config: ModelConfig, *, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> ImageEncoder:
    """Load the image encoder, frozen, for inference."""
    path = weights_path(folder, "image_encoder")
    return _frozen(lambda: build_image_encoder(config.image_encoder), path, device, dtype)


def load_autoencoder(folder: RunFolder, config: ModelConfig, *, device: torch.device = _CPU) -> Autoencoder:
    """Load the autoencoder of pictures, in float32: latents and pixels are where rounding shows."""
    path = weights_path(folder, "autoencoder")
    return _frozen(lambda: build_autoencoder(config.detokenizer), path, device, torch.float32)


def load_mllm(
    folder: RunFolder, config: ModelConfig, *, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> Mllm:
    """Load stage 2's language model with its resamplers, frozen, for inference."""
    tokenizer = load_tokenizer(folder, config)
    path = weights_path(folder, "stage2")
    return _frozen(lambda: build_mllm(config, build_llama(config, tokenizer)), path, device, dtype)


def load_detokenizer(
    folder: RunFolder,
    config: ModelConfig,
    part: Literal["stage1", "stage3"] = "stage3",
    *,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
) -> Detokenizer:
    """Load the de-tokenizer as stage 1 or stage 3 left it, frozen, for inference."""
    return _frozen(lambda: build_detokenizer(config), weights_path(folder, part), device, dtype)


def load_painter(
    folder: RunFolder,
    config: RunConfig,
    encoder: ImageEncoder,
    *,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
) -> Painter:
    """Load what paints pictures from features."""
    detokenizer = load_detokenizer(folder, config.model, device=device, dtype=dtype)
    autoencoder = load_autoencoder(folder, config.model, device=device)
    return Painter(detokenizer, autoencoder, encoder, config=config.model.detokenizer, sampler=config.tell.sampler)


def load_caption_encoder(
    folder: RunFolder, config: RunConfig, *, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
) -> LanguageModelEncoder:
    """Load the baseline's text encoder: the language model before stage 2, frozen.

    Raises:
        ValueError: the run has no baseline.
    """
    tokenizer = load_tokenizer(folder, config.model)
    path = weights_path(folder, "language_model")
    llama = _frozen(lambda: build_llama(config.model, tokenizer), path, device, dtype)
    return LanguageModelEncoder(llama, tokenizer, max_words=baseline_of(config).max_words)


def load_captions_painter(
    folder: RunFolder,
    config: RunConfig,
    encoder: LanguageModelEncoder,
    *,
    sampler: SamplerConfig,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.float32,
) -> Painter:
    """Load what paints from the states of captions' words.

    Raises:
        ValueError: the run has no baseline, or it is not trained.
    """
    model, baseline = config.model, baseline_of(config)
    path = weights_path(folder, "baseline")
    network = _frozen(lambda: build_captions_diffusion(model, baseline), path, device, dtype)
    autoencoder = load_autoencoder(folder, model, device=device)
    return Painter(network, autoencoder, encoder, config=model.detokenizer, sampler=sampler)


def baseline_of(config: RunConfig) -> BaselineConfig:
    """Give the baseline's settings.

    Raises:
        ValueError: the run has none.
    """
    if config.train.baseline is None:
        raise ValueError("this run has no baseline; set train.baseline={steps: ..., batch_size: ...} and train it")
    return config.train.baseline


def _frozen(build: Callable[[], _Network], path: Path, device: torch.device, dtype: torch.dtype) -> _Network:
    with init_empty_weights(include_buffers=False):
        network = build()
    assign_weights(network, path, device=device, dtype=dtype)
    return network.eval().requires_grad_(False)
