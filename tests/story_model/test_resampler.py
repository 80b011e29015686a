import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from story_model.resampler import Resampler, resize_grid

GRID, DIM, HEADS, KV_DIM, NUM_FEATURES = 3, 24, 2, 10, 16


def make_resampler() -> Resampler:
    torch.manual_seed(0)
    return Resampler(GRID, DIM, HEADS, kv_dim=KV_DIM)


def torch_s_attention(resampler: Resampler) -> nn.MultiheadAttention:
    attention = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    attention.load_state_dict(resampler.attn.state_dict(), strict=True)
    return attention


def features(batch: int) -> Tensor:
    return torch.randn(batch, NUM_FEATURES, KV_DIM, generator=torch.Generator().manual_seed(1))


def with_torch_s_attention(resampler: Resampler, attention: nn.MultiheadAttention, given: Tensor) -> Tensor:
    seen = resampler.ln_kv(resampler.kv_proj(given))
    asked = (resampler.ln_q(resampler.query) + resampler.pos_embed).expand(len(given), -1, -1)
    return attention(asked, seen + resize_grid(resampler.pos_embed, NUM_FEATURES), seen, need_weights=True)[0]


def close(ours: Tensor, reference: Tensor) -> bool:
    return bool((ours - reference).norm() <= 1e-5 * reference.norm())


@pytest.mark.parametrize("batch", [1, 3])
def test_features_and_gradients_are_those_of_torch_s_attention(batch: int) -> None:
    resampler = make_resampler()
    nn.init.normal_(resampler.attn.in_proj_bias)
    attention = torch_s_attention(resampler)
    ours, reference = resampler(features(batch)), with_torch_s_attention(resampler, attention, features(batch))
    assert close(ours, reference)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    names, parameters = zip(*resampler.attn.named_parameters(), strict=True)
    ours_of, reference_of = (
        torch.autograd.grad((result * weights).sum(), [*part, resampler.query])
        for result, part in ((ours, parameters), (reference, [attention.get_parameter(name) for name in names]))
    )
    for name, gradient, other in zip((*names, "query"), ours_of, reference_of, strict=True):
        assert close(gradient, other), name


def test_fresh_attention_weights_are_those_of_torch_s_attention() -> None:
    resampler = make_resampler()
    torch.manual_seed(0)
    torch.randn(GRID**2, DIM)
    nn.Linear(KV_DIM, DIM, bias=False)
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True).state_dict()
    ours = resampler.attn.state_dict()
    assert list(ours) == list(theirs)
    assert not [name for name in ours if not torch.equal(ours[name], theirs[name])]


def test_a_picture_s_features_do_not_depend_on_its_batch() -> None:
    resampler = make_resampler()
    assert close(resampler(features(3))[1:2], resampler(features(3)[1:2]))


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_attention_is_fused_and_makes_no_weights(training: bool, with_gradients: bool) -> None:
    resampler = make_resampler().train(training)
    with torch.set_grad_enabled(with_gradients), profile(activities=[ProfilerActivity.CPU]) as seen:
        made = resampler(features(2))
        if with_gradients:
            made.sum().backward()
    operators = {event.key for event in seen.key_averages()}
    assert "aten::scaled_dot_product_attention" in operators
    assert not operators & {"aten::_scaled_dot_product_attention_math", "aten::softmax", "aten::_softmax", "aten::bmm"}
