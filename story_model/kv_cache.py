"""LLaMA's keys and values over a story that outgrows them: tokens are let go one by one, the rest is never recomputed.

What stays is selected in every layer. `positions` says where the survivors stand afterwards:

    slots      they close up, and each key is rotated by the distance it moved (StreamingLLM). The model then never sees
               a distance beyond the size of the cache, however long the story
    absolute   they stay where they were, with gaps

As long as nothing has been let go the two are the same.
"""

from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.cache_utils import Cache, DynamicLayer

Positions = Literal["slots", "absolute"]


class StoryCache(Cache):
    """Keys and values of one story, for a LLaMA's `past_key_values`; tokens are numbered from the story's first one."""

    def __init__(self, llama: LlamaForCausalLM, *, positions: Positions = "slots") -> None:
        """Start empty."""
        super().__init__(layers=[_Layer() for _ in range(llama.config.num_hidden_layers)])
        self._rotary_embedding = llama.model.rotary_emb
        self._positions = positions
        self._kept: list[int] = []
        self._next = 0

    @property
    def num_slots(self) -> int:
        """How many tokens are held."""
        return self.layers[0].num_slots

    @property
    def tokens(self) -> list[int]:
        """Numbers of the tokens that are held: those kept at the last eviction, and all since."""
        return [*self._kept, *range(self._next, self._next + self.num_slots - len(self._kept))]

    def keep(self, survivors: Collection[int]) -> None:
        """Let go of all tokens but these; numbers that are not held are passed over."""
        tokens, wanted = self.tokens, set(survivors)
        slots = [slot for slot, token in enumerate(tokens) if token in wanted]
        if len(slots) < len(tokens):
            self._select(torch.tensor(slots, dtype=torch.long))
            self._mark(kept=[tokens[slot] for slot in slots], following=tokens[-1] + 1)

    def drop_last(self, count: int) -> None:
        """Take the last tokens back as if they had not been said; their numbers are given anew."""
        tokens = self.tokens
        for layer in self.layers:
            layer.select(torch.arange(len(tokens) - count))
        self._mark(kept=tokens[: len(tokens) - count], following=tokens[len(tokens) - count])

    def _select(self, slots: Tensor) -> None:
        moved = torch.arange(len(slots)) - slots
        for layer in self.layers:
            layer.select(slots)
            if self._positions == "slots":
                layer.keys = rotate(layer.keys, moved, self._rotary_embedding)

    def _mark(self, *, kept: list[int], following: int) -> None:
        self._kept, self._next = kept, following
        for layer in self.layers:
            layer.num_gaps = following - len(kept) if self._positions == "absolute" else 0


class _Layer(DynamicLayer):
    """One layer; Transformers asks it where the next token stands and how many keys a query may see."""

    keys: Tensor
    values: Tensor
    num_gaps: int = 0
    """Positions up to the next token's that no slot fills."""

    @property
    def num_slots(self) -> int:
        return super().get_seq_length()

    def get_seq_length(self) -> int:
        return self.num_slots + self.num_gaps

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.num_slots + query_length, self.num_gaps

    def select(self, slots: Tensor) -> None:
        slots = slots.to(self.keys.device)
        self.keys, self.values = self.keys.index_select(2, slots), self.values.index_select(2, slots)


def rotate(keys_BHSD: Tensor, by_S: Tensor, rotary_embedding: nn.Module) -> Tensor:
    """Move keys that carry a rotary position by a number of positions each; rotations add up, so this is exact."""
    keys = keys_BHSD.float()
    cos, sin = rotary_embedding(keys, by_S[None].to(keys.device))
    scale = rotary_embedding.attention_scaling
    first, second = keys.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return ((keys * cos[:, None] + turned * sin[:, None]) / scale).to(keys_BHSD.dtype)
