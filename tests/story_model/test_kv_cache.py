"""The cache after evictions, against forward passes that have no cache."""

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from story_model.checkpoint import load_tensors, save_tensors
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
    """Read the next tokens of each story; logits over them."""
    parts = ids.split(chunk or ids.shape[1], dim=1)
    return torch.cat([read_ragged(model, cache, list(part)) for part in parts], 1)


def read_ragged(model: LlamaForCausalLM, cache: StoryCache, ids: list[Tensor]) -> Tensor:
    embeds = pad_sequence([model.get_input_embeddings()(its) for its in ids], batch_first=True, padding_value=7.0)
    return model.lm_head(cache.read(embeds, [len(its) for its in ids]))


def after_eviction(model: LlamaForCausalLM, ids: Tensor, positions, kept=KEPT) -> StoryCache:
    cache = StoryCache(model, positions=positions)
    read(model, cache, ids[:, :SAID])
    cache.keep([kept])
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
        cache.keep([[token for token in range(SAID) if token in KEPT or token > limit]])
    cache.keep([KEPT])
    at_once = read(model, after_eviction(model, ids, "slots"), ids[:, SAID:])
    torch.testing.assert_close(read(model, cache, ids[:, SAID:]), at_once, **TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_survivors_come_to_the_front_as_they_are_and_keys_turn_by_the_distance(ids, dtype) -> None:
    model = llama(layers=2)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)  # and nothing else: rotary frequencies stay float32
    cache = StoryCache(model, num_stories=2)
    read_ragged(model, cache, [ids[0, :SAID], ids[0, 3:20]])
    kept = [KEPT, [0, *range(5, 17)]]
    before = [cache.state(row) for row in range(2)]
    cache.keep(kept)
    for row, slots in enumerate(kept):
        after, moved = cache.state(row), torch.tensor(slots) - torch.arange(len(slots))
        assert torch.equal(after["values"], before[row]["values"][:, :, slots])
        frequencies = 1 / 10000 ** (torch.arange(0, 16, 2, dtype=torch.float64) / 16)
        turn = torch.polar(torch.ones(len(slots), 8, dtype=torch.float64), -moved[:, None] * frequencies)
        first, second = before[row]["keys"][:, :, slots].double().chunk(2, dim=-1)
        turned = torch.view_as_real(torch.complex(first, second) * turn).movedim(-1, -2).flatten(-2)
        torch.testing.assert_close(
            after["keys"], turned.to(dtype), rtol=0.01 if dtype == torch.bfloat16 else 1e-5, atol=1e-4
        )
        stays = moved == 0
        assert stays.sum() in (1, 4)
        assert torch.equal(after["keys"][:, :, stays], before[row]["keys"][:, :, slots][:, :, stays])


def test_letting_only_the_last_tokens_go_moves_nothing(ids, monkeypatch) -> None:
    model = llama(layers=1)
    cache = StoryCache(model, num_stories=2)
    read_ragged(model, cache, [ids[0, :20], ids[0, :12]])
    monkeypatch.setattr("story_model.kv_cache._Layer.move", None)
    cache.keep([range(9), range(12)])
    assert cache.num_slots == [9, 12]


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
    cache.drop_last([7])
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
    cache.drop_last([8])
    cache.keep([[0, 6, 40]])
    read(model, cache, ids[:, :2])
    assert cache.tokens == [[0, 6, 40, 42, 43]]


def test_room_is_what_was_asked_for_and_holds_through_evictions(ids) -> None:
    model = llama(layers=2)
    cache = StoryCache(model, num_stories=3, capacity=SAID)
    slot_bytes = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, head width, float32
    assert cache.num_bytes == 3 * SAID * slot_bytes
    for _ in range(20):
        read(model, cache, ids[:, : SAID - cache.num_slots[0]].expand(3, -1))
        cache.keep([tokens[:4] + tokens[-6:] for tokens in cache.tokens])
    assert cache.num_bytes == 3 * SAID * slot_bytes


@pytest.mark.parametrize(("limit", "capacities"), [(None, {64, 128, 256}), (150, {64, 128, 152}), (100, {64, 104})])
def test_room_doubles_when_it_is_needed_but_not_beyond_a_limit_that_suffices(limit, capacities) -> None:
    model = llama(layers=1)
    cache = StoryCache(model, limit=limit)
    seen = set()
    for _ in range(limit or 150):
        read(model, cache, torch.tensor([[5]]))
        seen.add(cache.capacity)
    assert seen == capacities


