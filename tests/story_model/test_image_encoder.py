import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from story_model.image_encoder import ImageEncoder
from story_model.resampler import resize_grid

WIDTH, HEADS, LAYERS, POOL_HEADS = 40, 5, 2, 2
NUM_PATCHES, NUM_QUERIES = 144, 9
IN_PROJ = "transformer.resblocks.0.attn.in_proj"

State = dict[str, Tensor]


def make_encoder() -> ImageEncoder:
    return ImageEncoder(
        image_size=48,
        patch_size=4,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        mlp_ratio=2.0,
        num_queries=NUM_QUERIES,
        output_dim=24,
        pool_heads=POOL_HEADS,
    )


def published_state() -> State:
    """Numbers of a size at which attention is far from even, so that mixed-up rows show."""
    generator = torch.Generator().manual_seed(1)
    shapes = {name: parameter.shape for name, parameter in make_encoder().named_parameters()}
    return {
        name: torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0)
        for name, shape in shapes.items()
    }


def pixels() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(2))


def attention_of(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def features_by_naive_arithmetic(state: State, picture: Tensor) -> Tensor:
    """Follow the published layout at every call, with the scores written out."""

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    x = functional.conv2d(picture, state["conv1.weight"], stride=4).flatten(2).transpose(1, 2)
    x = norm("ln_pre", x + resize_grid(state["positional_embedding"], NUM_PATCHES))
    for layer in range(LAYERS):
        block = f"transformer.resblocks.{layer}"
        mixed = linear(f"{block}.attn.in_proj", norm(f"{block}.ln_1", x))
        size = WIDTH // HEADS
        split = [mixed[..., start : start + size] for start in range(0, 3 * WIDTH, size)]
        q, k, v = (torch.cat(split[part::3], dim=-1) for part in range(3))
        x = x + linear(f"{block}.attn.out_proj", attention_of(q, k, v, HEADS))
        hidden = functional.gelu(linear(f"{block}.mlp.c_fc", norm(f"{block}.ln_2", x)))
        x = x + linear(f"{block}.mlp.c_proj", hidden)
    seen = norm("attn_pool.ln_kv", linear("attn_pool.kv_proj", x))
    places = state["attn_pool.pos_embed"]
    asked = (norm("attn_pool.ln_q", state["attn_pool.query"]) + places).expand(len(x), -1, -1)
    weights = state["attn_pool.attn.in_proj_weight"].chunk(3)
    biases = state["attn_pool.attn.in_proj_bias"].chunk(3)
    given = (asked, seen + resize_grid(places, NUM_PATCHES), seen)
    q, k, v = (functional.linear(part, weight, bias) for part, weight, bias in zip(given, weights, biases, strict=True))
    pooled = linear("attn_pool.attn.out_proj", attention_of(q, k, v, POOL_HEADS))
    return norm("ln_post", pooled) @ state["proj"]


def assert_gives_the_naive_features(encoder: ImageEncoder, state: State) -> None:
    reference = features_by_naive_arithmetic(state, pixels())
    error = (encoder(pixels()) - reference).norm() / reference.norm()
    assert error < 1e-5, f"relative error {error:.1e}"


def assert_same_bits(ours: State, theirs: State) -> None:
    assert ours.keys() == theirs.keys()
    assert not [name for name in ours if not torch.equal(ours[name], theirs[name])]


def encoder_of(state: State, **how: Any) -> ImageEncoder:
    encoder = make_encoder()
    encoder.load_state_dict(state, **how)
    return encoder


def test_features_are_those_of_the_naive_arithmetic() -> None:
    state = published_state()
    assert_gives_the_naive_features(encoder_of(state), state)


@pytest.mark.parametrize("assign", [False, True])
def test_the_published_layout_goes_in_and_comes_out_to_the_bit(assign: bool) -> None:
    state = published_state()
    assert_same_bits(encoder_of(state, assign=assign).state_dict(), state)


def test_in_memory_the_rows_lie_queries_then_keys_then_values() -> None:
    state = published_state()
    size = WIDTH // HEADS
    groups = state[f"{IN_PROJ}.weight"].split(size)
    rows = torch.cat([groups[3 * head + part] for part in range(3) for head in range(HEADS)])
    assert torch.equal(dict(encoder_of(state).named_parameters())[f"{IN_PROJ}.weight"], rows)


@pytest.mark.parametrize("assign", [False, True])
def test_loading_leaves_the_given_weights_untouched(assign: bool) -> None:
    state = published_state()
    before = {name: (tensor, tensor.clone()) for name, tensor in state.items()}
    encoder_of(state, assign=assign)
    assert state.keys() == before.keys()
    for name, (tensor, numbers) in before.items():
        assert state[name] is tensor
        assert torch.equal(tensor, numbers)


def test_what_a_state_dict_gave_does_not_change_by_training_on() -> None:
    encoder = encoder_of(published_state())
    weight = f"{IN_PROJ}.weight"
    given = encoder.state_dict()[weight]
    before = given.clone()
    with torch.no_grad():
        dict(encoder.named_parameters())[weight].zero_()
    assert torch.equal(given, before)
    assert not encoder.state_dict()[weight].any()


def test_weights_that_are_parameters_can_be_assigned() -> None:
    state: State = {name: nn.Parameter(tensor) for name, tensor in published_state().items()}
    encoder = encoder_of(state, assign=True)
    encoder(pixels()).sum().backward()
    assert all(parameter.is_leaf for parameter in encoder.parameters())
    assert_gives_the_naive_features(encoder, state)


def test_an_encoder_on_the_meta_device_takes_the_published_layout() -> None:
    state = published_state()
    with torch.device("meta"):
        encoder = make_encoder()
    assert encoder.state_dict()[f"{IN_PROJ}.weight"].is_meta
    encoder.load_state_dict(state, assign=True)
    assert_gives_the_naive_features(encoder, state)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_some_keys_alone_can_be_loaded(name: str) -> None:
    old, new = published_state(), {f"{IN_PROJ}.{name}": published_state()[f"{IN_PROJ}.{name}"] * 1.5}
    encoder = encoder_of(old)
    encoder.load_state_dict(new, strict=False)
    assert_same_bits(encoder.state_dict(), old | new)
    assert_gives_the_naive_features(encoder, old | new)


def test_a_part_alone_loads_and_gives_the_published_layout() -> None:
    state = published_state()
    encoder = make_encoder()
    for path in ("transformer.resblocks.0", "transformer.resblocks.0.attn", IN_PROJ):
        part = {name.removeprefix(f"{path}."): rows for name, rows in state.items() if name.startswith(f"{path}.")}
        encoder.get_submodule(path).load_state_dict({name: rows * 2 for name, rows in part.items()})
        encoder.get_submodule(path).load_state_dict(part)
        assert_same_bits(encoder.get_submodule(path).state_dict(), part)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copy_reads_and_writes_the_published_layout_too(copied: Any) -> None:
    state = published_state()
    encoder = copied(make_encoder())
    encoder.load_state_dict(state)
    assert_same_bits(encoder.state_dict(), state)
    assert_gives_the_naive_features(encoder, state)


def test_parameters_by_name_restore_an_encoder_too() -> None:
    state = published_state()
    saved, restored = encoder_of(state), make_encoder()
    with torch.no_grad():
        for name, parameter in restored.named_parameters():
            parameter.copy_(dict(saved.named_parameters())[name])
    assert_same_bits(restored.state_dict(), state)


def test_weights_of_another_width_are_refused_by_name() -> None:
    state = published_state() | {f"{IN_PROJ}.weight": torch.zeros(3 * WIDTH + 3, WIDTH)}
    with pytest.raises(RuntimeError, match=rf"size mismatch for {IN_PROJ}.weight"):
        encoder_of(state)


def test_a_seed_means_the_same_published_weights_as_a_plain_projection() -> None:
    torch.manual_seed(3)
    encoder = make_encoder()
    torch.manual_seed(3)
    nn.Conv2d(3, WIDTH, 4, bias=False)
    torch.randn(16**2, WIDTH)
    plain = nn.Linear(WIDTH, 3 * WIDTH)
    assert torch.equal(encoder.state_dict()[f"{IN_PROJ}.weight"], plain.weight)
    assert torch.equal(encoder.state_dict()[f"{IN_PROJ}.bias"], plain.bias)


class _Made(TorchDispatchMode):
    """Notes the operators that run and the shapes of the tensors that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.operators.append(str(func))
        self.shapes += [tuple(x.shape) for x in (made if isinstance(made, tuple | list) else [made]) if is_tensor(x)]
        return made


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_matrix_of_scores_is_never_made(training: bool, with_gradients: bool) -> None:
    encoder = encoder_of(published_state()).train(training)
    with torch.set_grad_enabled(with_gradients), _Made() as made:
        features = encoder(pixels())
        if with_gradients:
            features.sum().backward()
    attentions = [name for name in made.operators if "scaled_dot_product" in name and "backward" not in name]
    assert len(attentions) == LAYERS + 1
    scores = ({NUM_PATCHES}, {NUM_PATCHES, NUM_QUERIES})
    assert not [shape for shape in made.shapes if len(shape) > 2 and set(shape[-2:]) in scores]
