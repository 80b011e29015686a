"""Our networks on the meta device: what a published file is measured against, and what it is loaded into."""

from collections.abc import Callable
from dataclasses import dataclass

from accelerate import init_empty_weights
from torch import nn

from story_model.build import (
    build_autoencoder,
    build_detokenizer,
    build_image_encoder,
    build_llama,
    build_mllm,
    llama2_vocabulary,
)
from story_model.config import ModelConfig
from story_model.released.kinds import Kind
from story_model.released.plans import Shapes
from story_model.workspace import Part


@dataclass(frozen=True)
class Network:
    """One of our networks, as far as published weights fill it."""

    kind: Kind
    part: Part
    """Where a run keeps it."""
    build: Callable[[ModelConfig], nn.Module]

    def on_meta(self, config: ModelConfig) -> nn.Module:
        """Make it without memory for its parameters; constants that no file holds are real."""
        with init_empty_weights(include_buffers=False):
            return self.build(config)

    def shapes(self, config: ModelConfig) -> Shapes:
        """Give names and shapes of all that a file has to hold."""
        return {name: tuple(tensor.shape) for name, tensor in self.on_meta(config).state_dict().items()}


def networks(config: ModelConfig) -> dict[Kind, Network]:
    """List the networks that a configuration takes from published files."""
    found = [
        Network("image encoder", "image_encoder", lambda model: build_image_encoder(model.image_encoder)),
        Network("MLLM", "stage2", lambda model: build_mllm(model, build_llama(model, llama2_vocabulary(model.mllm)))),
        Network("de-tokenizer", "stage3", build_detokenizer),
    ]
    if config.detokenizer.autoencoder == "sdxl":
        found.append(Network("autoencoder", "autoencoder", lambda model: build_autoencoder(model.detokenizer)))
    return {network.kind: network for network in found}