def test_growing_changes_nothing(ids) -> None:
    model = llama(layers=2)
    small, large = StoryCache(model), StoryCache(model, capacity=1000)
    long = ids.repeat(1, 4)
    assert torch.equal(read(model, small, long, chunk=13), read(model, large, long, chunk=13))


LENGTHS = [SAID, 9, 23]


def three(model: LlamaForCausalLM, ids: Tensor, positions) -> StoryCache:
    """Three stories of different lengths, each having let go of something else."""
    cache = StoryCache(model, num_stories=3, positions=positions)
    read_ragged(model, cache, [ids[0, start : start + length] for start, length in enumerate(LENGTHS)])
    cache.keep([KEPT, [0, 1, 5, 6, 7, 8], range(23)])
    return cache


def alone(model: LlamaForCausalLM, ids: Tensor, positions, story: int) -> StoryCache:
    cache = StoryCache(model, positions=positions)
    read(model, cache, ids[:, story : story + LENGTHS[story]])
    cache.keep([[KEPT, [0, 1, 5, 6, 7, 8], range(23)][story]])
    return cache


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_stories_side_by_side_are_each_alone(ids, positions, attention) -> None:
    model = llama(layers=3)
    model.set_attn_implementation(attention)
    together = three(model, ids, positions)
    singles = [alone(model, ids, positions, story) for story in range(3)]
    for counts in ([3, 10, 1], [1, 1, 1], [2, 5], [4]):
        new = [ids[0, 20 + story : 20 + story + count] for story, count in enumerate(counts)]
        logits = read_ragged(model, together, new)
        for story, (its, count) in enumerate(zip(new, counts, strict=True)):
            torch.testing.assert_close(logits[story, :count], read(model, singles[story], its[None])[0], **TOLERANCE)
    assert together.tokens == [cache.tokens[0] for cache in singles]


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_stories_outside_a_pass_and_padding_change_nothing(ids, positions) -> None:
    model = llama(layers=2)
    cache = three(model, ids, positions)
    before = cache.state(1), cache.state(2)
    read_ragged(model, cache, [ids[0, :5]])
    read_ragged(model, cache, [ids[0, :5], ids[0, :2]])
    cache.drop_last([0, 2, 0])
    after = cache.state(1), cache.state(2)
    for one, other in zip(before, after, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("keys", "values", "tokens"))


def test_a_pass_that_fails_leaves_all_stories_as_they_were(ids, monkeypatch) -> None:
    model = llama(layers=2)
    cache, plain = (after_eviction(model, ids, "slots") for _ in range(2))

    def fail(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model.model.layers[1], "forward", fail)
        with pytest.raises(torch.OutOfMemoryError):
            read(model, cache, ids[:, :8])
    assert torch.equal(read(model, cache, ids[:, SAID:]), read(model, plain, ids[:, SAID:]))


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_stories_exchange_places_and_leave(ids, positions) -> None:
    model = llama(layers=2)
    cache = three(model, ids, positions)
    size = cache.num_bytes
    cache.swap(0, 2)
    cache.shrink(2)
    assert cache.num_bytes == size * 2 / 3
    logits = read(model, cache, ids[:, SAID:].expand(2, -1))
    for place, story in enumerate([2, 1]):
        single = read(model, alone(model, ids, positions, story), ids[:, SAID:])[0]
        torch.testing.assert_close(logits[place], single, **TOLERANCE)


@pytest.mark.parametrize("positions", ["slots", "absolute"])
def test_a_restored_story_goes_on_to_the_bit(ids, positions, tmp_path) -> None:
    model = llama(layers=3)
    cache = after_eviction(model, ids, positions)
    save_tensors(cache.state(0), tmp_path / "state.safetensors")
    restored = StoryCache(model, positions=positions)
    restored.restore(0, load_tensors(tmp_path / "state.safetensors"))
    assert torch.equal(read(model, restored, ids[:, SAID:], chunk=3), read(model, cache, ids[:, SAID:], chunk=3))
    assert restored.tokens == cache.tokens


def test_a_state_of_another_network_precision_or_kind_of_position_is_refused(ids) -> None:
    state = after_eviction(llama(layers=2), ids, "slots").state(0)
    with pytest.raises(ValueError, match="not this language model's"):
        StoryCache(llama(layers=3)).restore(0, state)
    with pytest.raises(ValueError, match="positions"):
        StoryCache(llama(layers=2), positions="absolute").restore(0, state)
    with pytest.raises(ValueError, match="precision"):
        StoryCache(llama(layers=2).bfloat16()).restore(0, state)
