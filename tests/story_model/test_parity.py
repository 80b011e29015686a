"""Our networks against the published ones: same weights and inputs, same outputs, losses and gradients.

`STORY_PARITY_DIR` names a folder of other fixtures of the same form.
"""

import json
import os
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.detokenizer import Detokenizer, PerceiverResampler
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm, add_lora
from story_model.resampler import Resampler

PARITY_DIR = Path(os.environ.get("STORY_PARITY_DIR", Path(__file__).parents[1] / "data" / "parity"))
TOLERANCE = 1e-5


class Fixture:
    """One file of reference tensors."""

    def __init__(self, name: str) -> None:
        with safe_open(PARITY_DIR / f"{name}.safetensors", "pt") as file:
            self.config = json.loads(file.metadata()["config"])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict

    def group(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)}

    def load(self, module: nn.Module) -> None:
        module.load_state_dict(self.group("state"), strict=True)


def assert_equal(ours: Tensor, reference: Tensor) -> None:
    error = (ours - reference).norm() / reference.norm().clamp_min(1e-12)
    assert error < TOLERANCE, f"relative error {error:.1e}"


def assert_gradients_equal(module: nn.Module, fixture: Fixture) -> None:
    gradients = fixture.group("grad")
    parameters = dict(module.named_parameters())
    scale = max(gradient.norm() for gradient in gradients.values())
    assert gradients
    for name, reference in gradients.items():
        ours = parameters[name].grad
        assert ours is not None, name
        assert (ours - reference).norm() <= TOLERANCE * max(reference.norm(), 1e-3 * scale), name


def test_the_resampler_is_the_reference() -> None:
    fixture = Fixture("qwen_resampler")
    sizes = fixture.config
    module = Resampler(sizes["grid_size"], sizes["embed_dim"], sizes["num_heads"], kv_dim=sizes["kv_dim"])
    positions = module.pos_embed.clone()
    fixture.load(module)
    assert_equal(positions, module.pos_embed)
    assert_equal(module(fixture.tensors["in.x"]), fixture.tensors["out.y"])


def test_the_image_encoder_is_the_reference() -> None:
    fixture = Fixture("qwen_vit")
    sizes = dict(fixture.config)
    pool_heads = fixture.config.get("pool_heads", max(sizes["output_dim"] // 128, 1))
    sizes["num_queries"] = sizes.pop("n_queries")
    module = ImageEncoder(**sizes, pool_heads=pool_heads)
    fixture.load(module)
    assert_equal(module(fixture.tensors["in.pixels"]), fixture.tensors["out.features"])


def test_the_detokenizers_resampler_is_the_reference() -> None:
    fixture = Fixture("detokenizer_resampler")
    module = PerceiverResampler(**fixture.config)
    fixture.load(module)
    prompt, pooled = module(fixture.tensors["in.features"])
    assert_equal(prompt, fixture.tensors["out.prompt_embeds"])
    assert_equal(pooled, fixture.tensors["out.pooled_prompt_embeds"])


def test_the_detokenizer_and_its_gradients_are_the_reference() -> None:
    fixture = Fixture("sdxl_adapter")
    unet = UNet2DConditionModel(**fixture.config["unet"])
    module = Detokenizer(unet, PerceiverResampler(**fixture.config["resampler"]))
    fixture.load(module)
    given = fixture.group("in")
    predicted = module(given["noisy_latents"], given["timesteps"], given["features"], given["time_ids"])
    loss = nn.functional.mse_loss(predicted, given["noise"])
    loss.backward()
    assert_equal(predicted, fixture.tensors["out.noise_pred"])
    assert_equal(loss, fixture.tensors["out.loss"][0])
    assert_gradients_equal(module, fixture)


def test_the_language_model_and_its_gradients_are_the_reference() -> None:
    fixture = Fixture("mllm")
    llama = LlamaForCausalLM(LlamaConfig(**fixture.config["llama"]))
    lora = fixture.config["lora"]
    llm = add_lora(llama, rank=lora["r"], alpha=lora["lora_alpha"], dropout=lora["lora_dropout"])
    width, heads = fixture.config["llama"]["hidden_size"], 4
    resamplers = {side: Resampler(fixture.config[side]["grid_size"], width, heads) for side in SIDES}
    module = Mllm(llm, **resamplers)
    fixture.load(module)
    module.eval()
    given = fixture.group("in")
    out = module(
        input_ids_BS=given["input_ids"],
        labels_BS=given["labels"],
        image_features_NFD=given["image_features"],
        features_are_context_N=given["features_are_context"].bool(),
        features_are_target_N=given["features_are_target"].bool(),
        context_positions_BS=given["context_positions"].bool(),
        target_positions_BS=given["target_positions"].bool(),
        attention_mask_BS=given["attention_mask"],
    )
    (out.lm_loss + out.image_loss).backward()
    assert_equal(out.predicted_features, fixture.tensors["out.predicted_features"])
    assert_equal(out.lm_loss, fixture.tensors["out.lm_loss"][0])
    assert_equal(out.image_loss, fixture.tensors["out.image_loss"][0])
    assert_gradients_equal(module, fixture)


SIDES = ("input_resampler", "output_resampler")


if not PARITY_DIR.is_dir():
    pytest.skip(f"no folder {PARITY_DIR}", allow_module_level=True)
