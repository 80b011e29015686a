"""Packed sequences and all targets against one right-padded sequence a target: same losses, gradients and states."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.mllm import Mllm, MllmOutput, add_lora, trainable
from story_model.packed_attention import Packing, pack
from story_model.resampler import Resampler
from story_model.tokens import (
    IGNORED,
    StoryTokenizer,
    TrainingSample,
    all_targets_sample,
    train_tokenizer,
    training_sample,
)

WIDTH, NUM_IMAGE_TOKENS, NUM_FEATURES = 32, 4, 9
TEXT = "Pip the fox runs in the meadow while Luna the owl sleeps and Bolt the robot waves at Tiko"
CAPTIONS = [" ".join(TEXT.split()[number : number + 3 + number % 4]) for number in range(12)]
TOKENIZER = StoryTokenizer(train_tokenizer(CAPTIONS, vocab_size=280, num_image_tokens=NUM_IMAGE_TOKENS), 4)
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@dataclass(frozen=True)
class Told:
    """A story, and the features of its pictures."""

    captions: list[str]
    features: Tensor

    @classmethod
    def of_length(cls, num_pairs: int, seed: int = 0) -> "Told":
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(num_pairs, NUM_FEATURES, WIDTH, generator=generator)
        return cls(CAPTIONS[seed : seed + num_pairs], features)

    @property
    def targets(self) -> range:
        return range(1, len(self.captions))


def mllm_of(kv_heads: int = 4) -> Mllm:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
    )
    llm = add_lora(LlamaForCausalLM(config), rank=2, alpha=2, dropout=0.0)
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:  # zero at first, and then LoRA's other half has no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    return Mllm(llm, input_resampler=Resampler(2, WIDTH, 4), output_resampler=Resampler(3, WIDTH, 4)).train()


def pictures_of(stories: Sequence[tuple[Told, int]], *, all_targets: bool) -> dict[str, Tensor]:
    """Give the arguments about the pictures of stories up to a target."""
    numbers = [(number, target) for _, target in stories for number in range(target + 1)]
    return {
        "image_features_NFD": torch.cat([story.features[: target + 1] for story, target in stories]),
        "features_are_context_N": torch.tensor([number < target for number, target in numbers]),
        "features_are_target_N": torch.tensor(
            [number > 0 if all_targets else number == target for number, target in numbers]
        ),
    }


def padded(rows: list[list[int]], filler: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filler)


def positions_of(samples: list[TrainingSample]) -> dict[str, Tensor]:
    """Give the arguments about the positions, a sample a row."""
    return {
        "input_ids_BS": padded([sample.input_ids for sample in samples], TOKENIZER.pad),
        "labels_BS": padded([sample.labels for sample in samples], IGNORED),
        "context_positions_BS": padded([sample.context_positions for sample in samples], 0).bool(),
        "target_positions_BS": padded([sample.target_positions for sample in samples], 0).bool(),
    }


def packed_positions_of(samples: list[TrainingSample]) -> dict[str, Tensor | Packing]:
    rows = [positions_of([sample]) for sample in samples]
    return {name: torch.cat([row[name] for row in rows], dim=1) for name in rows[0]} | {"packing": pack(samples)}


def prefixes_of(stories: Sequence[tuple[Told, int]], *, is_packed: bool) -> dict[str, Tensor | Packing]:
    samples = [training_sample(TOKENIZER, story.captions, target) for story, target in stories]
    lay_out = packed_positions_of if is_packed else positions_of
    return lay_out(samples) | pictures_of(stories, all_targets=False)


def all_targets_of(stories: Sequence[Told]) -> dict[str, Tensor | Packing]:
    samples = [all_targets_sample(TOKENIZER, story.captions) for story in stories]
    whole = [(story, len(story.captions) - 1) for story in stories]
    return packed_positions_of(samples) | pictures_of(whole, all_targets=True)


def summed(out: MllmOutput, given: dict[str, Tensor | Packing]) -> list[Tensor]:
    """Make sums of the losses, which are means."""
    return [
        out.lm_loss * (given["labels_BS"][:, 1:] != IGNORED).sum(),
        out.image_loss * given["features_are_target_N"].sum(),
    ]


def gradients(mllm: Mllm, losses: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    named = trainable(mllm)
    # In proportion to the losses, so that a tolerance means the same for one target as for many.
    loss = losses[0] / losses[0].detach() + losses[1] / losses[1].detach()
    computed = torch.autograd.grad(loss, [parameter for _, parameter in named], allow_unused=True)
    return ((name, gradient) for (name, _), gradient in zip(named, computed, strict=True) if gradient is not None)


def assert_same_gradients(mllm: Mllm, ours: list[Tensor], theirs: list[Tensor]) -> None:
    ours_by_name, theirs_by_name = dict(gradients(mllm, ours)), dict(gradients(mllm, theirs))
    assert ours_by_name.keys() == theirs_by_name.keys()
    assert any("lora_A" in name for name in ours_by_name)
    for name, gradient in ours_by_name.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, theirs_by_name[name], **TOLERANCE, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_packed_sequences_have_the_losses_and_gradients_of_padded_ones(kv_heads: int) -> None:
    mllm = mllm_of(kv_heads)
    stories = [(Told.of_length(4, seed=1), 3), (Told.of_length(2, seed=2), 1), (Told.of_length(10), 5)]
    given = [prefixes_of(stories, is_packed=is_packed) for is_packed in (True, False)]
    packed, unpacked = (mllm(**each) for each in given)
    torch.testing.assert_close(packed.lm_loss, unpacked.lm_loss, **TOLERANCE)
    torch.testing.assert_close(packed.predicted_features, unpacked.predicted_features, **TOLERANCE)
    ours, theirs = (summed(out, each) for out, each in zip((packed, unpacked), given, strict=True))
    assert_same_gradients(mllm, ours, theirs)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("lengths", [[2], [3], [10], [10, 2, 3]], ids=str)
def test_all_targets_in_one_pass_are_the_sum_over_the_prefixes(lengths: list[int], kv_heads: int) -> None:
    mllm = mllm_of(kv_heads)
    stories = [Told.of_length(length, seed) for seed, length in enumerate(lengths)]
    given = all_targets_of(stories)
    ours = summed(mllm(**given), given)

    theirs = [torch.zeros(()), torch.zeros(())]
    for story in stories:
        for target in story.targets:
            single = prefixes_of([(story, target)], is_packed=False)
            theirs = [sum_ + loss for sum_, loss in zip(theirs, summed(mllm(**single), single), strict=True)]
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    assert_same_gradients(mllm, ours, theirs)


def test_a_picture_is_predicted_from_the_same_states_as_by_its_prefix() -> None:
    mllm = mllm_of()
    story = Told.of_length(10)
    together = mllm(**all_targets_of([story])).predicted_features
    for target, predicted in zip(story.targets, together, strict=True):
        alone = mllm(**prefixes_of([(story, target)], is_packed=False)).predicted_features
        torch.testing.assert_close(predicted[None], alone, **TOLERANCE)


@torch.no_grad()
def test_what_stands_in_a_block_changes_nothing_outside_of_it() -> None:
    mllm = mllm_of()
    sample = all_targets_sample(TOKENIZER, CAPTIONS[:4])
    packing = pack([sample])
    is_inside = torch.tensor(sample.blocks) == 2

    def hidden(ids: Tensor) -> Tensor:
        no_mask = torch.empty(1, 1, 0, 0)
        position_ids = packing.position_ids_BS
        return mllm.llama.model(ids, no_mask, position_ids, use_cache=False, packing=packing).last_hidden_state[0]

    ids = torch.tensor([sample.input_ids])
    before, after = hidden(ids), hidden(torch.where(is_inside, (ids + 7) % 200, ids))
    assert torch.equal(before[~is_inside], after[~is_inside])
    assert not torch.isclose(before[is_inside], after[is_inside]).all(dim=1).any()
