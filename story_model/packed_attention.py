"""Attention over several sequences that lie in one row without padding, and over the blocks of all targets.

A row is cut into spans. A span sees itself causally and, where it is a block, the beginning of the stream that it
belongs to. Nothing else is computed: on a CPU each span is one call of `scaled_dot_product_attention` over what it
sees; on a GPU the row is one call of `flex_attention`, which skips all tiles in which nothing is seen. Masks are made
once a batch. Letters: B 1, H heads, S positions of the row, D width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import groupby
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention

_NAME = "packed"
_TILE = 128
"""Positions that `flex_attention` computes or skips together."""
_STRIP = 16
"""Rows of tiles whose mask is made at once."""


class Sequenced(Protocol):
    """What is known of the positions of one sequence; see `story_model.tokens.TrainingSample`."""

    @property
    def position_ids(self) -> Sequence[int]:
        """What the rotary embedding is told."""

    @property
    def blocks(self) -> Sequence[int]:
        """0 in the stream, which comes first; then the number of the block."""

    @property
    def last_seen(self) -> Sequence[int]:
        """Index of the last position of the stream that each one sees."""


@dataclass(frozen=True)
class Span:
    """Neighbouring positions that see the same beginning of a stream wholly, and themselves causally."""

    length: int
    stream: int
    """Number of the span that it sees the beginning of."""
    num_seen: int
    """How long that beginning is; none for a stream."""


@dataclass(frozen=True)
class Packing:
    """What each position of a row (1, S) sees, and where in its story it stands."""

    position_ids_BS: Tensor
    spans: tuple[Span, ...]
    """In the order of their positions; together the whole row."""

    def to(self, device: torch.device) -> "Packing":
        """Give a copy for tensors on a device."""
        return replace(self, position_ids_BS=self.position_ids_BS.to(device, non_blocking=True))

    @cached_property
    def masks(self) -> list[Tensor | None]:
        """What each span sees, (positions of the span, seen + positions of the span); none where plainly causal."""
        device = self.position_ids_BS.device
        return [
            torch.ones(span.length, span.num_seen + span.length, dtype=torch.bool, device=device).tril(span.num_seen)
            if span.num_seen
            else None
            for span in self.spans
        ]

    @cached_property
    def block_mask(self) -> BlockMask:
        """The same for `flex_attention`, of the whole row."""
        device, num_positions = self.position_ids_BS.device, self.position_ids_BS.shape[1]
        lengths = torch.tensor([span.length for span in self.spans])
        starts = lengths.cumsum(0) - lengths
        first_seen = starts[[span.stream for span in self.spans]]
        after_seen = first_seen + torch.tensor([span.num_seen for span in self.spans])
        start_S, first_S, after_S = (
            values.repeat_interleave(lengths).to(device) for values in (starts, first_seen, after_seen)
        )

        def sees(_batch: Tensor | None, _head: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
            of_itself = (key >= start_S[query]) & (key <= query)
            return of_itself | ((key >= first_S[query]) & (key < after_S[query]))

        # In strips, for a mask (S, S) of a long row would take gigabytes.
        every = torch.arange(num_positions, device=device)
        strips = [_tiles(sees(None, None, strip[:, None], every)) for strip in every.split(_STRIP * _TILE)]
        any_TT, all_TT = (torch.cat(tiles) for tiles in zip(*strips, strict=True))
        partial, full = _listed(any_TT & ~all_TT), _listed(all_TT)
        return BlockMask.from_kv_blocks(
            *partial, *full, BLOCK_SIZE=_TILE, mask_mod=sees, seq_lengths=(num_positions, num_positions)
        )


def _tiles(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Say of each tile of a strip whether anything in it is seen, and whether all is; what lies beyond is not."""
    padded = F.pad(seen, (0, -seen.shape[1] % _TILE, 0, -seen.shape[0] % _TILE))
    tiles = padded.unflatten(1, (-1, _TILE)).unflatten(0, (-1, _TILE)).transpose(1, 2).flatten(2)
    return tiles.any(2), tiles.all(2)


