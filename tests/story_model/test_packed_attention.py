from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from story_model import packed_attention
from story_model.packed_attention import Packing, attend_by_span, attend_by_tile, let_llama_attend_packed, pack


@dataclass(frozen=True)
class Positions:
    """A sequence without anything in it."""

    position_ids: list[int]
    blocks: list[int]
    last_seen: list[int]


def sequence(length: int, *, blocks_after: tuple[int, ...] = (), block_length: int = 3) -> Positions:
    block = range(block_length)
    return Positions(
        [*range(length), *(mark + 1 + place for mark in blocks_after for place in block)],
        [0] * length + [number + 1 for number in range(len(blocks_after)) for _ in block],
        [*range(length), *(mark for mark in blocks_after for _ in block)],
    )


SEQUENCES = [sequence(9, blocks_after=(3, 6, 8)), sequence(5), sequence(7, blocks_after=(6,), block_length=4)]


def states(heads: int, kv_heads: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    num_positions = sum(len(positions.blocks) for positions in SEQUENCES)
    shapes = [(1, number, num_positions, 16) for number in (heads, kv_heads, kv_heads)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def who_sees_whom() -> Tensor:
    """Say it position by position, straight from the sequences."""
    flat = [(number, place, s) for number, s in enumerate(SEQUENCES) for place in range(len(s.blocks))]

    def sees(query: tuple[int, int, Positions], key: tuple[int, int, Positions]) -> bool:
        (number, place, of), (its_number, its_place, _) = query, key
        if number != its_number or its_place > place:
            return False
        if of.blocks[its_place] == of.blocks[place]:
            return True
        return of.blocks[its_place] == 0 and its_place <= of.last_seen[place]

    return torch.tensor([[sees(query, key) for key in flat] for query in flat])


def attend_under_the_whole_mask(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, attn_mask=who_sees_whom(), scale=0.2, enable_gqa=grouped)


@pytest.mark.parametrize("attend", [attend_by_span, attend_by_tile])
@pytest.mark.parametrize("kv_heads", [4, 2])
@torch.no_grad()
def test_packed_attention_is_attention_under_the_whole_mask(attend: Callable[..., Tensor], kv_heads: int) -> None:
    given = [each.detach() for each in states(4, kv_heads)]
    ours = attend(*given, pack(SEQUENCES), scaling=0.2)
    torch.testing.assert_close(ours, attend_under_the_whole_mask(*given), atol=1e-5, rtol=1e-5)


# torch's flex_attention has no gradients on a CPU.
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_so_are_its_gradients(kv_heads: int) -> None:
    given = states(4, kv_heads)
    weights = torch.randn(given[0].shape, generator=torch.Generator().manual_seed(1))
    attended = attend_by_span(*given, pack(SEQUENCES), scaling=0.2), attend_under_the_whole_mask(*given)
    ours, expected = (torch.autograd.grad((each * weights).sum(), given) for each in attended)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flex_attention is compiled, and has gradients, on a GPU")
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_on_a_gpu_both_ways_have_the_same_gradients(kv_heads: int) -> None:
    packing = pack(SEQUENCES).to(torch.device("cuda"))
    given = [each.detach().cuda().requires_grad_() for each in states(4, kv_heads)]
    attended = [attend(*given, packing, scaling=0.2) for attend in (attend_by_tile, attend_by_span)]
    by_tile, by_span = (torch.autograd.grad(each.square().sum(), given) for each in attended)
    torch.testing.assert_close([attended[0], *by_tile], [attended[1], *by_span], atol=5e-3, rtol=5e-3)


def test_tiles_in_which_nothing_is_seen_are_skipped_and_those_seen_wholly_need_no_mask() -> None:
    long = [sequence(700, blocks_after=(40, 300, 699), block_length=66), sequence(300), sequence(1500)]
    mask = pack(long).block_mask
    length = sum(len(positions.blocks) for positions in long)
    made_whole = create_block_mask(mask.mask_mod, None, None, length, length, "cpu")
    assert torch.equal(mask.to_dense(), made_whole.to_dense())
    assert mask.sparsity() == made_whole.sparsity() > 60
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(mask, name), getattr(made_whole, name)), name


def test_a_packing_goes_round_the_row_once() -> None:
    packing = pack(SEQUENCES)
    assert [span.length for span in packing.spans] == [9, 3, 3, 3, 5, 7, 4]
    assert [span.num_seen for span in packing.spans] == [0, 4, 7, 9, 0, 0, 7]
    assert packing.position_ids_BS.tolist() == [[place for s in SEQUENCES for place in s.position_ids]]


def test_masks_are_made_once_for_all_layers() -> None:
    packing = pack(SEQUENCES)
    assert packing.masks is packing.masks
    assert packing.block_mask is packing.block_mask


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config)


def hidden(model: LlamaForCausalLM, ids: Tensor, packing: Packing | None = None) -> Tensor:
    if packing is None:
        return model.model(input_ids=ids, use_cache=False).last_hidden_state
    given = {"attention_mask": torch.empty(1, 1, 0, 0), "position_ids": packing.position_ids_BS, "packing": packing}
    return model.model(input_ids=ids, use_cache=False, **given).last_hidden_state


def test_a_llama_reads_packed_sequences_as_each_by_itself() -> None:
    model = llama()
    let_llama_attend_packed(model)
    ids = torch.randint(20, (1, 12), generator=torch.Generator().manual_seed(0))
    packed = hidden(model, ids, pack([sequence(5), sequence(7)]))
    alone = torch.cat([hidden(model, ids[:, :5]), hidden(model, ids[:, 5:])], dim=1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_a_llama_that_can_attend_packed_is_otherwise_what_it_was() -> None:
    model, untouched = llama(), llama()
    let_llama_attend_packed(model)
    ids = torch.arange(12)[None]
    hidden(model, ids, pack([sequence(5), sequence(7)]))
    assert model.config._attn_implementation == untouched.config._attn_implementation == "sdpa"
    assert torch.equal(hidden(model, ids), hidden(untouched, ids))
    assert list(model.state_dict()) == list(untouched.state_dict())


def test_activations_that_are_computed_again_are_the_packed_ones() -> None:
    gradients = []
    for is_checkpointed in (False, True):
        model = llama().train()
        let_llama_attend_packed(model)
        if is_checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        hidden(model, torch.arange(12)[None], pack([sequence(5), sequence(7)])).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.model.layers.parameters()])
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attend", [attend_by_span, attend_by_tile])
@torch.no_grad()
def test_autocast_hands_over_states_of_one_kind(attend: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()

    def watched(*given: Tensor, scaling: float) -> Tensor:
        kinds.update(states.dtype for states in given[:3])
        return attend(*given, scaling=scaling)

    monkeypatch.setattr(packed_attention, "attend_by_span", watched)
    model = llama()
    let_llama_attend_packed(model)
    packing = pack([sequence(5), sequence(7)])
    with torch.autocast("cpu", torch.bfloat16):
        rough = hidden(model, torch.arange(12)[None], packing)
    assert kinds == {torch.bfloat16}
    torch.testing.assert_close(rough.float(), hidden(model, torch.arange(12)[None], packing), atol=0.1, rtol=0.1)
