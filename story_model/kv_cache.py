"""LLaMA's keys and values over stories that outgrow them: tokens are let go one by one, the rest is never recomputed.

Room for several stories is taken beforehand; each fills as many slots of its row as it holds tokens, so that a pass may
read stories of different lengths, each at its own place. What stays of a story is gathered at the front of its row.
`positions` says where the survivors then stand:

    slots      they close up, and each key is rotated by the distance it moved (StreamingLLM). The model then never sees
               a distance beyond the size of the cache, however long the story
    absolute   they stay where they were, with gaps

As long as nothing has been let go the two are the same. Letters: B stories, A of them in a pass, S new tokens, T slots,
N new tokens of all stories, H heads, D width of a head.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.cache_utils import Cache

Positions = Literal["slots", "absolute"]

_FIRST_SLOTS = 64
_ALIGNED_SLOTS = 8
"""Capacities are multiples of it: heads then begin at aligned addresses, whatever the capacity."""


class StoryCache:
    """Keys and values of several stories; each story's tokens are numbered from its first one."""

    def __init__(
        self,
        llama: LlamaForCausalLM,
        *,
        num_stories: int = 1,
        positions: Positions = "slots",
        capacity: int = 0,
        limit: int | None = None,
    ) -> None:
        """Make room for `capacity` tokens of each story; it doubles when needed, up to `limit` if that is enough."""
        config = llama.config
        heads = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (num_stories, heads, _aligned(capacity), width)
        self.positions = positions
        self._llama = llama
        self._limit = limit
        self._tokens: list[list[int]] = [[] for _ in range(num_stories)]
        self._next = [0] * num_stories
        with torch.inference_mode(False):  # written to in inference mode and outside of it
            room = torch.zeros(shape, dtype=llama.dtype, device=llama.device)
            self._layers = [_Layer(room.clone(), room.clone()) for _ in llama.model.layers]
        self._placing: _Placing | None = None

    @property
    def num_stories(self) -> int:
        """How many stories there is room for."""
        return len(self._tokens)

    @property
    def capacity(self) -> int:
        """How many tokens of each story there is room for."""
        return min(layer.keys.shape[2] for layer in self._layers)

    @property
    def num_slots(self) -> list[int]:
        """How many tokens are held of each story."""
        return [len(tokens) for tokens in self._tokens]

    @property
    def num_bytes(self) -> int:
        """Bytes of all keys and values, filled or not."""
        return sum(held.numel() * held.element_size() for layer in self._layers for held in (layer.keys, layer.values))

    @property
    def tokens(self) -> list[list[int]]:
        """Numbers of the tokens that are held of each story."""
        return [list(tokens) for tokens in self._tokens]

    def read(self, embeds_ASD: Tensor, counts: Sequence[int]) -> Tensor:
        """Pass the next tokens of the first A stories through LLaMA; hidden states (A, S, D) after the final norm.

        Row by row, `counts` of the embeddings are tokens; what follows is padding, which leaves no trace. If the pass
        fails, no story has changed.
        """
        starts = self.num_slots[: len(counts)]
        self._reserve(max(start + count for start, count in zip(starts, counts, strict=True)))
        placing = _place(starts, counts, embeds_ASD.shape[1], embeds_ASD.device)
        offsets = [following - start for following, start in zip(self._next, starts, strict=False)]
        if self.positions == "slots":
            offsets = [0] * len(starts)
        self._placing = placing
        hidden = self._llama.model(
            inputs_embeds=embeds_ASD,
            attention_mask=self._mask(placing.last_seen_AS, placing.width, embeds_ASD.dtype),
            position_ids=placing.last_seen_AS + torch.tensor(offsets, device=embeds_ASD.device)[:, None],
            past_key_values=cast(Cache, self),
            use_cache=True,
        ).last_hidden_state
        for row, count in enumerate(counts):
            self._tokens[row] += range(self._next[row], self._next[row] + count)
            self._next[row] += count
        return cast(Tensor, hidden)

    def update(self, keys_AHSD: Tensor, values_AHSD: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Take in what a layer made of the new tokens, and give it all it may look at: (A, H, T, D) each.

        Transformers asks every cache for this, under this name.
        """
        assert self._placing is not None, "stories are read by `read`"
        return self._layers[layer].write(keys_AHSD, values_AHSD, self._placing)

    @torch.no_grad()
    def keep(self, survivors: Sequence[Collection[int]]) -> None:
        """Let go of all tokens but these, of each story; numbers that are not held are passed over."""
        wanted = [set(numbers) for numbers in survivors]
        slots = [
            [slot for slot, token in enumerate(tokens) if token in numbers]
            for tokens, numbers in zip(self._tokens, wanted, strict=True)
        ]
        if [len(kept) for kept in slots] == self.num_slots:
            return
        slots_BT = torch.arange(max(len(kept) for kept in slots)).repeat(len(slots), 1)
        for row, kept in enumerate(slots):
            slots_BT[row, : len(kept)] = torch.tensor(kept)
        moved_BT = torch.arange(slots_BT.shape[1]) - slots_BT
        rotary_embedding = self._llama.model.rotary_emb if self.positions == "slots" else None
        for layer in self._layers:
            layer.gather(slots_BT.to(layer.keys.device), moved_BT.to(layer.keys.device), rotary_embedding)
        self._tokens = [[self._tokens[row][slot] for slot in kept] for row, kept in enumerate(slots)]

    def drop_last(self, counts: Sequence[int]) -> None:
        """Take the last tokens of each story back as if they had not been said; their numbers are given anew."""
        for row, count in enumerate(counts):
            if count:
                self._next[row] = self._tokens[row][-count]
                del self._tokens[row][-count:]

    @torch.no_grad()
    def swap(self, one: int, other: int) -> None:
        """Exchange two stories' places."""
        width = max(self.num_slots[one], self.num_slots[other])
        for layer in self._layers:
            for held in (layer.keys, layer.values):
                aside = held[one, :, :width].clone()
                held[one, :, :width] = held[other, :, :width]
                held[other, :, :width] = aside
        self._tokens[one], self._tokens[other] = self._tokens[other], self._tokens[one]
        self._next[one], self._next[other] = self._next[other], self._next[one]

    @torch.inference_mode(False)
    @torch.no_grad()
    def shrink(self, num_stories: int) -> None:
        """Let go of all stories but the first ones, and of the room for them."""
        del self._tokens[num_stories:], self._next[num_stories:]
        for layer in self._layers:
            layer.keys, layer.values = layer.keys[:num_stories].clone(), layer.values[:num_stories].clone()

    def state(self, row: int) -> dict[str, Tensor]:
        """Hand out all that one story consists of here, on the CPU: keys and values are (layers, H, T, D)."""
        width = self.num_slots[row]
        return {
            "keys": torch.stack([layer.keys[row, :, :width].cpu() for layer in self._layers]),
            "values": torch.stack([layer.values[row, :, :width].cpu() for layer in self._layers]),
            "tokens": torch.tensor(self._tokens[row], dtype=torch.long),
            "cache": torch.tensor([self._next[row], self.capacity, int(self.positions == "slots")]),
        }

    @torch.no_grad()
    def restore(self, row: int, state: dict[str, Tensor]) -> None:
        """Put one story back as it was handed out.

        Raises:
            ValueError: it comes from another network, or its positions are of the other kind.
        """
        keys, values = state["keys"], state["values"]
        following, capacity, is_slots = state["cache"].tolist()
        first = self._layers[0].keys
        if (len(keys), keys.shape[1], keys.shape[3]) != (len(self._layers), first.shape[1], first.shape[3]):
            raise ValueError(f"a cache of shape {tuple(keys.shape)} is not this language model's; tell the story anew")
        if keys.dtype != first.dtype or bool(is_slots) != (self.positions == "slots"):
            raise ValueError("the cache was made with other precision or positions; tell the story anew")
        # Equal room means equal strides, and with them the same result to the bit.
        self._grow(max(capacity, keys.shape[2]))
        for layer, its_keys, its_values in zip(self._layers, keys, values, strict=True):
            layer.keys[row, :, : keys.shape[2]] = its_keys.to(first.device)
            layer.values[row, :, : keys.shape[2]] = its_values.to(first.device)
        self._tokens[row], self._next[row] = state["tokens"].tolist(), following

    def _reserve(self, needed: int) -> None:
        if needed > self.capacity:
            doubled = max(2 * self.capacity, _FIRST_SLOTS)
            self._grow(max(needed, doubled if self._limit is None else min(doubled, self._limit)))

    @torch.inference_mode(False)
    @torch.no_grad()
    def _grow(self, capacity: int) -> None:
        for layer in self._layers:
            layer.grow(_aligned(capacity))

    def _mask(self, last_seen_AS: Tensor, width: int, dtype: torch.dtype) -> Tensor:
        """Say which slots each new token sees, (A, 1, S, T): its story's, up to its own."""
        sees = torch.arange(width, device=last_seen_AS.device) <= last_seen_AS[:, None, :, None]
        if self._llama.config._attn_implementation == "sdpa":
            return sees
        return torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)


