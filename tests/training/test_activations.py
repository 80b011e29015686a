"""What is measured without numbers is what autograd really keeps."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from story_model.build import Vocabulary, build_detokenizer, build_image_encoder, build_llama, build_mllm
from story_model.config import load_config
from training.activations import (
    Activations,
    BatchActivations,
    growth,
    held,
    measure_activations,
    part_activations,
)
from training.flops import empty_detokenizer, empty_mllm, run_detokenizer, run_llama, story_text
from training.recomputation import recompute

TINY = load_config("tiny")
PARTS = ["image_encoder", "language_model", "stage1", "stage2", "stage3"]


def really_kept(network: nn.Module, run) -> int:
    """Count the bytes that autograd keeps on the CPU, each storage once, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    assert result.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def painted(detokenizer: nn.Module) -> Tensor:
    sizes, encoder = TINY.model.detokenizer, TINY.model.image_encoder
    side = sizes.picture_size // sizes.latent_factor
    latents = torch.randn(2, sizes.latent_channels, side, side)
    features = torch.randn(2, encoder.num_queries, encoder.output_dim)
    return detokenizer(latents, torch.ones(2), features, torch.ones(2, 6))


def test_the_de_tokenizer_keeps_what_it_is_measured_to_keep() -> None:
    real, empty = build_detokenizer(TINY.model), empty_detokenizer(TINY.model)
    kept = really_kept(real, lambda: painted(real))
    measured = measure_activations(empty, lambda: run_detokenizer(empty, TINY.model, 2), "float32")
    assert measured.saved == pytest.approx(kept, rel=0.01)


def test_the_image_encoder_keeps_what_it_is_measured_to_keep() -> None:
    real = build_image_encoder(TINY.model.image_encoder)
    side = TINY.model.image_encoder.image_size
    kept = really_kept(real, lambda: real(torch.rand(3, 3, side, side)))
    assert part_activations(TINY, "image_encoder", story_text(TINY)).of(3).saved == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_language_model_keeps_what_it_is_measured_to_keep(precision) -> None:
    words = Vocabulary(300, begin_of_story=1, end_of_story=2, pad=3)
    real = held(build_mllm(TINY.model, build_llama(TINY.model, words)), precision).train()
    empty = held(empty_mllm(TINY.model), precision).train()
    embeds = torch.randn(1, 96, TINY.model.mllm.language_model.hidden_size, requires_grad=True)

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return real.llama.model(inputs_embeds=embeds, use_cache=False).last_hidden_state

    measured = measure_activations(empty, lambda: run_llama(empty.llama, 96), precision)
    assert measured.saved == pytest.approx(really_kept(real, run), rel=0.01)


def test_weights_are_no_activations_but_their_rounded_copies_are_there_once() -> None:
    detokenizer = empty_detokenizer(TINY.model)

    def run(pictures: int) -> Tensor:
        return run_detokenizer(detokenizer, TINY.model, pictures)

    exact, _ = growth(detokenizer, run, "float32")
    rounded, _ = growth(detokenizer, run, "bfloat16")
    weights = sum(parameter.numel() for parameter in detokenizer.parameters())
    assert exact.saved < 0.05 * weights
    assert 2 * 0.95 * weights < rounded.saved < 2 * 1.05 * weights


def test_half_precision_saves_memory_but_not_half_of_it() -> None:
    detokenizer = empty_detokenizer(TINY.model)
    exact, rounded = (
        growth(detokenizer, lambda pictures: run_detokenizer(detokenizer, TINY.model, pictures), precision)[1].saved
        for precision in ("float32", "bfloat16")
    )
    assert exact / 2 < rounded < exact


def test_attention_leaves_nothing_that_grows_with_the_square_of_a_sequence() -> None:
    mllm = empty_mllm(TINY.model)
    short, long = (
        measure_activations(mllm, lambda tokens=tokens: run_llama(mllm.llama, tokens), "float32").saved
        for tokens in (512, 1024)
    )
    assert long == pytest.approx(2 * short, rel=0.01)


def test_a_frozen_weight_is_held_in_the_precision_of_the_arithmetic() -> None:
    mllm = held(empty_mllm(TINY.model), "bfloat16")
    assert {(parameter.requires_grad, parameter.dtype) for parameter in mllm.parameters()} == {
        (True, torch.float32),
        (False, torch.bfloat16),
    }


def test_full_checkpointing_keeps_what_lies_outside_of_blocks_and_what_they_are_given() -> None:
    real, empty = build_detokenizer(TINY.model).train(), empty_detokenizer(TINY.model)
    recompute(real, "full")
    measured = measure_activations(empty, lambda: run_detokenizer(empty, TINY.model, 2), "float32")
    outside = measured.saved - measured.in_blocks
    # What is first kept inside of a block and once more outside is missed.
    assert outside + measured.block_inputs == pytest.approx(really_kept(real, lambda: painted(real)), rel=0.06)


def test_the_image_encoder_has_nothing_to_run_again() -> None:
    kept = part_activations(TINY, "image_encoder", story_text(TINY)).of(4)
    assert kept.kept("full") == kept.kept("none")


@pytest.mark.parametrize("part", PARTS[1:])
def test_what_is_computed_again_is_not_kept(part) -> None:
    kept = part_activations(TINY, part, story_text(TINY)).of(4)
    none, selective, full = (kept.kept(checkpointing) for checkpointing in ("none", "selective", "full"))
    assert 0 < full < selective <= none


@pytest.mark.parametrize("part", PARTS)
def test_a_larger_micro_batch_keeps_more(part) -> None:
    measured = part_activations(TINY, part, story_text(TINY))
    assert measured.of(1).saved < measured.of(2).saved < measured.of(16).saved


def test_running_blocks_again_never_takes_more_than_keeping_all() -> None:
    one_block = Activations(saved=10, in_blocks=8, block_inputs=2, block_products=4, largest_block=8)
    assert [one_block.kept(checkpointing) for checkpointing in ("none", "selective", "full")] == [10, 10, 10]


def test_a_batch_is_what_is_there_once_and_what_each_sample_and_position_adds() -> None:
    batch = BatchActivations(Activations(1), Activations(10), Activations(100), lambda samples: samples * 5)
    assert batch.of(2).saved == 1 + 2 * 10 + 2 * 5 * 100
