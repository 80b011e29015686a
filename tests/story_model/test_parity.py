"""Ours against the published system: same weights and inputs, same outputs, losses, gradients, samples and stories.

`STORY_PARITY_DIR` names a folder of other fixtures of the same form; every size is read from there.
"""

import io
import json
from typing import Any

from diffusers import UNet2DConditionModel
from parity import PARITY_DIR, TOLERANCE, Fixture, assert_equal, resamplers_of
from PIL import Image
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.config import DetokenizerConfig
from story_model.detokenizer import Detokenizer, PerceiverResampler, train_adaptation_only
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm, add_lora, trainable
from story_model.pixels import decode_square, detokenizer_square
from story_model.resampler import Resampler
from story_model.tokens import IGNORED, load_tokenizer, training_sample


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
    module = Mllm(llm, **resamplers_of(fixture.config))
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


def test_stage_2_trains_what_the_published_one_trains() -> None:
    fixture = Fixture("mllm")
    lora = fixture.config["lora"]
    llama = LlamaForCausalLM(LlamaConfig(**fixture.config["llama"]))
    llm = add_lora(llama, rank=lora["r"], alpha=lora["lora_alpha"], dropout=lora["lora_dropout"])
    module = Mllm(llm, **resamplers_of(fixture.config))
    assert sorted(name for name, _ in trainable(module)) == sorted(fixture.config["trainable"])


def test_stage_3_trains_what_the_published_one_trains() -> None:
    fixture = Fixture("sdxl_adapter")
    unet = UNet2DConditionModel(**fixture.config["unet"])
    module = Detokenizer(unet, PerceiverResampler(**fixture.config["resampler"]))
    train_adaptation_only(module)
    found = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert sorted(found) == sorted(fixture.config["trainable"])


def test_training_samples_are_the_published_ones() -> None:
    golden = samples()
    tokenizer = load_tokenizer(PARITY_DIR / "tokenizer" / "tokenizer.json", golden["image_tokens"])
    for case in golden["cases"]:
        num_pictures = sum(case["embeds_cmp_mask"]) + sum(case["embeds_gen_mask"])
        sample = training_sample(tokenizer, golden["captions"], num_pictures - 1)
        length = len(sample.input_ids)
        assert sample.input_ids == case["input_ids"][:length]
        assert sample.labels == case["labels"][:length]
        assert sample.context_positions == [bool(flag) for flag in case["ids_cmp_mask"][:length]]
        assert sample.target_positions == [bool(flag) for flag in case["ids_gen_mask"][:length]]
        assert set(case["labels"][length:]) <= {IGNORED}
    assert golden["cases"]


def test_size_ids_are_the_published_ones_with_their_exchanged_offsets_put_right() -> None:
    golden = samples()
    picture = io.BytesIO()
    Image.new("RGB", tuple(golden["image_size"])).save(picture, "PNG")
    square = detokenizer_square(DetokenizerConfig(picture_size=golden["sd_image_size"], transform="crop"))
    for case in golden["cases"]:
        # The published crop hands out (height, width) and is unpacked as (width, height), so that left is computed
        # from the height: the fixture says that a wide picture was cut at the top. SD-XL wants top, then left.
        height, width, left, top, *target = case["time_ids"]
        assert decode_square(picture.getvalue(), square).size_ids == (height, width, top, left, *target)
    assert golden["cases"]


def samples() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PARITY_DIR / "stage2_samples.json").read_text())
    return found
