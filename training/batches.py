"""Which samples a step sees, and stories as batches of token sequences.

Everything here is a pure function of (seed, step), so that a resumed run sees exactly what an uninterrupted one would.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from story_model.dataset import Story
from story_model.packed_attention import Packing, pack
from story_model.tokens import IGNORED, StoryTokenizer, all_targets_sample, training_sample

Item = TypeVar("Item")
_PARTS = 1 << 20
"""What a weight of 1 is divided into."""


def generator_of(seed: int, step: int) -> torch.Generator:
    """Give the random numbers of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def rows_of_step(
    num_samples: int, batch_size: int, *, seed: int, step: int, weights: Sequence[float] | None = None
) -> list[int]:
    """Choose the samples of a step: each epoch is a new permutation of all of them.

    With `weights`, one a sample, an epoch holds each sample about so many times: the next whole number below or above,
    chosen anew in each epoch.

    Raises:
        ValueError: there is no sample, or none with a weight.
    """
    if num_samples < 1:
        raise ValueError("no training sample; the dataset's train split holds no story of two pairs or more")
    length = num_samples if weights is None else _epoch_length(weights)
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {epoch: _order(num_samples, weights, seed, epoch) for epoch in {place // length for place in places}}
    return [int(orders[place // length][place % length]) for place in places]


def weights_of(chunks: Sequence[Story], subset_weights: Mapping[str, float]) -> list[float] | None:
    """Give each chunk its subset's weight, 1 where the subset has none; nothing where no subset has.

    Raises:
        ValueError: a weight is negative, or is that of a subset that no chunk is of.
    """
    unknown = subset_weights.keys() - {chunk.subset for chunk in chunks}
    wrong = sorted(unknown | {subset for subset, weight in subset_weights.items() if weight < 0})
    if wrong:
        raise ValueError(f"train.subset_weights: {', '.join(wrong)}: not a subset of the dataset, or below 0")
    return [subset_weights.get(chunk.subset, 1.0) for chunk in chunks] if subset_weights else None


def _order(num_samples: int, weights: Sequence[float] | None, seed: int, epoch: int) -> Tensor:
    """Give an epoch's samples; of a million, lists would take longer than the step."""
    drawn = None if weights is None else _drawn(weights, seed, epoch)
    length = num_samples if drawn is None else len(drawn)
    order = torch.randperm(length, generator=generator_of(seed + 1, epoch))
    return order if drawn is None else drawn[order]


def _epoch_length(weights: Sequence[float]) -> int:
    if sum(weights) <= 0:
        raise ValueError("no training sample has a weight above 0; see train.subset_weights")
    return max(1, round(sum(weights)))


def _drawn(weights: Sequence[float], seed: int, epoch: int) -> Tensor:
    """List each sample as often as an epoch holds it.

    Weights lie end to end on a line, equal ones in a random order, with a mark at each whole number: a sample is drawn
    as often as there are marks on its piece. So all epochs are of one length, which tells the epoch of a step, and hold
    the same share of each weight.
    """
    generator = generator_of(seed + 2, epoch)
    shuffled = torch.randperm(len(weights), generator=generator)
    weight, by_weight = torch.tensor(weights, dtype=torch.float64)[shuffled].sort(stable=True)
    order = shuffled[by_weight]
    # Whole numbers, for a sum of fractions that misses its end by a rounding error would cost an epoch a sample.
    ends = (weight.cumsum(0) * (_epoch_length(weights) / weight.sum()) * _PARTS).round().long()
    shift = torch.randint(_PARTS, (1,), generator=generator)
    counts = torch.empty_like(order)
    counts[order] = ((ends + shift) // _PARTS).diff(prepend=torch.zeros_like(shift))
    return torch.arange(len(weights)).repeat_interleave(counts)


@dataclass(frozen=True)
class StoryBatch:
    """Sequences in one row without padding (1, S), as `Mllm.forward` takes them, and the rows of their pictures."""

    input_ids_BS: Tensor
    labels_BS: Tensor
    context_positions_BS: Tensor
    target_positions_BS: Tensor
    features_are_context_N: Tensor
    features_are_target_N: Tensor
    features_NFD: Tensor
    """Of the pictures, sequence by sequence, in order of appearance."""
    packing: Packing
    num_samples: int
    """How many chunks it was made of."""

    @property
    def num_tokens(self) -> int:
        """How many positions the networks compute."""
        return self.input_ids_BS.numel()

    @property
    def num_padding(self) -> int:
        """How many of them belong to no sequence."""
        return self.num_tokens - sum(span.length for span in self.packing.spans)

    @cached_property
    def counts(self) -> dict[str, int]:
        """What each loss is a mean over: labelled positions that are scored, and target pictures."""
        # The first position of the row has nothing before it that could predict it.
        num_words = int((self.labels_BS[:, 1:] != IGNORED).sum())
        return {"word": num_words, "feature": int(self.features_are_target_N.sum())}

    @property
    def target_features(self) -> Tensor:
        """The true features of the target pictures."""
        return self.features_NFD[self.features_are_target_N]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> "StoryBatch":
        """Give a copy whose tensors lie on a device, features at a precision."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) for name, value in held.items() if isinstance(value, Tensor | Packing)}
        moved["features_NFD"] = self.features_NFD.to(device, dtype)
        return StoryBatch(**(held | moved))

    @property
    def inputs(self) -> dict[str, Tensor | Packing]:
        """The arguments of `Mllm.forward`."""
        return {
            "input_ids_BS": self.input_ids_BS,
            "labels_BS": self.labels_BS,
            "image_features_NFD": self.features_NFD,
            "features_are_context_N": self.features_are_context_N,
            "features_are_target_N": self.features_are_target_N,
            "context_positions_BS": self.context_positions_BS,
            "target_positions_BS": self.target_positions_BS,
            "packing": self.packing,
        }


def story_batch(
    chunks: Sequence[Story],
    targets: Sequence[int] | None,
    *,
    tokenizer: StoryTokenizer,
    features_of: Callable[[Sequence[str]], Tensor],
) -> StoryBatch:
    """Lay out chunk i up to and including pair `targets[i]`, which is to be predicted; without targets all pairs are.

    `features_of` gives the features (N, F, D) of pictures by their sha256.

    Raises:
        ValueError: a chunk has no pair at its target, or no pair before it.
    """
    if targets is None:
        samples = [all_targets_sample(tokenizer, list(chunk.captions)) for chunk in chunks]
        # The first picture is only context, the last one only a target, and all others are both.
        lengths = [len(chunk.captions) for chunk in chunks]
        is_target = [number > 0 for length in lengths for number in range(length)]
    else:
        samples = [
            training_sample(tokenizer, list(chunk.captions), target)
            for chunk, target in zip(chunks, targets, strict=True)
        ]
        lengths = [target + 1 for target in targets]
        is_target = [number == length - 1 for length in lengths for number in range(length)]
    is_context = [number < length - 1 for length in lengths for number in range(length)]
    return StoryBatch(
        input_ids_BS=_row(sample.input_ids for sample in samples),
        labels_BS=_row(sample.labels for sample in samples),
        context_positions_BS=_row(sample.context_positions for sample in samples),
        target_positions_BS=_row(sample.target_positions for sample in samples),
        features_are_context_N=torch.tensor(is_context),
        features_are_target_N=torch.tensor(is_target),
        features_NFD=features_of(
            [digest for chunk, length in zip(chunks, lengths, strict=True) for digest in chunk.image_sha256[:length]]
        ),
        packing=pack(samples),
        num_samples=len(samples),
    )


def _row(sequences: Iterable[Sequence[int] | Sequence[bool]]) -> Tensor:
    return torch.tensor([[*chain.from_iterable(sequences)]])


def random_target(chunk: Story, generator: torch.Generator) -> int:
    """Choose which pair of a chunk is to be predicted: any but the first, equally often (SEED-Story's prefix)."""
    return int(torch.randint(1, len(chunk.captions), (), generator=generator))


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
