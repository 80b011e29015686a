"""A split's pictures as the de-tokenizer's stages see them: pixels, latents, features and sizes, each made once."""

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
from story_model.pixels import detokenizer_square, encoder_square, signed, to_image, unsigned
from training.batches import spread
from training.corpus import load_split
from training.pictures import encode_features
from training.steps import Job

_SHOWN = 12


@dataclass(frozen=True)
class Views:
    """Several views of the same N pictures, row by row."""

    pictures: Tensor
    """(N, 3, H, W) in [-1, 1], square as the de-tokenizer paints them."""
    latents: Tensor
    """(N, C, h, w), of `pictures`."""
    features: Tensor
    """(N, F, D), of the pictures as the encoder sees them, or what the language model predicts of these."""
    size_ids: Tensor
    """(N, 6): what SD-XL is told about the size and crop of `pictures`."""

    def rows(self, rows: Sequence[int]) -> "Views":
        """Choose pictures."""
        return Views(self.pictures[rows], self.latents[rows], self.features[rows], self.size_ids[rows])

    def spread(self, count: int) -> "Views":
        """Choose `count` pictures evenly over all of them."""
        return self.rows(spread(range(len(self.pictures)), count))


@torch.no_grad()
def load_views(job: Job, split: str, encoder: ImageEncoder, autoencoder: Autoencoder) -> Views:
    """Read a split's pictures; each is encoded once."""
    model = job.config.model
    seen = load_split(job, split, encoder_square(model.image_encoder))
    features = encode_features(encoder, seen.pictures)
    painted = seen.pictures_as(detokenizer_square(model.detokenizer))
    return views_of(painted.pixels, painted.size_ids, features=features, autoencoder=autoencoder)


@torch.no_grad()
def views_of(pixels: Tensor, size_ids: Tensor, *, features: Tensor, autoencoder: Autoencoder) -> Views:
    """Set up the views of pictures (N, 3, H, W) whose features (N, F, D) are known."""
    values = signed(pixels)
    return Views(values, autoencoder.encode(values), features, size_ids)


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
