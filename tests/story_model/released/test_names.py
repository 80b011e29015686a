import json
from pathlib import Path

import pytest

from story_model.released import names

RELEASED = Path(__file__).parents[2] / "data" / "parity" / "released_state_dicts.json"
LAYER = "llm.base_model.model.model.layers.3."


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        (f"{LAYER}self_attn.q_proj.weight", f"{LAYER}self_attn.q_proj.base_layer.weight"),
        (f"{LAYER}mlp.down_proj.base_layer.weight", f"{LAYER}mlp.down_proj.base_layer.weight"),
        (f"{LAYER}self_attn.q_proj.lora_A.default.weight", f"{LAYER}self_attn.q_proj.lora_A.default.weight"),
        (f"{LAYER}self_attn.rotary_emb.inv_freq", None),
        ("output_resampler.attn.out_proj.weight", "output_resampler.attn.out_proj.weight"),
    ],
)
def test_both_spellings_of_peft_are_understood(published: str, ours: str | None) -> None:
    assert names.of_mllm(published) == ours


def test_every_released_name_is_ours_already() -> None:
    released = json.loads(RELEASED.read_text())
    for name in released["agent pytorch_model.bin"]["state"]:
        assert names.of_mllm(name) == name
    for name in released["qwen_vit_G.pt"]["state"]:
        assert names.of_image_encoder(name) == name
        assert names.of_image_encoder(f"transformer.visual.{name}") == name


def test_llamas_own_names_go_below_the_trained_ones() -> None:
    layer = "model.layers.3."
    assert names.of_llama(f"{layer}mlp.up_proj.weight") == f"{LAYER}mlp.up_proj.base_layer.weight"
    assert names.of_llama(f"{layer}input_layernorm.weight") == f"{LAYER}input_layernorm.original_module.weight"
    assert names.of_llama("model.norm.weight") == "llm.base_model.model.model.norm.original_module.weight"
    assert names.of_llama("model.embed_tokens.weight") is None


def test_qwens_language_model_is_left_out() -> None:
    assert names.of_image_encoder("transformer.h.0.attn.c_attn.weight") is None
    assert names.of_image_encoder("lm_head.weight") is None


def test_old_attention_names_of_an_autoencoder_are_understood() -> None:
    old = "decoder.mid_block.attentions.0.proj_attn.bias"
    assert names.of_autoencoder(old) == "decoder.mid_block.attentions.0.to_out.0.bias"
    assert names.of_autoencoder("decoder.conv_in.weight") == "decoder.conv_in.weight"
