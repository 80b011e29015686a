"""Configuration -> modules: the only place that turns settings into networks, handing them plain numbers."""

import math
from dataclasses import dataclass
from typing import TypeAlias

from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.autoencoder import Autoencoder, LinearAutoencoder, SdxlAutoencoder
from story_model.captions_diffusion import WordsCondition, add_attention_lora
from story_model.config import DetokenizerConfig, ImageEncoderConfig, MllmConfig, ModelConfig
from story_model.detokenizer import Detokenizer, PerceiverResampler
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm, add_lora
from story_model.resampler import Resampler
from story_model.tell_config import Schedule
from story_model.tokens import StoryTokenizer
from story_model.train_config import BaselineConfig


def build_image_encoder(config: ImageEncoderConfig) -> ImageEncoder:
    """Make the image encoder with fresh weights."""
    return ImageEncoder(**config.model_dump(exclude={"transform"}))


_SDXL_WIDTHS = (128, 256, 512, 512)
_SDXL_LATENTS = (4, 8)
"""Channels of SD-XL's latents, and pixels that one covers along a side."""


def build_autoencoder(config: DetokenizerConfig) -> Autoencoder:
    """Make the autoencoder, yet to be fitted or loaded.

    Raises:
        ValueError: SD-XL's is asked for with latents that are not its own.
    """
    latents = config.latent_channels, config.latent_factor
    if config.autoencoder == "linear":
        return LinearAutoencoder(*latents)
    if latents != _SDXL_LATENTS:
        raise ValueError(
            f"model.detokenizer: autoencoder sdxl has latent_channels {_SDXL_LATENTS[0]} and latent_factor "
            f"{_SDXL_LATENTS[1]}, not {latents[0]} and {latents[1]}"
        )
    levels = len(_SDXL_WIDTHS)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=_SDXL_WIDTHS,
        layers_per_block=2,
        latent_channels=config.latent_channels,
        norm_num_groups=32,
        sample_size=1024,
        scaling_factor=0.13025,
    )
    return SdxlAutoencoder(vae)


@dataclass(frozen=True)
class Vocabulary:
    """What a language model has to know of its tokenizer, where the tokenizer itself is not at hand."""

    vocab_size: int
    """Image tokens included."""
    begin_of_story: int
    end_of_story: int
    pad: int | None


def llama2_vocabulary(config: MllmConfig) -> Vocabulary:
    """Give the published system's: LLaMA-2's, with the tokens of a picture and its begin and end on top."""
    words = config.language_model.vocab_size
    return Vocabulary(words + config.num_image_tokens + 2, begin_of_story=1, end_of_story=2, pad=None)


def build_llama(config: ModelConfig, vocabulary: StoryTokenizer | Vocabulary) -> LlamaForCausalLM:
    """Make the language model with fresh weights, its vocabulary the tokenizer's (image tokens included)."""
    sizes = config.mllm.language_model
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary.vocab_size,
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.heads,
            max_position_embeddings=sizes.max_positions,
            rms_norm_eps=sizes.rms_norm_eps,
            bos_token_id=vocabulary.begin_of_story,
            eos_token_id=vocabulary.end_of_story,
            pad_token_id=vocabulary.pad,
        )
    )


def build_mllm(config: ModelConfig, llama: LlamaForCausalLM) -> Mllm:
    """Put LoRA on a language model and the resamplers around it.

    Raises:
        ValueError: widths that must agree do not.
    """
    width, features = config.mllm.language_model.hidden_size, config.image_encoder.output_dim
    if width != features:
        raise ValueError(f"model: hidden_size {width} and image_encoder.output_dim {features} must be equal")
    lora, heads = config.mllm.lora, config.mllm.resampler_heads
    return Mllm(
        llama if lora is None else add_lora(llama, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout),
        input_resampler=Resampler(math.isqrt(config.mllm.num_image_tokens), width, heads),
        output_resampler=Resampler(math.isqrt(config.image_encoder.num_queries), features, heads),
    )


