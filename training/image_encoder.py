"""Pretraining of the image encoder by reconstruction, for presets that have no pretrained one.

A small convolutional decoder must draw the picture from the encoder's features; it is thrown away after. Most of the
time it sees their mean alone: a resampler that is trained from scratch begins by looking everywhere evenly, and what
only single features know reaches it late.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from story_model.build import build_image_encoder
from story_model.checkpoint import save_weights
from story_model.manifest import StepResult
from story_model.parts import weights_path
from story_model.pixels import encoder_square, normalised, signed
from story_model.tracking import child_run
from training import loop
from training.batches import rows_of_step
from training.corpus import load_split
from training.measures import mean_picture_psnr_db, psnr_db
from training.progress import log_step
from training.steps import Job

_WIDTHS = (128, 96, 64)
_MEAN_ONLY = 0.7
"""Share of the pictures that are drawn from the mean of their features."""
_UNSHUFFLE = 4


class _Decoder(nn.Module):
    """Features on their grid -> picture: nearest-neighbour upsampling and convolutions."""

    def __init__(self, grid: int, dim: int, side: int) -> None:
        super().__init__()
        doublings = int(math.log2(side // _UNSHUFFLE // grid))
        widths = [_WIDTHS[min(level, len(_WIDTHS) - 1)] for level in range(doublings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(dim, widths[0], 1)]
        for before, after in pairwise(widths):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after)]
            layers.append(nn.SiLU())
        layers += [nn.Conv2d(widths[-1], 3 * _UNSHUFFLE**2, 3, padding=1), nn.PixelShuffle(_UNSHUFFLE)]
        self.grid = grid
        self.places = nn.Parameter(torch.randn(grid**2, dim) * 0.5)
        self.layers = nn.Sequential(*layers)

    def forward(self, features_BFD: Tensor, is_mean_only_B: Tensor | None = None) -> Tensor:
        if is_mean_only_B is not None:
            means_B1D = features_BFD.mean(1, keepdim=True)
            features_BFD = torch.where(is_mean_only_B[:, None, None], means_B1D + self.places, features_BFD)
        grid = features_BFD.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        picture: Tensor = self.layers(grid)
        return picture


def make(job: Job) -> StepResult:
    """Train encoder and decoder together; keep the encoder."""
    torch.manual_seed(job.config.seed)
    sizes, stage = job.config.model.image_encoder, job.config.train.image_encoder
    encoder = build_image_encoder(sizes)
    decoder = _Decoder(math.isqrt(sizes.num_queries), sizes.output_dim, sizes.image_size)
    square = encoder_square(sizes)
    train, held_out = (load_split(job, split, square).pictures.pixels for split in ("train", "validation"))

    def losses_of(step: int, generator: torch.Generator) -> loop.Losses:
        rows = rows_of_step(len(train), stage.batch_size, seed=job.config.seed, step=step)
        batch = train[rows]
        is_mean_only = torch.rand(len(rows), generator=generator) < _MEAN_ONLY
        return {"reconstruction": F.mse_loss(decoder(encoder(normalised(batch)), is_mean_only), signed(batch))}

    parts = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    parameters = {name: parameter for name, parameter in parts.named_parameters() if parameter.requires_grad}
    with child_run(job.folder, "image encoder", settings=job.settings, out_dir=job.out_dir) as tracker:
        tracker.params({"stage": stage.model_dump()})
        for step in loop.train(
            parameters, losses_of, config=stage, seed=job.config.seed, out_dir=job.out_dir, name="image encoder"
        ):
            log_step(tracker, step, stage)
        with torch.no_grad():
            rebuilt = torch.cat([decoder(encoder(normalised(batch))) for batch in held_out.split(64)])
        metrics = {
            "psnr_db": psnr_db(rebuilt.clamp(-1, 1), signed(held_out)),
            "psnr_baseline_db": mean_picture_psnr_db(signed(train), signed(held_out)),
        }
        tracker.metrics(metrics, stage.steps)
        save_weights(encoder, weights_path(job.folder, "image_encoder"))
        return StepResult(counts={"pictures": len(train)}, metrics=metrics, tracking_run_id=tracker.run_id)
