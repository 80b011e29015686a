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
        moves = self._moves(slots)
        if moves is not None:
            for layer in self._layers:
                layer.move(moves)
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

    def _moves(self, slots: Sequence[Sequence[int]]) -> "_Moves | None":
        """Say how survivors close up, given their slots; none if only last ones are let go."""
        firsts = [next((place for place, slot in enumerate(kept) if slot != place), len(kept)) for kept in slots]
        first, last = min(firsts), max(map(len, slots))
        if all(first == len(kept) for first, kept in zip(firsts, slots, strict=True)):
            return None
        padded = [[*kept[first:], *range(max(first, len(kept)), last)] for kept in slots]
        device = self._layers[0].keys.device
        slots_BT = torch.tensor(padded, device=device)
        if self.positions == "absolute":
            return _Moves(first, slots_BT)
        moved_BT = torch.arange(first, last, device=device) - slots_BT
        return _Moves(first, slots_BT, _turn(moved_BT, self._llama.model.rotary_emb))

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

    def move(self, moves: "_Moves") -> None:
        num_stories, heads, capacity, width = self.keys.shape
        starts = torch.arange(num_stories * heads, device=self.keys.device).view(num_stories, heads, 1) * capacity
        # One row of D numbers a token and head: by far the fastest way to gather them.
        rows = (starts + moves.slots_BT[:, None]).flatten()
        last = moves.first + moves.slots_BT.shape[1]
        for held, turn in ((self.keys, moves.turn), (self.values, None)):
            kept = held.view(-1, width).index_select(0, rows).view(num_stories, heads, -1, width)
            held[:, :, moves.first : last] = kept if turn is None else _turned(kept, turn)

    def grow(self, capacity: int) -> None:
        for name in ("keys", "values"):
            held = getattr(self, name)
            if held.shape[2] < capacity:
                larger = held.new_zeros((*held.shape[:2], capacity, held.shape[3]))
                larger[:, :, : held.shape[2]] = held
                setattr(self, name, larger)


@dataclass(frozen=True)
class _Moves:
    """How the survivors of all stories come to the front; the same for each layer."""

    first: int
    """Slots before it stay where they are."""
    slots_BT: Tensor
    """What comes to the slots from `first` on. Where a story has fewer survivors, the last ones stay as they are."""
    turn: tuple[Tensor, Tensor] | None = None
    """Cosine and signed sine (B, 1, T, D) of the angles that keys are turned by; none: positions stay."""


def _turn(moved_BT: Tensor, rotary_embedding: nn.Module) -> tuple[Tensor, Tensor]:
    """Give the rotation by a number of positions each; rotations add up, so to move a key by it is exact."""
    angles = torch.zeros((), device=moved_BT.device)  # what it is for decides the precision: float32
    cos, sin = (part[:, None] / rotary_embedding.attention_scaling for part in rotary_embedding(angles, moved_BT))
    first, second = sin.chunk(2, dim=-1)
    return cos, torch.cat([-first, second], dim=-1)


def _turned(keys_BHTD: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate keys, whose halves are the coordinates."""
    cos, signed_sin = turn
    keys = keys_BHTD.float()
    return (keys * cos).add_(keys.roll(keys.shape[-1] // 2, -1).mul_(signed_sin))


def _aligned(capacity: int) -> int:
    return -(-capacity // _ALIGNED_SLOTS) * _ALIGNED_SLOTS
