"""Activations that are computed again change nothing but the memory that they take."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from story_model.build import build_detokenizer, build_llama
from story_model.config import load_config
from story_model.tokens import StoryTokenizer, train_tokenizer
from training.recomputation import recompute

MODEL = load_config("tiny").model


def llama() -> nn.Module:
    tokenizer = StoryTokenizer(train_tokenizer(["a fox"], vocab_size=300, num_image_tokens=9), 9)
    torch.manual_seed(0)
    return build_llama(MODEL, tokenizer).train()


def detokenizer() -> nn.Module:
    torch.manual_seed(0)
    return build_detokenizer(MODEL).train()


def run_llama(network: nn.Module) -> Tensor:
    return network(input_ids=torch.arange(48).view(2, 24), use_cache=False).logits.square().mean()


def run_detokenizer(network: nn.Module) -> Tensor:
    sizes = MODEL.detokenizer
    side = sizes.picture_size // sizes.latent_factor
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, sizes.latent_channels, side, side, generator=generator)
    features = torch.randn(2, 16, MODEL.image_encoder.output_dim, generator=generator)
    return network(latents, torch.tensor([3, 700]), features, torch.full((2, 6), 64.0)).square().mean()


def kept_bytes(network: nn.Module, run) -> tuple[int, list[Tensor], int]:
    """Bytes held for the backward pass (weights apart), the gradients, and the FLOPs of both passes."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        if pointer not in weights:
            held[pointer] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = run(network)
        loss.backward()
    return sum(held.values()), [p.grad for p in network.parameters() if p.grad is not None], counter.get_total_flops()


@pytest.mark.parametrize(("make", "run"), [(llama, run_llama), (detokenizer, run_detokenizer)])
def test_recomputation_gives_the_same_gradients_for_more_work_and_less_memory(make, run) -> None:
    network = make()
    results = {}
    for which in ("none", "selective", "full"):
        twin = copy.deepcopy(network)
        recompute(twin, which)
        results[which] = kept_bytes(twin, run)
    for which in ("selective", "full"):
        for one, other in zip(results["none"][1], results[which][1], strict=True):
            assert torch.allclose(one, other, atol=1e-6)
    assert results["full"][0] < 0.6 * results["none"][0]
    assert results["full"][2] > 1.15 * results["none"][2]
    # What a selective context keeps is its own, unseen by the hooks; matrix products are not done twice.
    assert results["selective"][2] < 1.05 * results["none"][2]


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="no blocks that know it; set none"):
        recompute(nn.Linear(2, 2), "full")
