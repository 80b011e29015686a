import re
from pathlib import Path

import pytest
import torch
from published import DETOKENIZER, ENCODER, MLLM, Published, old_names, trained_only
from torch import nn

from story_model.released.networks import Network, networks
from story_model.released.plans import Plan, fill, plan_detokenizer, plan_image_encoder, plan_mllm


def loaded(network: Network, plan: Plan, published: Published) -> nn.Module:
    module = network.on_meta(published.config)
    fill(module, plan)
    return module.eval()


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_published_encoder_gives_its_features(published: Published) -> None:
    published.write_encoder()
    network = networks(published.config)["image encoder"]
    encoder = loaded(network, plan_image_encoder(published.root / ENCODER, network.shapes(published.config)), published)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(encoder(pixels), published.encoder(pixels))


def test_the_encoder_is_taken_out_of_qwen_vls_shards(published: Published) -> None:
    published.write_qwen()
    network = networks(published.config)["image encoder"]
    plan = plan_image_encoder(published.root / "Qwen-VL-Chat", network.shapes(published.config))
    assert_same(loaded(network, plan, published), published.encoder)


def test_a_language_model_with_all_weights_loads(published: Published) -> None:
    path = published.save(MLLM, old_names(published.mllm))
    network = networks(published.config)["MLLM"]
    assert_same(loaded(network, plan_mllm(path, network.shapes(published.config)), published), published.mllm)


def test_trained_weights_alone_load_over_llama(published: Published) -> None:
    path = published.save(MLLM, trained_only(published.mllm))
    published.write_llama()
    network = networks(published.config)["MLLM"]
    shapes = network.shapes(published.config)
    plan = plan_mllm(path, shapes, base=published.root / "Llama-2-7b-hf")
    assert_same(loaded(network, plan, published), published.mllm)
    with pytest.raises(ValueError, match="Llama-2-7b-hf"):
        plan_mllm(path, shapes)


def test_an_adapted_detokenizer_loads_over_sdxls_unet(published: Published) -> None:
    state = published.detokenizer.state_dict()
    trained = {name: tensor for name, tensor in state.items() if re.match(r"resampler\.|.*\.to_[kv]\.weight", name)}
    path = published.save(DETOKENIZER, trained)
    published.write_unet()
    network = networks(published.config)["de-tokenizer"]
    base = published.root / "stable-diffusion-xl-base-1.0" / "unet"
    plan = plan_detokenizer(path, network.shapes(published.config), variant="seed-story", base=base)
    assert_same(loaded(network, plan, published), published.detokenizer)


def test_loading_converts_the_type_and_keeps_what_is_trainable(published: Published) -> None:
    path = published.save(MLLM, old_names(published.mllm))
    network = networks(published.config)["MLLM"]
    module = network.on_meta(published.config)
    fill(module, plan_mllm(path, network.shapes(published.config)), dtype=torch.bfloat16)
    expected = {name: parameter.requires_grad for name, parameter in published.mllm.named_parameters()}
    for name, parameter in module.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert parameter.requires_grad == expected[name], name
    assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])


def test_a_detokenizer_of_unknown_origin_is_refused(published: Published) -> None:
    path = published.save("somewhere/pytorch_model.bin", dict(published.detokenizer.state_dict()))
    shapes = networks(published.config)["de-tokenizer"].shapes(published.config)
    with pytest.raises(ValueError, match="--variant"):
        plan_detokenizer(path, shapes, variant=None)


def test_seed_xs_second_stage_is_refused(published: Published) -> None:
    state = dict(published.detokenizer.state_dict())
    state["unet.conv_in.weight"] = state["unet.conv_in.weight"].repeat(1, 2, 1, 1)
    path = published.save(DETOKENIZER, state)
    shapes = networks(published.config)["de-tokenizer"].shapes(published.config)
    with pytest.raises(ValueError, match="second stage"):
        plan_detokenizer(path, shapes, variant="seed-x")


def _broken(published: Published, change: str) -> Path:
    state = dict(published.encoder.state_dict())
    if change == "missing":
        del state["ln_pre.bias"]
    elif change == "unexpected":
        state["ln_pre.third"] = torch.zeros(1)
    elif change == "shape":
        state["proj"] = state["proj"][:-1]
    elif change == "another network":
        state = dict(published.detokenizer.state_dict())
    elif change == "NaN":
        state["proj"] = state["proj"].clone()
        state["proj"][0, 0] = torch.nan
    elif change == "type":
        state["proj"] = state["proj"].double()
    return published.save(ENCODER, state)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"lacks ln_pre\.bias"),
        ("unexpected", r"has also ln_pre\.third"),
        ("shape", r"proj is \(31, 32\), not \(32, 32\)"),
        ("another network", "de-tokenizer"),
        ("NaN", "no numbers"),
        ("type", "float64"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(published: Published, change: str, says: str) -> None:
    path = _broken(published, change)
    network = networks(published.config)["image encoder"]
    with pytest.raises(ValueError, match=says) as caught:
        fill(network.on_meta(published.config), plan_image_encoder(path, network.shapes(published.config)))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
