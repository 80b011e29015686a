"""A run's trained networks, loaded from its folder: which weights file belongs to which network."""

from pathlib import Path
from typing import Literal

from torch import nn

from story_model import tokens
from story_model.autoencoder import Autoencoder
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder, build_llama, build_mllm
from story_model.checkpoint import load_weights
from story_model.config import ModelConfig
from story_model.detokenizer import Detokenizer
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm
from story_model.tokens import StoryTokenizer
from story_model.workspace import Part, RunFolder


def weights_path(folder: RunFolder, part: Part) -> Path:
    """Name the weights file of a part."""
    return folder.part_dir(part) / "model.safetensors"


def tokenizer_path(folder: RunFolder) -> Path:
    """Name the tokenizer's file."""
    return folder.part_dir("tokenizer") / "tokenizer.json"


def load_tokenizer(folder: RunFolder, config: ModelConfig) -> StoryTokenizer:
    """Load the run's tokenizer."""
    return tokens.load_tokenizer(tokenizer_path(folder), config.mllm.num_image_tokens)


def load_image_encoder(folder: RunFolder, config: ModelConfig) -> ImageEncoder:
    """Load the image encoder, frozen, for inference."""
    encoder = build_image_encoder(config.image_encoder)
    _load_frozen(encoder, folder, "image_encoder")
    return encoder


def load_autoencoder(folder: RunFolder, config: ModelConfig) -> Autoencoder:
    """Load the autoencoder of pictures."""
    autoencoder = build_autoencoder(config.detokenizer)
    _load_frozen(autoencoder, folder, "autoencoder")
    return autoencoder


def load_mllm(folder: RunFolder, config: ModelConfig) -> Mllm:
    """Load stage 2's language model with its resamplers, frozen, for inference."""
    mllm = build_mllm(config, build_llama(config, load_tokenizer(folder, config)))
    _load_frozen(mllm, folder, "stage2")
    return mllm


def load_detokenizer(
    folder: RunFolder, config: ModelConfig, part: Literal["stage1", "stage3"] = "stage3"
) -> Detokenizer:
    """Load the de-tokenizer as stage 1 or stage 3 left it, frozen, for inference."""
    detokenizer = build_detokenizer(config)
    _load_frozen(detokenizer, folder, part)
    return detokenizer


def _load_frozen(module: nn.Module, folder: RunFolder, part: Part) -> None:
    load_weights(module, weights_path(folder, part))
    module.eval().requires_grad_(False)
