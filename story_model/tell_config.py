"""The telling section of the configuration: which stories are told, what the teller remembers, how it paints."""

from typing import Literal

from pydantic import Field

from story_model.section import Section
from story_model.train_config import Precision

Policy = Literal["dense", "window", "attention_sink", "multimodal_sink"]
Mode = Literal["free", "captions_given"]
Schedule = Literal["euler", "dpmpp_2m", "unipc"]


class CacheConfig(Section):
    """What the teller remembers (see `cache_policy.py`)."""

    window_segments: int = Field(8, ge=1)
    """Most recent picture-text pairs that are kept whole."""
    first_tokens: int = Field(4, ge=0)
    """Tokens at the very start that are always kept."""
    image_edge_tokens: int = Field(8, ge=0)
    """Image tokens kept next to each begin- and end-of-image token of an evicted pair (the begin and end included)."""
    text_edge_tokens: int = Field(0, ge=0)
    """Text tokens kept on the outer side of each begin- and end-of-image token of an evicted pair."""
    max_evicted_images: int | None = None
    """Evicted pictures whose edges are remembered; none: all of them."""


class SamplerConfig(Section):
    """How features become a picture."""

    schedule: Schedule = "euler"
    """How steps follow one another: Euler's method as published, or a second-order one that needs fewer of them."""
    steps: int = Field(50, ge=1, le=999)
    """Of the network's 1,000 levels of noise, how many are visited."""
    guidance: float = Field(7.5, ge=0)
    """Classifier-free guidance; 1 runs the conditional branch alone."""
    batch_size: int = Field(32, ge=1)
    """Pictures drawn at once, over segments and stories."""
    aspect: Literal["square", "source"] = "square"
    """`source` also writes each picture stretched to the shape of its story's opening; measured are the squares."""


class TellConfig(Section):
    """Long stories from validation openings."""

    stories: int = Field(8, ge=1)
    """Validation openings told from."""
    segments: int = Field(25, ge=1)
    """Picture-text pairs told after the opening."""
    batch_size: int = Field(8, ge=1)
    """Stories told at once; they share passes through the language model."""
    precision: Precision = "float32"
    """Of all networks but the autoencoder. Features, latents and pixels are float32 either way."""
    modes: tuple[Mode, ...] = ("captions_given", "free")
    """Who writes the text: the dataset, or the model."""
    policies: tuple[Policy, ...] = ("dense", "window", "attention_sink", "multimodal_sink")
    cache: CacheConfig = CacheConfig()
    max_text_tokens: int = Field(40, ge=1)
    """Longest text of one segment."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""
    sampler: SamplerConfig = SamplerConfig()
