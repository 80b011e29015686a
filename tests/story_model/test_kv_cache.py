"""The cache after evictions, against forward passes that have no cache."""

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.kv_cache import StoryCache

SAID, FOLLOWING = 40, 10
KEPT = sorted({0, 1, 2, 3, 9, 10, 17, 23, *range(30, 40)})
TOLERANCE = {"atol": 2e-4, "rtol": 0}
"""Logits are of the order of 3; a wrong position or a missing key changes them by tenths."""


def llama(layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(sizes).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ids() -> Tensor:
    return torch.randint(0, 300, (1, SAID + FOLLOWING), generator=torch.Generator().manual_seed(1))


def read(model: LlamaForCausalLM, cache: StoryCache, ids: Tensor, chunk: int | None = None) -> Tensor:
    chunks = ids.split(chunk or ids.shape[1], dim=1)
    return torch.cat([model(input_ids=part, past_key_values=cache, use_cache=True).logits for part in chunks], 1)


def after_eviction(model: LlamaForCausalLM, ids: Tensor, positions, kept=KEPT) -> StoryCache:
    cache = StoryCache(model, positions=positions)
    read(model, cache, ids[:, :SAID])
    cache.keep(kept)
    return cache


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_going_on_after_an_eviction_is_attention_with_the_evicted_masked(ids, attention) -> None:
    model = llama(layers=3)
    model.set_attn_implementation(attention)
    following = read(model, after_eviction(model, ids, "absolute"), ids[:, SAID:])
    total = SAID + FOLLOWING
    mask = torch.full((total, total), -torch.inf).triu(1)
    mask[SAID:, [token for token in range(SAID) if token not in KEPT]] = -torch.inf
    whole = model(input_ids=ids, attention_mask=mask[None, None], use_cache=False).logits
    torch.testing.assert_close(following, whole[:, SAID:], **TOLERANCE)


def test_survivors_close_up_exactly(ids) -> None:
    model = llama(layers=1)  # with one layer, keys and values depend on nothing but token and position
    following = read(model, after_eviction(model, ids, "slots"), ids[:, SAID:])
    alone = model(input_ids=torch.cat([ids[:, KEPT], ids[:, SAID:]], 1), use_cache=False).logits
    torch.testing.assert_close(following, alone[:, len(KEPT) :], **TOLERANCE)


def test_evicting_little_by_little_is_evicting_at_once(ids) -> None:
    model = llama(layers=3)
    cache = StoryCache(model)
    read(model, cache, ids[:, :SAID])
    for limit in range(0, SAID, 4):
        cache.keep([token for token in range(SAID) if token in KEPT or token > limit])
    cache.keep(KEPT)
    at_once = read(model, after_eviction(model, ids, "slots"), ids[:, SAID:])
    torch.testing.assert_close(read(model, cache, ids[:, SAID:]), at_once, **TOLERANCE)


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_a_chunk_is_its_tokens_one_by_one(ids, positions) -> None:
    model = llama(layers=3)
    at_once = read(model, after_eviction(model, ids, positions), ids[:, SAID:])
    one_by_one = read(model, after_eviction(model, ids, positions), ids[:, SAID:], chunk=1)
    torch.testing.assert_close(one_by_one, at_once, **TOLERANCE)


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_what_is_taken_back_leaves_no_trace(ids, positions) -> None:
    model = llama(layers=3)
    plain = read(model, after_eviction(model, ids, positions), ids[:, SAID:])
    cache = after_eviction(model, ids, positions)
    read(model, cache, ids[:, :7])
    cache.drop_last(7)
    torch.testing.assert_close(read(model, cache, ids[:, SAID:]), plain, **TOLERANCE)


def test_without_an_eviction_both_kinds_of_position_are_a_plain_forward(ids) -> None:
    model = llama(layers=3)
    plain = model(input_ids=ids, use_cache=False).logits
    for positions in ("slots", "absolute"):
        cache = StoryCache(model, positions=positions)
        torch.testing.assert_close(read(model, cache, ids, chunk=13), plain, **TOLERANCE)


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_tokens_keep_their_numbers(ids, positions) -> None:
    model = llama(layers=1)
    cache = after_eviction(model, ids, positions, kept=[0, 5, 6, 38])
    read(model, cache, ids[:, SAID:])
    cache.drop_last(8)
    cache.keep([0, 6, 40])
    read(model, cache, ids[:, :2])
    assert cache.tokens == [0, 6, 40, 42, 43]


def test_memory_shrinks_with_the_tokens(ids) -> None:
    cache = after_eviction(llama(layers=2), ids, "slots")
    assert {layer.keys.shape[2] for layer in cache.layers} == {cache.num_slots} == {len(KEPT)}
