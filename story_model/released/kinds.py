"""Which network a published file belongs to, told by the names in it, and where SEED-Story's README puts it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

Kind = Literal["image encoder", "MLLM", "de-tokenizer", "LLaMA", "SD-XL UNet", "autoencoder", "other"]
Variant = Literal["seed-story", "seed-x"]

QWEN_PREFIX = "transformer.visual."
"""Of the image encoder inside Qwen-VL's own files."""


@dataclass(frozen=True)
class Place:
    """Where a published part is to be found."""

    kind: Kind
    source: str
    """Who publishes it."""
    path: str
    """Where it is expected; other places are found as well."""
    is_base: bool = False
    """Whether it is needed only where another file holds trained weights alone."""
    other_paths: tuple[str, ...] = ()
    """Where the same weights lie inside something larger."""


PLACES = (
    Place(
        "image encoder",
        "TencentARC/SEED-Story or Qwen/Qwen-VL-Chat",
        "visual_tokenizer/qwen_vit_G.pt",
        other_paths=("Qwen-VL-Chat",),
    ),
    Place("MLLM", "TencentARC/SEED-Story", "seed_story/george_sft/pytorch_model.bin"),
    Place(
        "de-tokenizer",
        "TencentARC/SEED-Story",
        "detokenizer/detokenizer_george_adapted/checkpoint-4000/pytorch_model.bin",
    ),
    Place("autoencoder", "stabilityai/stable-diffusion-xl-base-1.0", "stable-diffusion-xl-base-1.0/vae"),
    Place("LLaMA", "meta-llama/Llama-2-7b-hf", "Llama-2-7b-hf", is_base=True),
    Place("SD-XL UNet", "stabilityai/stable-diffusion-xl-base-1.0", "stable-diffusion-xl-base-1.0/unet", is_base=True),
)
TOKENIZER_PLACE = Place("other", "TencentARC/SEED-Story", "cvlm_llama2_tokenizer")

_SIGNS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("image encoder", frozenset({"conv1.weight", "attn_pool.query"})),
    ("image encoder", frozenset({f"{QWEN_PREFIX}conv1.weight", f"{QWEN_PREFIX}attn_pool.query"})),
    ("MLLM", frozenset({"input_resampler.query", "output_resampler.query"})),
    ("de-tokenizer", frozenset({"resampler.latents"})),
    ("LLaMA", frozenset({"model.embed_tokens.weight", "model.norm.weight"})),
    ("SD-XL UNet", frozenset({"conv_in.weight", "add_embedding.linear_1.weight"})),
    ("autoencoder", frozenset({"encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"})),
)
"""Names that all must be there."""


def kind_of(names: Collection[str]) -> Kind:
    """Tell what network a set of tensor names belongs to."""
    found = set(names)
    return next((kind for kind, signs in _SIGNS if signs <= found), "other")


def variant_of(path: PurePath) -> Variant | None:
    """Tell whose de-tokenizer lies at a path; none where the published folder names do not say.

    SEED-X's has the same names and shapes and wants other features, so that nothing inside the file tells.
    """
    parts = set(path.parts)
    if parts & {"seed_detokenizer", "first_stage", "second_stage"}:
        return "seed-x"
    if parts & {"detokenizer_pretrained", "detokenizer_george_adapted"}:
        return "seed-story"
    return None
