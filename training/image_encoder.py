"""Pretraining of the image encoder by reconstruction, for presets that have no pretrained one.

A small convolutional decoder must draw the picture from the encoder's features; it is thrown away after. Most of the
time it sees their mean alone: a resampler that is trained from scratch begins by looking everywhere evenly, and what
only single features know reaches it late.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from story_model.build import build_image_encoder
from story_model.config import ImageEncoderConfig
from story_model.manifest import StepResult
from story_model.parts import weights_path
from story_model.pixels import encoder_square, normalised, signed
from training.corpus import load_split
from training.loop import Training
from training.measures import mean_picture_psnr_db, psnr_db
from training.progress import logged
from training.steps import Job
from training.task import Draw, Losses

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


class _Drawing(nn.Module):
    """Encoder and decoder in one."""

    def __init__(self, sizes: ImageEncoderConfig) -> None:
        super().__init__()
        self.encoder = build_image_encoder(sizes)
        self.decoder = _Decoder(math.isqrt(sizes.num_queries), sizes.output_dim, sizes.image_size)

    def forward(self, pixels: Tensor, is_mean_only_B: Tensor | None = None) -> Tensor:
        """Draw pictures (B, 3, H, W) in [-1, 1] from what the encoder sees in their pixels."""
        picture: Tensor = self.decoder(self.encoder(normalised(pixels)), is_mean_only_B)
        return picture


@dataclass(frozen=True)
class _Pictures:
    """Pixels, and which are to be drawn from the mean of their features."""

    pixels: Tensor
    is_mean_only: Tensor

    @property
    def counts(self) -> dict[str, int]:
        """What the loss is a mean over."""
        return {"reconstruction": len(self.pixels)}

    @property
    def num_tokens(self) -> int:
        """None: pictures are counted."""
        return 0

    def to(self, device: torch.device) -> "_Pictures":
        """Move them."""
        return _Pictures(self.pixels.to(device), self.is_mean_only.to(device))


@dataclass(frozen=True)
class _Reconstruction:
    """Pictures (N, 3, H, W) as a task for the loop."""

    pixels: Tensor
    weights: Sequence[float] | None = None

    @property
    def num_samples(self) -> int:
        """Pictures."""
        return len(self.pixels)

    def batch(self, draws: Sequence[Draw]) -> _Pictures:
        """Choose pictures."""
        shares = torch.stack([torch.rand((), generator=draw.generator()) for draw in draws])
        return _Pictures(self.pixels[[draw.row for draw in draws]], shares < _MEAN_ONLY)

    def losses(self, network: nn.Module, batch: _Pictures) -> Losses:
        """Mean squared error of the drawn pixels."""
        drawn = network(batch.pixels, batch.is_mean_only)
        return {"reconstruction": F.mse_loss(drawn.float(), signed(batch.pixels))}


def make(job: Job) -> StepResult:
    """Train encoder and decoder together; keep the encoder."""
    torch.manual_seed(job.config.seed)
    sizes, stage, device = job.config.model.image_encoder, job.config.train.image_encoder, job.processes.device
    splits = [load_split(job, split) for split in ("train", "validation")]
    train, held_out = (split.pixels(split.digests, encoder_square(sizes)) for split in splits)
    network = _Drawing(sizes)

    @torch.no_grad()
    def rebuilt(network: nn.Module) -> Tensor:
        return torch.cat([network(batch.to(device)).float().cpu() for batch in held_out.split(64)]).clamp(-1, 1)

    training = Training(
        network,
        {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad},
        _Reconstruction(train, splits[0].picture_weights),
        config=stage,
        launch=job.launch,
        processes=job.processes,
        seed=job.config.seed,
        out_dir=job.out_dir,
        name="image encoder",
        held_out_loss=lambda network: -psnr_db(rebuilt(network), signed(held_out)),
    )
    with logged(job, "image encoder", stage, part="image_encoder") as log:
        for step in training:
            log.step(step, training)
        metrics = {
            "psnr_db": psnr_db(rebuilt(training.network), signed(held_out)),
            "psnr_baseline_db": mean_picture_psnr_db(signed(train), signed(held_out)),
        }
        log.metrics(metrics, stage.steps)
        training.save_weights(weights_path(job.folder, "image_encoder"), within="encoder.")
        return StepResult(counts={"pictures": len(train)}, metrics=metrics, tracking_run_id=log.run_id)
