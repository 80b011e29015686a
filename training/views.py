"""Pictures as the de-tokenizer's stages see them: what is to be painted, and the features that it is painted from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from story_model.device import dtype_of
from story_model.painting import Painter
from story_model.parts import load_autoencoder, load_detokenizer, load_image_encoder
from story_model.pixels import Square, detokenizer_square, signed, to_image, unsigned
from story_model.tell_config import SamplerConfig
from training.batches import spread
from training.encodings import Encodings
from training.steps import Job

_SHOWN = 12


@dataclass(frozen=True)
class View:
    """Some pictures, row by row."""

    latents: Tensor
    """(N, C, h, w), of the pictures that are to be painted."""
    features: Tensor
    """(N, F, D), that they are painted from."""
    size_ids: Tensor
    """(N, 6): what SD-XL is told about their size and crop."""


class PictureSet(Protocol):
    """Pictures by the sha256 of their files: a split's, or a mixture of several sources."""

    @property
    def digests(self) -> Sequence[str]:
        """Each picture once."""
        ...

    @property
    def picture_weights(self) -> Sequence[float] | None:
        """How often each of `digests` is drawn; none: equally often."""
        ...

    @property
    def encodings(self) -> Encodings:
        """What frozen networks make of them."""
        ...

    def pixels(self, digests: Sequence[str], square: Square) -> Tensor:
        """Decode pictures to squares, uint8 (N, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Views:
    """Pictures of a set, looked at when they are asked for."""

    split: PictureSet
    digests: Sequence[str]
    """Picture of each sample."""
    features_of: Callable[[Sequence[int]], Tensor]
    """Features (N, F, D) of samples."""
    weights: Sequence[float] | None = None
    """How often each sample is drawn; none: equally often."""

    def __len__(self) -> int:
        return len(self.digests)

    def rows(self, rows: Sequence[int]) -> View:
        """Look at some samples."""
        latents, size_ids = self.split.encodings.latents([self.digests[row] for row in rows])
        return View(latents, self.features_of(rows), size_ids)

    def spread(self, count: int) -> "Views":
        """Choose `count` samples evenly over all of them."""
        chosen = spread(range(len(self)), count)
        return replace(
            self,
            digests=[self.digests[row] for row in chosen],
            features_of=lambda rows: self.features_of([chosen[row] for row in rows]),
            weights=self.weights and [self.weights[row] for row in chosen],
        )

    def pictures(self, job: Job) -> Tensor:
        """Decode the pictures, (N, 3, H, W) in [-1, 1], square as the de-tokenizer paints them."""
        return signed(self.split.pixels(self.digests, detokenizer_square(job.config.model.detokenizer)))


def true_views(split: PictureSet) -> Views:
    """View all pictures of a set, with the features that the encoder sees in them."""

    def features_of(rows: Sequence[int]) -> Tensor:
        return split.encodings.features([split.digests[row] for row in rows])

    return Views(split, split.digests, features_of, split.picture_weights)


def save_comparison(path: Path, rows: Sequence[Tensor]) -> Path:
    """Draw the first pictures of several sets below one another, for a person to look at."""
    strips = [torch.cat(list(unsigned(row[:_SHOWN])), dim=2) for row in rows]
    sheet: Image.Image = to_image(torch.cat(strips, dim=1))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path)
    return path


def rebuild(job: Job, part: str, features: Tensor) -> Tensor:
    """Paint pictures (N, 3, H, W) in [-1, 1] from features, without guidance: what the features alone say.

    `part` names the stage whose weights paint, as it left them on disk.
    """
    model, device = job.config.model, job.processes.device
    dtype = dtype_of(job.config.train.stage1.precision)
    painter = Painter(
        load_detokenizer(job.folder, model, "stage1" if part == "stage1" else "stage3", device=device, dtype=dtype),
        load_autoencoder(job.folder, model, device=device),
        load_image_encoder(job.folder, model, device=device, dtype=dtype),
        config=model.detokenizer,
        sampler=SamplerConfig(steps=job.config.train.reconstruction_steps, guidance=1.0),
    )
    return torch.cat(list(painter.paint(features, range(len(features))))).cpu()
