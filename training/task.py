"""What a part is trained on: the form in which a stage hands its data and losses to the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from story_model.seeds import seed_of

Losses = dict[str, Tensor]
"""Means, by name; their sum is what is minimised."""


@dataclass(frozen=True)
class Draw:
    """One sample of a step: which one, and its own random numbers.

    They belong to the sample's place in the step's batch, whatever process or micro-batch it falls to.
    """

    row: int
    seed: int

    def generator(self) -> torch.Generator:
        """Give the sample's random numbers from their beginning."""
        return torch.Generator().manual_seed(self.seed)


def draws_of(rows: Sequence[int], *, seed: int, step: int) -> list[Draw]:
    """Give the rows of a step their random numbers."""
    return [Draw(row, seed_of(seed, step, place)) for place, row in enumerate(rows)]


class Batch(Protocol):
    """Samples ready for the network."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many things each loss is a mean over; batches are weighted by it where they are added up."""
        ...

    @property
    def num_tokens(self) -> int:
        """Positions that the network is shown, for the pace."""
        ...

    def to(self, device: torch.device) -> Self:
        """Move it."""
        ...


BatchT = TypeVar("BatchT", bound=Batch)


class Task(Protocol[BatchT]):
    """One part's data and losses."""

    @property
    def num_samples(self) -> int:
        """Samples of an epoch."""
        ...

    @property
    def weights(self) -> Sequence[float] | None:
        """How often each sample is drawn in an epoch, 1 on average; none: once each."""
        ...

    def batch(self, draws: Sequence[Draw]) -> BatchT:
        """Lay samples out; a pure function of the draws, called in a thread of its own."""
        ...

    def losses(self, network: nn.Module, batch: BatchT) -> Losses:
        """Run the network over a batch."""
        ...