@dataclass(frozen=True)
class _Placing:
    """Where the new tokens of one pass go."""

    rows_N: Tensor
    queries_N: Tensor
    """Places in the pass, padding left out."""
    slots_N: Tensor
    last_seen_AS: Tensor
    """The slot of each new token; padding repeats its story's last one."""
    width: int
    """Slots that any story looks at."""
    same: range | None
    """The new slots, where they are the same for all stories and nothing is padding."""


def _place(starts: Sequence[int], counts: Sequence[int], num_new: int, device: torch.device) -> _Placing:
    starts_A, counts_A, new_S = torch.tensor(starts), torch.tensor(counts), torch.arange(num_new)
    rows_N, queries_N = (new_S < counts_A[:, None]).nonzero(as_tuple=True)
    is_same = len(set(starts)) == 1 and set(counts) == {num_new}
    return _Placing(
        rows_N.to(device),
        queries_N.to(device),
        (starts_A[rows_N] + queries_N).to(device),
        (starts_A[:, None] + torch.minimum(new_S, counts_A[:, None] - 1)).clamp_min(0).to(device),
        max(start + count for start, count in zip(starts, counts, strict=True)),
        range(starts[0], starts[0] + num_new) if is_same else None,
    )


class _Layer:
    """One layer's keys and values, (B, H, capacity, D) each."""

    def __init__(self, keys_BHTD: Tensor, values_BHTD: Tensor) -> None:
        self.keys = keys_BHTD
        self.values = values_BHTD

    @torch.no_grad()
    def write(self, keys_AHSD: Tensor, values_AHSD: Tensor, placing: _Placing) -> tuple[Tensor, Tensor]:
        seen = []
        for held, new in ((self.keys, keys_AHSD), (self.values, values_AHSD)):
            if placing.same is not None:
                held[: len(new), :, placing.same.start : placing.same.stop] = new
            else:
                held[placing.rows_N, :, placing.slots_N] = new[placing.rows_N, :, placing.queries_N].to(held.dtype)
            seen.append(held[: len(new), :, : placing.width])
        return seen[0], seen[1]

    def gather(self, slots_BT: Tensor, moved_BT: Tensor, rotary_embedding: nn.Module | None) -> None:
        """Bring slots to the front; with a rotary embedding their keys take the new positions."""
        index = slots_BT[:, None, :, None].expand(-1, self.keys.shape[1], -1, self.keys.shape[3])
        width = slots_BT.shape[1]
        keys = self.keys.gather(2, index)
        self.keys[:, :, :width] = keys if rotary_embedding is None else rotate(keys, moved_BT, rotary_embedding)
        self.values[:, :, :width] = self.values.gather(2, index)

    def grow(self, capacity: int) -> None:
        for name in ("keys", "values"):
            held = getattr(self, name)
            if held.shape[2] < capacity:
                larger = held.new_zeros((*held.shape[:2], capacity, held.shape[3]))
                larger[:, :, : held.shape[2]] = held
                setattr(self, name, larger)


def rotate(keys_BHTD: Tensor, by_BT: Tensor, rotary_embedding: nn.Module) -> Tensor:
    """Move keys that carry a rotary position by a number of positions each; rotations add up, so this is exact."""
    keys = keys_BHTD.float()
    cos, sin = rotary_embedding(keys, by_BT.to(keys.device))
    scale = rotary_embedding.attention_scaling
    first, second = keys.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return ((keys * cos[:, None] + turned * sin[:, None]) / scale).to(keys_BHTD.dtype)


def _aligned(capacity: int) -> int:
    return -(-capacity // _ALIGNED_SLOTS) * _ALIGNED_SLOTS
