"""Activation checkpointing: what of a forward pass is not kept, but computed again in the backward pass."""

from functools import partial
from typing import Any, Literal

import torch
from diffusers import ModelMixin
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

_aten = torch.ops.aten
_DEAR = {
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten.convolution.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_cudnn_attention.default,
}
"""Operators whose results are kept when recomputation is selective: they cost most and their results are small."""


def recompute(network: nn.Module, which: Literal["none", "selective", "full"]) -> None:
    """Have the transformer and UNet blocks of a network keep their inputs (and dear results) alone.

    Raises:
        ValueError: there is no such block in it.
    """
    if which == "none":
        return
    contexts = partial(create_selective_checkpoint_contexts, _keep_dear)
    options: dict[str, Any] = {"use_reentrant": False} | ({"context_fn": contexts} if which == "selective" else {})
    found = False
    for module in network.modules():
        if isinstance(module, PreTrainedModel) and module.supports_gradient_checkpointing:
            module.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
            found = True
        elif isinstance(module, ModelMixin) and module._supports_gradient_checkpointing:
            module.enable_gradient_checkpointing(partial(checkpoint, **options))
            found = True
    if not found:
        raise ValueError("activation_checkpointing: this network has no blocks that know it; set none")


def _keep_dear(_: object, operator: object, *__: object, **___: object) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operator in _DEAR else CheckpointPolicy.PREFER_RECOMPUTE
