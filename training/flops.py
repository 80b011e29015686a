"""FLOPs of the networks, counted by running them without numbers, and of one sample of each trained part.

Networks are built on the meta device, where a pass computes shapes alone, and torch's own counter adds up their matrix
products and convolutions; so a frozen matrix costs its forward pass and the gradient of its input, a trained one that
of itself as well. A pass over a sequence is taken apart into work for a position and work for a (query, key) pair:
fused attention leaves out pairs that a mask hides, the counter does not. Recomputation is not counted: these are model
FLOPs, and utilisation is their rate over a device's peak.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from story_model.autoencoder import Autoencoder, LinearAutoencoder
from story_model.build import (
    Vocabulary,
    build_autoencoder,
    build_detokenizer,
    build_image_encoder,
    build_llama,
    build_mllm,
    llama2_vocabulary,
)
from story_model.config import ModelConfig, RunConfig
from story_model.detokenizer import Detokenizer, train_adaptation_only
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm
from training.story_shape import (
    SequenceShape,
    StoryText,
    all_targets_shape,
    mean_prefix_shape,
    words_shape,
)

Network = TypeVar("Network", bound=nn.Module)
TrainedPart = Literal["image_encoder", "language_model", "stage1", "stage2", "stage3"]

CAPTION_TOKENS = 45
"""Of a StoryStream caption with LLaMA's tokenizer, estimated from published samples."""
_LLAMA_SEPARATOR_TOKENS = 4
_ATTENTION = {"aten.bmm", "aten.baddbmm"}
"""Operators of attention on the meta device, where no fused one exists."""
_TRIAL_TOKENS = 64


@dataclass(frozen=True)
class Flops:
    """Work of one pass."""

    forward: float
    backward: float = 0.0

    @property
    def total(self) -> float:
        """Of both passes."""
        return self.forward + self.backward

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: float) -> "Flops":
        return Flops(self.forward * times, self.backward * times)


def uses_published_weights(config: ModelConfig) -> bool:
    """Tell whether encoder, autoencoder and LLaMA come with their weights, as SD-XL's autoencoder always does."""
    return config.detokenizer.autoencoder == "sdxl"


def story_text(config: RunConfig, caption_tokens: int = CAPTION_TOKENS) -> StoryText:
    """Describe the views that a run trains on."""
    return StoryText(
        num_pairs=config.build.stories.chunk_length,
        image_tokens=config.model.mllm.num_image_tokens,
        caption_tokens=caption_tokens,
        # Tokenizers that we train know the separator as one token.
        separator_tokens=_LLAMA_SEPARATOR_TOKENS if uses_published_weights(config.model) else 1,
    )


# ------------------------------------------------------------------------------------------------ networks, empty


def empty_image_encoder(config: ModelConfig) -> ImageEncoder:
    """Build the image encoder without numbers."""
    with torch.device("meta"):
        return build_image_encoder(config.image_encoder)


def empty_autoencoder(config: ModelConfig) -> Autoencoder:
    """Build the autoencoder without numbers."""
    with torch.device("meta"):
        return build_autoencoder(config.detokenizer)


def empty_llama(config: ModelConfig) -> LlamaForCausalLM:
    """Build the language model alone without numbers, its vocabulary full."""
    words = llama2_vocabulary(config.mllm)
    if not uses_published_weights(config):  # a tokenizer of our own has a token more, the separator
        words = Vocabulary(words.vocab_size + 1, begin_of_story=1, end_of_story=2, pad=3)
    with torch.device("meta"):
        return build_llama(config, words)


def empty_mllm(config: ModelConfig) -> Mllm:
    """Build the language model with its resamplers without numbers."""
    llama = empty_llama(config)
    with torch.device("meta"):
        return build_mllm(config, llama)


def empty_detokenizer(config: ModelConfig, part: Literal["stage1", "stage3"] = "stage1") -> Detokenizer:
    """Build the de-tokenizer without numbers; frozen is what the stage freezes."""
    with torch.device("meta"):
        detokenizer = build_detokenizer(config)
    if part == "stage3":
        train_adaptation_only(detokenizer)
    return detokenizer


def frozen(network: Network) -> Network:
    """Freeze all of a network: no pass back is counted."""
    network.requires_grad_(False)
    return network