def build_detokenizer(config: ModelConfig) -> Detokenizer:
    """Make the de-tokenizer with fresh weights: SD-XL's UNet in the configured widths, and the resampler."""
    sizes = config.detokenizer
    first, second = sizes.prompt_dims
    levels = len(sizes.unet_channels)
    crossed = ("CrossAttnDownBlock2D",) * (levels - 1), ("CrossAttnUpBlock2D",) * (levels - 1)
    unet = UNet2DConditionModel(
        sample_size=sizes.picture_size // sizes.latent_factor,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        block_out_channels=sizes.unet_channels,
        layers_per_block=sizes.unet_layers,
        down_block_types=("DownBlock2D", *crossed[0]),
        up_block_types=(*crossed[1], "UpBlock2D"),
        transformer_layers_per_block=sizes.unet_transformer_layers,
        attention_head_dim=sizes.unet_heads,
        cross_attention_dim=first + second,
        use_linear_projection=True,
        norm_num_groups=sizes.norm_groups,
        addition_embed_type="text_time",
        addition_time_embed_dim=sizes.time_id_dim,
        projection_class_embeddings_input_dim=6 * sizes.time_id_dim + second,
    )
    resampler = PerceiverResampler(
        dim=sizes.resampler_dim,
        depth=sizes.resampler_depth,
        dim_head=sizes.resampler_head_dim,
        heads=sizes.resampler_heads,
        num_queries=sizes.num_queries,
        embedding_dim=config.image_encoder.output_dim,
        output1_dim=first,
        output2_dim=second,
        variant=sizes.variant,
        input_scale=sizes.input_scale,
    )
    return Detokenizer(unet, resampler)


def build_captions_diffusion(config: ModelConfig, baseline: BaselineConfig) -> Detokenizer:
    """Make the baseline with fresh weights: the de-tokenizer's UNet with LoRA, conditioned on a caption's words.

    Raises:
        ValueError: the de-tokenizer is SD-XL's own, whose text encoders are not read yet.
    """
    if config.detokenizer.autoencoder == "sdxl":
        raise ValueError(
            "train.baseline: at the published size captions belong to SD-XL's two text encoders (text_encoder and "
            "text_encoder_2), which are not read yet; set train.baseline=null"
        )
    detokenizer = build_detokenizer(config)
    add_attention_lora(detokenizer.unet, rank=baseline.rank, alpha=baseline.alpha)
    first, second = config.detokenizer.prompt_dims
    width, dropout = config.mllm.language_model.hidden_size, baseline.caption_dropout
    condition = WordsCondition(width, prompt_dim=first + second, pooled_dim=second, dropout=dropout)
    return Detokenizer(detokenizer.unet, condition)


_SDXL_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def build_noise_schedule(config: DetokenizerConfig) -> DDPMScheduler:
    """Make SD-XL's training noise schedule."""
    return DDPMScheduler(**_SDXL_NOISE, prediction_type=config.prediction_type, clip_sample=False)


Sampler: TypeAlias = EulerDiscreteScheduler | DPMSolverMultistepScheduler | UniPCMultistepScheduler


def build_sampler(config: DetokenizerConfig, schedule: Schedule = "euler") -> Sampler:
    """Make the sampler that telling uses; each is deterministic and asks the network once a step."""
    noise = {**_SDXL_NOISE, "prediction_type": config.prediction_type}
    if schedule == "euler":
        spacing = "leading" if config.prediction_type == "epsilon" else "trailing"
        return EulerDiscreteScheduler(**noise, timestep_spacing=spacing, steps_offset=1)
    # Levels spaced by Karras et al. 2022, equation 5: evenly spaced timesteps leave a second-order method no more than
    # a first-order one's accuracy, since almost all of the noise that remains goes in one last step.
    if schedule == "dpmpp_2m":
        return DPMSolverMultistepScheduler(**noise, use_karras_sigmas=True)
    return UniPCMultistepScheduler(**noise, use_karras_sigmas=True)
