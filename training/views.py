"""A split's pictures as the de-tokenizer's stages see them: pixels, latents and features, each made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from story_model.autoencoder import Autoencoder
from story_model.config import SamplerConfig
from story_model.detokenizer import Detokenizer
from story_model.image_encoder import ImageEncoder
from story_model.painting import Painter
from story_model.parts import load_image_encoder
from story_model.pixels import signed, to_image, unsigned
from training.batches import spread
from training.corpus import load_split
from training.pictures import encode_features
from training.steps import Job

_SHOWN = 12


@dataclass(frozen=True)
class Views:
    """Three views of the same N pictures, row by row."""

    pictures: Tensor
    """(N, 3, H, W) in [-1, 1]."""
    latents: Tensor
    features: Tensor

    def rows(self, rows: Sequence[int]) -> "Views":
        """Choose pictures."""
        return Views(self.pictures[rows], self.latents[rows], self.features[rows])

    def spread(self, count: int) -> "Views":
        """Choose `count` pictures evenly over all of them."""
        return self.rows(spread(range(len(self.pictures)), count))


@torch.no_grad()
def load_views(job: Job, split: str, encoder: ImageEncoder, autoencoder: Autoencoder) -> Views:
    """Read a split's pictures; each is encoded once.

    Raises:
        ValueError: encoder and de-tokenizer work on pictures of different sizes, which this stage does not do yet.
    """
    side = job.config.model.detokenizer.picture_size
    if side != encoder.image_size:
        raise ValueError(f"model: detokenizer.picture_size {side} and image_encoder.image_size must be equal")
    pictures = load_split(job, split, side).pictures
    return views_of(pictures.pixels, encode_features(encoder, pictures), autoencoder)


@torch.no_grad()
def views_of(pixels: Tensor, features: Tensor, autoencoder: Autoencoder) -> Views:
    """Set up the views of pictures (N, 3, H, W) whose features are known."""
    values = signed(pixels)
    return Views(values, autoencoder.encode(values), features)


def save_comparison(path: Path, rows: Sequence[Tensor]) -> Path:
    """Draw the first pictures of several sets below one another, for a person to look at."""
    strips = [torch.cat(list(unsigned(row[:_SHOWN])), dim=2) for row in rows]
    sheet: Image.Image = to_image(torch.cat(strips, dim=1))
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path)
    return path


def rebuild(job: Job, detokenizer: Detokenizer, autoencoder: Autoencoder, features: Tensor) -> Tensor:
    """Paint pictures (N, 3, H, W) in [-1, 1] from features, without guidance: what the features alone say."""
    model = job.config.model
    painter = Painter(
        detokenizer,
        autoencoder,
        load_image_encoder(job.folder, model),
        config=model.detokenizer,
        sampler=SamplerConfig(steps=job.config.train.reconstruction_steps, guidance=1.0),
    )
    return torch.cat(list(painter.paint(features, range(len(features)))))