# ---------------------------------------------------------------------------------------------------- one network


def count(run: Callable[[], Tensor]) -> Flops:
    """Count a pass and, where its result has a gradient, the pass back."""
    return count_apart(run)[0]


def count_apart(run: Callable[[], Tensor]) -> tuple[Flops, Flops]:
    """Count everything, and attention's products between positions alone."""
    with FlopCounterMode(display=False) as ahead:
        result = run()
    with FlopCounterMode(display=False) as back:
        if result.requires_grad:
            result.sum().backward()
    return Flops(ahead.get_total_flops(), back.get_total_flops()), Flops(_attention(ahead), _attention(back))


def detokenizer_flops(detokenizer: Detokenizer, config: ModelConfig, pictures: int = 1) -> Flops:
    """Count the de-tokenizer, its resampler with it, over noisy latents of a number of pictures."""
    return count(lambda: run_detokenizer(detokenizer, config, pictures))


def image_encoder_flops(encoder: ImageEncoder) -> Flops:
    """Count the image encoder over one picture."""
    return count(lambda: encoder(_blank(1, 3, encoder.image_size, encoder.image_size)))


def autoencoder_flops(autoencoder: Autoencoder, config: ModelConfig) -> Flops:
    """Count encoding one picture to latents."""
    picture = _blank(1, 3, config.detokenizer.picture_size, config.detokenizer.picture_size)
    if isinstance(autoencoder, LinearAutoencoder):
        return count(lambda: autoencoder.encode(picture))
    # Its `encode` switches off automatic precision, which the meta device does not know.
    return count(lambda: autoencoder.quant_conv(autoencoder.encoder(picture)))


@dataclass(frozen=True)
class LanguageModelFlops:
    """Work of the language model and its resamplers, by what it grows with."""

    token: Flops
    """A position through all layers, attention between positions left out."""
    attended: Flops
    """A (query, key) pair through all layers."""
    scored: Flops
    """A position through the head."""
    context_picture: Flops = Flops(0)
    target_picture: Flops = Flops(0)

    def of(self, shape: SequenceShape) -> Flops:
        """Add up one sample."""
        return (
            self.token * shape.tokens
            + self.attended * shape.attended
            + self.scored * shape.scored
            + self.context_picture * shape.context_pictures
            + self.target_picture * shape.target_pictures
        )


def llama_flops(llama: LlamaForCausalLM) -> LanguageModelFlops:
    """Count a LLaMA; embeddings are looked up, which costs nothing, and take a gradient."""
    whole, attention = count_apart(lambda: run_llama(llama, _TRIAL_TOKENS))
    width = llama.config.hidden_size
    return LanguageModelFlops(
        token=(whole + attention * -1) * (1 / _TRIAL_TOKENS),
        attended=attention * (1 / _TRIAL_TOKENS**2),
        scored=count(lambda: llama.lm_head(_blank(1, width).requires_grad_())),
    )


def mllm_flops(mllm: Mllm, config: ModelConfig) -> LanguageModelFlops:
    """Count the language model with its resamplers; a picture's features take no gradient."""
    llama, width = llama_flops(mllm.llama), config.mllm.language_model.hidden_size
    features = _blank(1, config.image_encoder.num_queries, config.image_encoder.output_dim)
    hidden = _blank(1, config.mllm.num_image_tokens, width)
    return LanguageModelFlops(
        llama.token,
        llama.attended,
        llama.scored,
        context_picture=count(lambda: mllm.input_resampler(features)),
        target_picture=count(lambda: mllm.output_resampler(hidden.requires_grad_())),
    )


def run_llama(llama: LlamaForCausalLM, tokens: int) -> Tensor:
    """Pass a sequence without numbers through a LLaMA's layers."""
    # Embeddings take a gradient wherever anything does.
    is_trained = any(parameter.requires_grad for parameter in llama.parameters())
    embeds = _blank(1, tokens, llama.config.hidden_size).requires_grad_(is_trained)
    # A finished mask: transformers looks into the numbers of what it makes one of.
    mask = torch.empty(1, 1, tokens, tokens, dtype=torch.bool, device="meta")
    hidden: Tensor = llama.model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden


