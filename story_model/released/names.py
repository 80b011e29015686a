"""Published tensor names -> ours. Ours are those that the networks' modules and a current peft give."""

import re

from story_model.mllm import LORA_SAVED, LORA_TARGETS
from story_model.released.kinds import QWEN_PREFIX

WRAPPED = "llm.base_model.model."
"""What peft puts before LLaMA's names."""

UNET = "unet."
"""What stands before the UNet's names inside the de-tokenizer."""
VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")
"""LLaMA's tensors with a row for each token."""

_TARGET = re.compile(rf"(.*\.(?:{'|'.join(LORA_TARGETS)}))\.(weight|bias)")
_SAVED = re.compile(rf"((?:.*\.)?(?:{'|'.join(LORA_SAVED)}))\.weight")
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def of_image_encoder(name: str) -> str | None:
    """Name a tensor of `qwen_vit_G.pt` or of Qwen-VL's own files; none: it is no part of the encoder."""
    if name.startswith(QWEN_PREFIX):
        return name.removeprefix(QWEN_PREFIX)
    is_of_qwens_language_model = name.startswith(("transformer.", "lm_head.")) and "resblocks" not in name
    return None if is_of_qwens_language_model else name


def of_mllm(name: str) -> str | None:
    """Name a tensor of a SEED-Story language model; none: the position code's constant, which LLaMA makes itself.

    peft 0.4 calls a wrapped weight `X.weight`; today's calls it `X.base_layer.weight`.
    """
    if name.endswith("rotary_emb.inv_freq"):
        return None
    wrapped = _TARGET.fullmatch(name)
    return f"{wrapped[1]}.base_layer.{wrapped[2]}" if wrapped and name.startswith(WRAPPED) else name


def published_in_mllm(name: str) -> str:
    """Give one of our language model's tensors the name that peft 0.4 gave it."""
    return name.replace(".base_layer.", ".") if name.startswith(WRAPPED) else name


def of_llama(name: str) -> str | None:
    """Name a tensor of a plain LLaMA inside the language model; none: trained there, so that the base's is not used."""
    if name.endswith("rotary_emb.inv_freq") or name in VOCABULARY:
        return None
    if saved := _SAVED.fullmatch(name):
        return f"{WRAPPED}{saved[1]}.original_module.weight"
    return of_mllm(f"{WRAPPED}{name}")


def of_language_model(name: str) -> str | None:
    """Name a tensor of a plain LLaMA as itself; none: the position code's constant."""
    return None if name.endswith("rotary_emb.inv_freq") else name


def of_unet(name: str) -> str:
    """Name a tensor of SD-XL's UNet inside the de-tokenizer."""
    return f"{UNET}{name}"


def of_autoencoder(name: str) -> str:
    """Name a tensor of SD-XL's autoencoder; files of 2022 call its attention's projections otherwise."""
    *parents, owner, leaf = name.split(".")
    return ".".join([*parents, _OLD_ATTENTION.get(owner, owner), leaf]) if "attentions" in parents else name
