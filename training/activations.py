"""What a forward pass leaves in memory for the backward pass, measured without a GPU and without numbers.

The real network runs on the meta device, where tensors have shapes alone, with a hook on everything that autograd
keeps. Automatic precision and fused attention, which the meta device lacks, are imitated. What gradients of activations
take besides for a moment is not counted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache, partial
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from story_model.config import ModelConfig, RunConfig
from story_model.train_config import Precision
from training.flops import (
    Network,
    TrainedPart,
    empty_detokenizer,
    empty_image_encoder,
    empty_llama,
    empty_mllm,
    run_detokenizer,
    run_llama,
    stage2_shape,
)
from training.story_shape import StoryText, long_batch_tokens, words_shape

Checkpointing = Literal["none", "selective", "full"]

_BLOCKS = {"LlamaDecoderLayer", "BasicTransformerBlock", "ResnetBlock2D"}
"""Repeated modules that activation checkpointing runs again; the image encoder has none that know it."""
# Torch's automatic precision on CUDA, as far as these networks go.
_LOWERED = {"linear", "conv2d", "matmul", "__matmul__", "bmm", "baddbmm", "addmm", "einsum"}
_WIDENED = {"layer_norm", "group_norm", "softmax", "mse_loss", "cross_entropy", "cosine_similarity", "sum"}
_ATTENTION = "scaled_dot_product_attention"
_TRIAL_TOKENS = 256


@dataclass(frozen=True)
class Activations:
    """Bytes that a forward pass leaves for the backward pass, weights not counted."""

    saved: float = 0.0
    """All of them."""
    in_blocks: float = 0.0
    """Of these, left inside repeated blocks."""
    block_inputs: float = 0.0
    """What blocks are run again from."""
    block_products: float = 0.0
    """Results of matrix products inside blocks, which selective checkpointing keeps."""
    largest_block: float = 0.0
    """Left by one block: what running it again brings back for a moment."""

    def kept(self, checkpointing: Checkpointing) -> float:
        """Give the peak with activation checkpointing `none`, `selective` or `full`."""
        if checkpointing == "none":
            return self.saved
        full = self.saved - self.in_blocks + self.block_inputs + self.largest_block
        return min(self.saved, full if checkpointing == "full" else full + self.block_products)

    def __add__(self, other: "Activations") -> "Activations":
        return Activations(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __mul__(self, times: float) -> "Activations":
        return Activations(*(getattr(self, field.name) * times for field in fields(self)))


def measure_activations(network: nn.Module, run: Callable[[], Tensor], precision: Precision) -> Activations:
    """Run a network on the meta device and measure what autograd keeps.

    Args:
        network: What runs; its weights and buffers are not counted, copies of them in another precision are.
        run: Runs it and gives a tensor with a gradient.
        precision: Of the arithmetic.
    """
    weights = {_storage(tensor) for tensor in (*network.parameters(), *network.buffers())}
    record = _Record(weights)
    imitation = _Imitation(record, precision)
    with _watched_blocks(network, record), saved_tensors_hooks(record.keep, lambda tensor: tensor), imitation:
        run()
    return record.activations()


def growth(
    network: nn.Module, run: Callable[[int], Tensor], precision: Precision, *, size: int = 1
) -> tuple[Activations, Activations]:
    """Take what grows with a batch apart from what does not, as copies of weights: (that is there once, a sample's).

    Args:
        network: As in `measure_activations`.
        run: Runs it over a number of samples (or positions).
        precision: Of the arithmetic.
        size: Samples to try, and twice as many.
    """
    one, two = (measure_activations(network, partial(run, number), precision) for number in (size, 2 * size))
    each = (two + one * -1) * (1 / size)
    return one + each * -size, each


@dataclass(frozen=True)
class BatchActivations:
    """What a micro-batch of a trained part leaves, by what it grows with."""

    once: Activations
    sample: Activations
    token: Activations = Activations()
    tokens_of: Callable[[int], float] = field(default=lambda _: 0.0)
    """Positions of a batch of some samples."""

    def of(self, samples: int) -> Activations:
        """Add up a micro-batch."""
        return self.once + self.sample * samples + self.token * self.tokens_of(samples)


def part_activations(config: RunConfig, part: TrainedPart, text: StoryText) -> BatchActivations:
    """Measure a trained part at its configured precision; its losses on words are counted, others are small."""
    model = config.model
    precision: Precision = getattr(config.train, part).precision
    if part == "image_encoder":
        return BatchActivations(*_of_encoder(model, precision))
    if part == "stage1" or part == "stage3":
        return BatchActivations(*_of_detokenizer(model, part, precision))
    kept = _of_language_model(model, part, precision)
    shape = stage2_shape(config, text) if part == "stage2" else words_shape(text)
    sample = kept.word * shape.scored
    sample += kept.context_picture * shape.context_pictures + kept.target_picture * shape.target_pictures
    is_prefix = part == "stage2" and config.train.stage2.sequences == "prefix"
    return BatchActivations(
        kept.once,
        sample,
        kept.token,
        lambda samples: long_batch_tokens(text, samples) if is_prefix else samples * shape.tokens,
    )


# Each is measured once in a process.


@cache
def _of_encoder(model: ModelConfig, precision: Precision) -> tuple[Activations, Activations]:
    encoder = held(empty_image_encoder(model), precision)
    return growth(
        encoder, lambda samples: encoder(_blank(samples, 3, encoder.image_size, encoder.image_size)), precision
    )


@cache
def _of_detokenizer(
    model: ModelConfig, part: Literal["stage1", "stage3"], precision: Precision
) -> tuple[Activations, Activations]:
    detokenizer = held(empty_detokenizer(model, part), precision)
    return growth(detokenizer, lambda samples: run_detokenizer(detokenizer, model, samples), precision)


@dataclass(frozen=True)
class _LanguageActivations:
    once: Activations
    token: Activations
    word: Activations
    context_picture: Activations = Activations()
    target_picture: Activations = Activations()


@cache
def _of_language_model(
    model: ModelConfig, part: Literal["stage2", "language_model"], precision: Precision
) -> _LanguageActivations:
    mllm = held(empty_mllm(model), precision) if part == "stage2" else None
    llama = mllm.llama if mllm is not None else held(empty_llama(model), precision)
    width = model.mllm.language_model.hidden_size

    def score(words: int) -> Tensor:
        hidden, labels = _blank(words, width).requires_grad_(), torch.empty(words, dtype=torch.long, device="meta")
        return F.cross_entropy(llama.lm_head(hidden).float(), labels)

    once, token = growth(llama, lambda tokens: run_llama(llama, tokens), precision, size=_TRIAL_TOKENS)
    head, word = growth(llama, score, precision)
    if mllm is None:
        return _LanguageActivations(once + head, token, word)

    def resampled(resampler: nn.Module, length: int) -> tuple[Activations, Activations]:
        return growth(resampler, lambda pictures: resampler(_blank(pictures, length, width)), precision)

    into, context_picture = resampled(mllm.input_resampler, model.image_encoder.num_queries)
    out_of, target_picture = resampled(mllm.output_resampler, model.mllm.num_image_tokens)
    return _LanguageActivations(once + head + into + out_of, token, word, context_picture, target_picture)


def held(network: Network, precision: Precision) -> Network:
    """Hold what is frozen in the precision of the arithmetic, as training does."""
    if precision == "bfloat16":
        for parameter in network.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
    return network


class _Record:
    """Everything that was kept, each storage once."""

    def __init__(self, weights: set[int]) -> None:
        self._weights = weights
        self._seen: dict[int, Tensor] = {}
        """Tensors by their storage; held, so that no other takes its address."""
        self._saved = 0
        self._blocks: list[tuple[int, int]] = []
        self._inputs: dict[int, Tensor] = {}
        """What blocks were given, likewise."""
        self.products = 0
        self.block_products = 0

    def keep(self, tensor: Tensor) -> Tensor:
        place = _storage(tensor)
        if place not in self._seen and place not in self._weights:
            self._seen[place] = tensor
            self._saved += tensor.untyped_storage().nbytes()
        return tensor

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for given in (*args, *kwargs.values()):
            if isinstance(given, Tensor) and given.requires_grad and _storage(given) not in self._inputs:
                self._inputs[_storage(given)] = given
        self._blocks.append((self._saved, self.products))

    def leave(self, module: nn.Module, *_: object) -> None:
        saved, products = self._blocks[-1]
        self._blocks[-1] = (self._saved - saved, self.products - products)

    def activations(self) -> Activations:
        sizes = [saved for saved, _ in self._blocks]
        inputs = sum(given.untyped_storage().nbytes() for given in self._inputs.values())
        return Activations(
            self._saved, sum(sizes), inputs, sum(products for _, products in self._blocks), max([0, *sizes])
        )


class _Imitation(TorchFunctionMode):
    """Automatic precision and fused attention on the meta device."""

    def __init__(self, record: _Record, precision: Precision) -> None:
        super().__init__()
        self._record = record
        self._lowers = precision == "bfloat16"
        self._copies: dict[int, Tensor] = {}

    def __enter__(self) -> "_Imitation":
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._copies.clear()
        super().__exit__(kind, error, trace)

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - torch's own
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == _ATTENTION:
            result = _FusedAttention.apply(*map(self._lowered, args[:3]))
        elif name in _LOWERED:
            result = func(*map(self._lowered, args), **{key: self._lowered(value) for key, value in kwargs.items()})
        elif name in _WIDENED:
            return func(*map(_widened, args), **{key: _widened(value) for key, value in kwargs.items()})
        else:
            return func(*args, **kwargs)
        self._record.products += result.numel() * result.element_size()
        return result

    def _lowered(self, value: Any) -> Any:  # noqa: ANN401 - any argument
        if not self._lowers or not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.bfloat16()
        # A weight is copied once a pass, wherever it is used.
        return self._copies.setdefault(id(value), value.bfloat16())


class _FusedAttention(torch.autograd.Function):
    """What flash attention leaves: its inputs, its result and a number for each query."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ANN401 - torch's own
        batch, heads, queries, _ = q.shape
        # Laid out as the next matrix product wants it, with no copy between.
        result = q.new_empty(batch, queries, heads, v.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(q, k, v, result, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401 - torch's own
        q, k, v, *_ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@contextmanager
def _watched_blocks(network: nn.Module, record: _Record) -> Iterator[None]:
    blocks = [module for module in network.modules() if type(module).__name__ in _BLOCKS]
    hooks = [block.register_forward_pre_hook(record.enter, with_kwargs=True) for block in blocks]
    hooks += [block.register_forward_hook(record.leave) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _widened(value: Any) -> Any:  # noqa: ANN401 - any argument
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _blank(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
