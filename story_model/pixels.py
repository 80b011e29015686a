"""Pictures as tensors: the one place where encoded bytes become pixels, and pixels what a network wants.

Pixels are uint8 (3, H, W). Pictures are squashed to a square with bilinear resampling, as SEED-Story feeds its encoder.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from story_model.image_encoder import MEAN, STD

_FORMATS = ["JPEG", "PNG", "WEBP"]


def decode_squashed(picture: bytes, side: int) -> Tensor:
    """Decode a picture and squash it to `side` x `side` pixels."""
    with Image.open(io.BytesIO(picture), formats=_FORMATS) as image:
        squashed = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(squashed)).permute(2, 0, 1).contiguous()


def to_image(pixels: Tensor) -> Image.Image:
    """Make a Pillow image of pixels (3, H, W)."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def normalised(pixels: Tensor) -> Tensor:
    """Scale pixels (..., 3, H, W) to what the image encoder was trained on."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels / 255 - mean) / std


def signed(pixels: Tensor) -> Tensor:
    """Scale pixels to [-1, 1], the range of the autoencoder."""
    return pixels / 127.5 - 1


def unsigned(values: Tensor) -> Tensor:
    """Round values in [-1, 1] to pixels."""
    return ((values.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
