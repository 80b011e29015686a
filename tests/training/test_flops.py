"""Work counted without numbers is the work that is done with them, and at full size the published system's."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from story_model.build import (
    Vocabulary,
    build_autoencoder,
    build_detokenizer,
    build_image_encoder,
    build_llama,
    build_mllm,
)
from story_model.config import RunConfig, load_config
from story_model.detokenizer import train_adaptation_only
from training.flops import (
    Flops,
    autoencoder_flops,
    count_apart,
    detokenizer_flops,
    empty_autoencoder,
    empty_detokenizer,
    empty_image_encoder,
    empty_llama,
    empty_mllm,
    frozen,
    image_encoder_flops,
    llama_flops,
    mllm_flops,
    run_detokenizer,
    sample_flops,
    stage_flops_per_sample,
    story_text,
)
from training.story_shape import SequenceShape, mean_prefix_shape

TINY = load_config("tiny")
PUBLISHED = load_config("seed-story-7b")


def really(run) -> Flops:
    """Count a pass with numbers on the CPU, attention in plain matrix products."""
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as ahead:
            result = run()
        with FlopCounterMode(display=False) as back:
            result.sum().backward()
    return Flops(ahead.get_total_flops(), back.get_total_flops())


def real_detokenizer(adapts: bool) -> nn.Module:
    detokenizer = build_detokenizer(TINY.model)
    if adapts:
        train_adaptation_only(detokenizer)
    return detokenizer


def paint(detokenizer: nn.Module, pictures: int) -> Tensor:
    sizes = TINY.model.detokenizer
    side = sizes.picture_size // sizes.latent_factor
    latents = torch.randn(pictures, sizes.latent_channels, side, side)
    features = torch.randn(pictures, TINY.model.image_encoder.num_queries, TINY.model.image_encoder.output_dim)
    return detokenizer(latents, torch.ones(pictures), features, torch.ones(pictures, 6))


def tera(flops: float) -> float:
    return flops / 1e12


# ----------------------------------------------------------------------------------------- tiny, against real passes


@pytest.mark.parametrize("part", ["stage1", "stage3"])
def test_the_de_tokenizer_costs_what_a_real_pass_costs(part) -> None:
    counted = detokenizer_flops(empty_detokenizer(TINY.model, part), TINY.model, pictures=2)
    assert counted == really(lambda: paint(real_detokenizer(part == "stage3"), 2))


def test_two_pictures_cost_twice_one() -> None:
    detokenizer = empty_detokenizer(TINY.model)
    one, two = (detokenizer_flops(detokenizer, TINY.model, pictures).total for pictures in (1, 2))
    assert two == pytest.approx(2 * one, rel=1e-3)


def test_the_image_encoder_costs_what_a_real_pass_costs() -> None:
    real = build_image_encoder(TINY.model.image_encoder)
    side = TINY.model.image_encoder.image_size
    assert image_encoder_flops(empty_image_encoder(TINY.model)) == really(lambda: real(torch.rand(1, 3, side, side)))


def test_the_linear_autoencoder_costs_what_a_real_pass_costs() -> None:
    real = build_autoencoder(TINY.model.detokenizer)
    side = TINY.model.detokenizer.picture_size
    with FlopCounterMode(display=False) as counter:
        real.encode(torch.rand(1, 3, side, side))
    assert autoencoder_flops(empty_autoencoder(TINY.model), TINY.model).forward == counter.get_total_flops()


def test_the_language_model_costs_what_a_real_training_pass_costs() -> None:
    sizes, image_tokens = TINY.model.mllm.language_model, TINY.model.mllm.num_image_tokens
    words = Vocabulary(sizes.vocab_size + image_tokens + 3, begin_of_story=1, end_of_story=2, pad=3)
    mllm = build_mllm(TINY.model, build_llama(TINY.model, words))
    tokens, context, scored = 60, 1, 11  # the queries of a resampler are projected once for all of its pictures
    positions = torch.arange(tokens)[None]
    labels = torch.where(positions > tokens - 1 - scored, 5, -100)
    inputs = {
        "input_ids_BS": torch.ones(1, tokens, dtype=torch.long),
        "labels_BS": labels,
        "image_features_NFD": torch.randn(2, TINY.model.image_encoder.num_queries, sizes.hidden_size),
        "features_are_context_N": torch.tensor([True, False]),
        "features_are_target_N": torch.tensor([False, True]),
        "context_positions_BS": (positions >= 1) & (positions < 1 + context * image_tokens),
        "target_positions_BS": (positions >= 30) & (positions < 30 + image_tokens),
    }

    def run() -> Tensor:
        out = mllm(**inputs)
        return out.lm_loss + out.image_loss

    # The plain pass on a CPU computes hidden pairs as well: all tokens squared.
    shape = SequenceShape(tokens, tokens**2, scored, context_pictures=context, target_pictures=1)
    counted, real = mllm_flops(empty_mllm(TINY.model), TINY.model).of(shape), really(run)
    assert counted.forward == pytest.approx(real.forward, rel=1e-6)
    assert counted.backward == pytest.approx(real.backward, rel=1e-6)


def test_what_is_frozen_costs_a_backward_pass_half_as_much() -> None:
    whole = llama_flops(empty_llama(TINY.model)).token
    assert whole.backward == pytest.approx(2 * whole.forward)
    adapted = mllm_flops(empty_mllm(PUBLISHED.model), PUBLISHED.model).token
    assert adapted.forward < adapted.backward < 1.02 * adapted.forward


def test_nothing_flows_back_through_what_is_frozen_whole() -> None:
    assert mllm_flops(frozen(empty_mllm(TINY.model)), TINY.model).token.backward == 0


# ------------------------------------------------------------------------------- full size, against published figures


@cache
def sample(part: str, sequences: str = "all_targets"):
    config = load_config("seed-story-7b", [f"train.stage2.sequences={sequences}"])
    return sample_flops(config, part, story_text(config), stored_features=False)


def test_the_encoder_of_qwen_takes_4_22_teraflop_a_picture() -> None:
    assert tera(image_encoder_flops(frozen(empty_image_encoder(PUBLISHED.model))).forward) == pytest.approx(
        4.22, rel=0.01
    )


def test_the_autoencoder_of_sdxl_takes_4_88_teraflop_a_picture() -> None:
    assert tera(
        autoencoder_flops(frozen(empty_autoencoder(PUBLISHED.model)), PUBLISHED.model).forward
    ) == pytest.approx(4.88, rel=0.01)


def test_the_unet_of_sdxl_takes_6_75_teraflop_and_6_0_without_attention() -> None:
    detokenizer = frozen(empty_detokenizer(PUBLISHED.model))
    whole, attention = count_apart(lambda: run_detokenizer(detokenizer, PUBLISHED.model, 1))
    assert tera(whole.forward) == pytest.approx(6.75, rel=0.01)
    assert tera(whole.forward - attention.forward) == pytest.approx(6.0, rel=0.01)


def test_a_position_of_llama_with_its_head_takes_13_2_gigaflop() -> None:
    counted = mllm_flops(frozen(empty_mllm(PUBLISHED.model)), PUBLISHED.model)
    assert (counted.token.forward + counted.scored.forward) / 1e9 == pytest.approx(13.2, rel=0.01)


def test_all_targets_take_5_2_teraflop_each() -> None:
    # Reckoned beforehand at 5.5 for 1,808 positions; the layout has 1,676: the last picture is nobody's context.
    assert tera(sample("stage2").trained.total) / 9 == pytest.approx(5.2, rel=0.01)


def test_a_prefix_takes_19_teraflop_and_with_its_pictures_features_25() -> None:
    # The features of ten pictures, made once, over six epochs.
    counted = sample("stage2", "prefix")
    assert tera(counted.trained.total) == pytest.approx(18.8, rel=0.02)
    assert tera(counted.trained.total + 10 * counted.frozen / 6 / 6) == pytest.approx(25.6, rel=0.02)


def test_the_published_stage_2_encodes_a_sample_s_pictures_for_25_teraflop() -> None:
    assert tera(sample("stage2", "prefix").frozen) == pytest.approx(6 * 4.22, rel=0.01)


def test_stage_3_costs_15_teraflop_a_sample_where_all_is_stored() -> None:
    # Reckoned beforehand at 58 for four samples.
    assert tera(sample("stage3").trained.total) * 4 == pytest.approx(58, rel=0.03)


def test_latents_that_are_not_stored_cost_stage_3_a_third_more() -> None:
    counted = sample("stage3")
    assert counted.frozen / counted.trained.total == pytest.approx(4.88 / 14.8, rel=0.02)


def test_stage_1_s_backward_pass_costs_twice_its_forward_pass() -> None:
    counted = sample("stage1").trained
    assert counted.backward == pytest.approx(2 * counted.forward, rel=0.01)


# --------------------------------------------------------------------------------------------------- what the loop asks


@pytest.mark.parametrize("part", ["image_encoder", "language_model", "stage1", "stage2", "stage3"])
def test_stored_features_save_the_frozen_networks_work(part) -> None:
    stored, anew = (stage_flops_per_sample(TINY, part, stored_features=stored) for stored in (True, False))
    assert 0 < stored < anew or (part in {"image_encoder", "language_model"} and stored == anew)


def test_a_prefix_costs_less_than_all_targets_and_more_than_one_of_them() -> None:
    prefix = stage_flops_per_sample(_with("train.stage2.sequences=prefix"), "stage2")
    every = stage_flops_per_sample(_with("train.stage2.sequences=all_targets"), "stage2")
    assert every / 9 < prefix < every


def test_longer_captions_cost_more() -> None:
    assert stage_flops_per_sample(TINY, "stage2", caption_tokens=90) > stage_flops_per_sample(TINY, "stage2")


def test_a_chunk_s_pictures_are_each_encoded_once_where_all_are_targets() -> None:
    text = story_text(TINY)
    seen = image_encoder_flops(empty_image_encoder(TINY.model)).forward
    assert sample_flops(TINY, "stage2", text, stored_features=False).frozen == 10 * seen
    prefix = sample_flops(_with("train.stage2.sequences=prefix"), "stage2", text, stored_features=False)
    assert prefix.frozen == mean_prefix_shape(text).pictures * seen


def _with(*overrides: str) -> RunConfig:
    return load_config("tiny", overrides)
