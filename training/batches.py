"""Which samples a step sees, and stories as batches of token sequences.

Everything here is a pure function of (seed, step), so that a resumed run sees exactly what an uninterrupted one would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from story_model.dataset import Story
from story_model.tokens import IGNORED, StoryTokenizer, training_sample
from training.pictures import Pictures

Item = TypeVar("Item")


def generator_of(seed: int, step: int) -> torch.Generator:
    """Give the random numbers of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def rows_of_step(num_samples: int, batch_size: int, *, seed: int, step: int) -> list[int]:
    """Choose the samples of a step: each epoch is a new permutation of all of them.

    Raises:
        ValueError: there is no sample.
    """
    if num_samples < 1:
        raise ValueError("no training sample; the dataset's train split holds no story of two pairs or more")
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _order(num_samples, seed, epoch) for epoch in {place // num_samples for place in places}}
    return [orders[place // num_samples][place % num_samples] for place in places]


def _order(num_samples: int, seed: int, epoch: int) -> list[int]:
    return torch.randperm(num_samples, generator=generator_of(seed + 1, epoch)).tolist()


@dataclass(frozen=True)
class StoryBatch:
    """Right-padded sequences, as `Mllm.forward` takes them, and the rows of their pictures."""

    input_ids_BS: Tensor
    labels_BS: Tensor
    context_positions_BS: Tensor
    target_positions_BS: Tensor
    features_are_context_N: Tensor
    features_are_target_N: Tensor
    picture_rows: list[int]
    """Row of each picture, sequence by sequence, in order of appearance."""

    @property
    def num_samples(self) -> int:
        """How many chunks it was made of."""
        return len(self.input_ids_BS)

    @property
    def counts(self) -> dict[str, int]:
        """What each loss is a mean over: labelled positions that are scored, and target pictures."""
        # The first position of a sequence has nothing before it that could predict it.
        num_words = int((self.labels_BS[:, 1:] != IGNORED).sum())
        return {"word": num_words, "feature": int(self.features_are_target_N.sum())}

    def to(self, device: torch.device) -> "StoryBatch":
        """Give a copy whose tensors lie on a device."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device, non_blocking=True) for name, value in held.items() if torch.is_tensor(value)}
        return replace(self, **moved)

    def inputs(self, features: Tensor) -> dict[str, Tensor]:
        """Give the arguments of `Mllm.forward`, the pictures taken from `features` (rows, F, D)."""
        return {
            "input_ids_BS": self.input_ids_BS,
            "labels_BS": self.labels_BS,
            "image_features_NFD": features[self.picture_rows],
            "features_are_context_N": self.features_are_context_N,
            "features_are_target_N": self.features_are_target_N,
            "context_positions_BS": self.context_positions_BS,
            "target_positions_BS": self.target_positions_BS,
        }


def story_batch(
    chunks: Sequence[Story], targets: Sequence[int], *, tokenizer: StoryTokenizer, pictures: Pictures
) -> StoryBatch:
    """Lay out chunk i up to and including pair `targets[i]`, which is to be predicted."""
    samples = [
        training_sample(tokenizer, list(chunk.captions), target) for chunk, target in zip(chunks, targets, strict=True)
    ]
    is_target = [number == target for target in targets for number in range(target + 1)]
    return StoryBatch(
        input_ids_BS=padded([sample.input_ids for sample in samples], tokenizer.pad),
        labels_BS=padded([sample.labels for sample in samples], IGNORED),
        context_positions_BS=padded([sample.context_positions for sample in samples], 0).bool(),
        target_positions_BS=padded([sample.target_positions for sample in samples], 0).bool(),
        features_are_context_N=~torch.tensor(is_target),
        features_are_target_N=torch.tensor(is_target),
        picture_rows=[
            row for chunk, target in zip(chunks, targets, strict=True) for row in pictures.rows_of(chunk)[: target + 1]
        ],
    )


def random_targets(chunks: Sequence[Story], generator: torch.Generator) -> list[int]:
    """Choose for each chunk which pair is to be predicted: any but the first, equally often (SEED-Story's prefix)."""
    return [int(torch.randint(1, len(chunk.captions), (), generator=generator)) for chunk in chunks]


def every_target(chunks: Sequence[Story]) -> list[tuple[Story, int]]:
    """List all (chunk, target) pairs."""
    return [(chunk, target) for chunk in chunks for target in range(1, len(chunk.captions))]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Choose `count` items evenly over all of them (all, where there are fewer), always the same ones."""
    chosen = min(count, len(items))
    return [items[number * len(items) // chosen] for number in range(chosen)]


def padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Stack sequences of different lengths to (B, longest), filled up on the right."""
    longest = max(len(row) for row in rows)
    tensors = (torch.tensor(row, dtype=torch.long) for row in rows)
    return torch.stack([F.pad(row, (0, longest - len(row)), value=filler) for row in tensors])