def run_detokenizer(detokenizer: Detokenizer, config: ModelConfig, pictures: int) -> Tensor:
    """Pass latents without numbers through a de-tokenizer."""
    sizes, encoder = config.detokenizer, config.image_encoder
    side = sizes.picture_size // sizes.latent_factor
    predicted: Tensor = detokenizer(
        _blank(pictures, sizes.latent_channels, side, side),
        _blank(pictures),
        _blank(pictures, encoder.num_queries, encoder.output_dim),
        _blank(pictures, 6),
    )
    return predicted


# A configured network as it is trained; each is counted once in a process.


@cache
def counted_image_encoder(model: ModelConfig) -> Flops:
    """Count the image encoder over one picture."""
    return image_encoder_flops(empty_image_encoder(model))


@cache
def counted_autoencoder(model: ModelConfig) -> Flops:
    """Count encoding one picture to latents."""
    return autoencoder_flops(frozen(empty_autoencoder(model)), model)


@cache
def counted_detokenizer(model: ModelConfig, part: Literal["stage1", "stage3"]) -> Flops:
    """Count the de-tokenizer over one picture's latents, as a stage trains it."""
    return detokenizer_flops(empty_detokenizer(model, part), model)


@cache
def counted_llama(model: ModelConfig) -> LanguageModelFlops:
    """Count the language model, all of it trained."""
    return llama_flops(empty_llama(model))


@cache
def counted_mllm(model: ModelConfig) -> LanguageModelFlops:
    """Count the language model with its resamplers, as stage 2 trains it."""
    return mllm_flops(empty_mllm(model), model)


# ---------------------------------------------------------------------------------------------------- one sample


@dataclass(frozen=True)
class SampleFlops:
    """Work for one sample of a trained part."""

    trained: Flops
    """Of the network that is trained."""
    frozen: float = 0.0
    """Of frozen networks, where what they make of the sample is not stored."""


def stage2_shape(config: RunConfig, text: StoryText) -> SequenceShape:
    """Measure a sample of stage 2, as it is configured."""
    return all_targets_shape(text) if config.train.stage2.sequences == "all_targets" else mean_prefix_shape(text)


def sample_flops(config: RunConfig, part: TrainedPart, text: StoryText, *, stored_features: bool = True) -> SampleFlops:
    """Count one sample: a picture (image encoder, stage 1), a view's captions (language model), a view or a prefix of
    it (stage 2), one target (stage 3). The image encoder is counted without the decoder that it is pretrained with.
    """
    model = config.model
    if part == "language_model":
        trained = counted_llama(model).of(words_shape(text))
    elif part == "image_encoder":
        trained = counted_image_encoder(model)
    elif part == "stage2":
        trained = counted_mllm(model).of(stage2_shape(config, text))
    else:
        trained = counted_detokenizer(model, part)
    return SampleFlops(trained, 0.0 if stored_features else _frozen_flops(config, part, text))


def stage_flops_per_sample(
    config: RunConfig, stage: TrainedPart, *, caption_tokens: int = CAPTION_TOKENS, stored_features: bool = True
) -> float:
    """Count the model FLOPs of training on one sample, forward and backward.

    Work of frozen networks is left out where what they make is stored. Takes seconds at the published size and no
    memory to speak of; the network in training is not touched.
    """
    text = story_text(config, caption_tokens)
    counted = sample_flops(config, stage, text, stored_features=stored_features)
    return counted.trained.total + counted.frozen


def _frozen_flops(config: RunConfig, part: TrainedPart, text: StoryText) -> float:
    """Count what frozen networks make of one sample at each step; stage 2's predictions are stored in any case."""
    if part in {"image_encoder", "language_model"}:
        return 0.0
    seen, latents = counted_image_encoder(config.model).forward, counted_autoencoder(config.model).forward
    if part == "stage2":
        all_targets = config.train.stage2.sequences == "all_targets"
        return seen * (text.num_pairs if all_targets else mean_prefix_shape(text).pictures)
    return seen + latents if part == "stage1" else latents


def _attention(counter: FlopCounterMode) -> int:
    counts = counter.get_flop_counts().get("Global", {})
    return sum(number for operator, number in counts.items() if str(operator) in _ATTENTION)


def _blank(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
