"""The published way to train stage 2, on our networks: what `training.py` is compared with.

One target a sequence, drawn at random; pictures decoded and encoded anew each time; sequences of a fixed length; logits
of every position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from story_model.dataset import Story
from story_model.image_encoder import ImageEncoder
from story_model.mllm import Mllm, feature_error
from story_model.pixels import Square, decode_square, normalised
from story_model.tokens import IGNORED, StoryTokenizer, training_sample
from training.batches import random_target
from training.task import Draw, Losses


@dataclass(frozen=True)
class PaddedBatch:
    """Sequences of one target each, a row each, and their pictures' pixels."""

    input_ids: Tensor
    labels: Tensor
    context_positions: Tensor
    target_positions: Tensor
    pixels: Tensor
    features_are_target_N: Tensor  # noqa: N815 - StoryBatch's name for it
    num_real: int
    """Positions that are not padding."""

    @property
    def counts(self) -> dict[str, int]:
        """What losses are means over."""
        return {"word": int((self.labels[:, 1:] != IGNORED).sum()), "feature": len(self.labels)}

    @property
    def num_tokens(self) -> int:
        """Positions that are computed."""
        return self.input_ids.numel()

    @property
    def num_padding(self) -> int:
        """Positions of no sequence."""
        return self.num_tokens - self.num_real

    def to(self, device: torch.device) -> "PaddedBatch":
        """Move it."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class PublishedPass(nn.Module):
    """The frozen encoder and the language model, trained in one pass over pixels."""

    def __init__(self, mllm: Mllm, encoder: ImageEncoder) -> None:
        super().__init__()
        self.mllm, self.encoder = mllm, encoder

    def forward(self, batch: PaddedBatch) -> Losses:
        """Encode, read, score everything."""
        mllm = self.mllm
        with torch.no_grad():
            features = self.encoder(batch.pixels)
        context = mllm.input_resampler(features[~batch.features_are_target_N]).flatten(0, 1)
        embeds = mllm.embed(batch.input_ids)
        embeds = embeds.masked_scatter(batch.context_positions[..., None], context.to(embeds.dtype))
        hidden = mllm.llama.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        logits = mllm.llama.lm_head(hidden).float()
        predicted = mllm.predict_features(hidden[batch.target_positions])
        return {
            "word": cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()),
            "feature": feature_error(predicted, features[batch.features_are_target_N]),
        }


@dataclass(frozen=True)
class PublishedTelling:
    """Chunks up to a target drawn at random, from picture files, padded to a fixed length."""

    chunks: list[Story]
    pictures: Path
    square: Square
    tokenizer: StoryTokenizer
    maximum: int
    weights: None = None

    @property
    def num_samples(self) -> int:
        """Chunks."""
        return len(self.chunks)

    def batch(self, draws: Sequence[Draw]) -> PaddedBatch:
        """Decode all pictures of the chunks, keep those up to the target, fill rows up."""
        samples, seen, is_target = [], [], []
        for one in draws:
            story = self.chunks[one.row]
            target = random_target(story, one.generator())
            files = [(self.pictures / f"{key}.jpg").read_bytes() for key in story.image_sha256]
            decoded = torch.stack([decode_square(file, self.square).pixels for file in files])
            seen.append(normalised(decoded)[: target + 1])
            is_target += [*[False] * target, True]
            samples.append(training_sample(self.tokenizer, list(story.captions), target))
        fill = self._filled
        return PaddedBatch(
            input_ids=fill([sample.input_ids for sample in samples], self.tokenizer.pad),
            labels=fill([sample.labels for sample in samples], IGNORED),
            context_positions=fill([sample.context_positions for sample in samples], False),
            target_positions=fill([sample.target_positions for sample in samples], False),
            pixels=torch.cat(seen),
            features_are_target_N=torch.tensor(is_target),
            num_real=sum(len(sample.input_ids) for sample in samples),
        )

    def losses(self, network: nn.Module, batch: PaddedBatch) -> Losses:
        """Run the pass."""
        losses: Losses = network(batch)
        return losses

    def _filled(self, rows: Sequence[Sequence[int] | Sequence[bool]], filler: int) -> Tensor:
        return torch.tensor([[*row, *[filler] * (self.maximum - len(row))] for row in rows])