def _listed(chosen_TT: Tensor) -> tuple[Tensor, Tensor]:
    """Give for each row of tiles how many are chosen, and which, these first; of the one row and any head."""
    numbers = chosen_TT.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return chosen_TT.sum(1, dtype=torch.int32)[None, None], numbers.to(torch.int32)[None, None]


def pack(sequences: Sequence[Sequenced]) -> Packing:
    """Lay sequences one after the other in a row."""
    spans: list[Span] = []
    for sequence in sequences:
        stream, start = len(spans), 0
        for block, positions in groupby(sequence.blocks):
            length = len(list(positions))
            spans.append(Span(length, stream, sequence.last_seen[start] + 1 if block else 0))
            start += length
    position_ids = [position for sequence in sequences for position in sequence.position_ids]
    return Packing(torch.tensor([position_ids]), tuple(spans))


def attend_by_span(query: Tensor, key: Tensor, value: Tensor, packing: Packing, *, scaling: float) -> Tensor:
    """Attend span by span: (1, H, S, D) of queries, (1, fewer heads, S, D) of keys and values to (1, H, S, D)."""
    lengths = [span.length for span in packing.spans]
    queries, keys, values = (states.split(lengths, dim=2) for states in (query, key, value))
    attended = []
    for number, (span, mask) in enumerate(zip(packing.spans, packing.masks, strict=True)):
        seen_keys, seen_values = (
            torch.cat([states[span.stream][:, :, : span.num_seen], states[number]], dim=2)
            if span.num_seen
            else states[number]
            for states in (keys, values)
        )
        attended.append(
            F.scaled_dot_product_attention(
                queries[number],
                seen_keys,
                seen_values,
                attn_mask=mask,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(attended, dim=2)


def attend_by_tile(query: Tensor, key: Tensor, value: Tensor, packing: Packing, *, scaling: float) -> Tensor:
    """Do the same in one call that skips what nobody sees; slow but on a GPU."""
    attend = _compiled_flex_attention() if query.is_cuda else flex_attention
    is_grouped = query.shape[1] != key.shape[1]
    attended = attend(query, key, value, block_mask=packing.block_mask, scale=scaling, enable_gqa=is_grouped)
    return cast(Tensor, attended)


@cache
def _compiled_flex_attention() -> Any:  # noqa: ANN401 - flex_attention's own type says no more
    return torch.compile(flex_attention)


def packed_attention(
    _attention: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend within a packing, in the form that transformers calls: to (1, S, H, D)."""
    assert dropout == 0, "LLaMA has none"
    attend = attend_by_tile if query.is_cuda else attend_by_span
    # Under autocast the rotation leaves queries and keys in float32, and flex_attention wants all of one kind.
    query, key = query.to(value.dtype), key.to(value.dtype)
    return attend(query, key, value, packing, scaling=scaling).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, packed_attention)


class PackedLlamaAttention(LlamaAttention):
    """LLaMA's attention, that attends within a packing where it is handed one, and otherwise as it is configured."""

    def forward(self, *args: object, packing: Packing | None = None, **kwargs: object) -> tuple[Tensor, Tensor | None]:
        """Choose the attention for this call alone: so it is the same where a backward pass computes it again."""
        if packing is None:
            return super().forward(*args, **kwargs)
        configured = self.config._attn_implementation
        self.config._attn_implementation = _NAME
        try:
            return super().forward(*args, packing=packing, **kwargs)
        finally:
            self.config._attn_implementation = configured


def let_llama_attend_packed(llama: LlamaForCausalLM) -> None:
    """Have a LLaMA's layers take a `packing`; nothing changes for calls without one."""
    for layer in llama.model.layers:
        if type(layer.self_attn) is LlamaAttention:
            layer.self_attn.__class__ = PackedLlamaAttention
