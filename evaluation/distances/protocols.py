"""How a picture enters Inception: named, because the same pictures are points apart from one way to another.

Every way ends in float32 [3, 299, 299] that goes into the network's first convolution as it is. The name of the way
goes with every distance, and distances of two ways are never compared.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from story_model.evaluate_config import Protocol
from story_model.pixels import middle, scaled_size

SIDE = 299
"""Side in pixels of Inception's pictures."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCHES: Mapping[str, int] = {"storygpt-v": 16}
"""Stories that are taken at once where an incomplete last batch is left out, on either side."""


def clean(image: Image.Image) -> Tensor:
    """Scale each channel in float with Pillow's bicubic filter, unrounded, cut to 0..255; then (x - 128) / 128.

    The mode of that name of clean-fid (Parmar et al. 2022, section 3).
    """
    return (resized(image, SIDE) - 128) / 128


def legacy_pytorch(image: Image.Image) -> Tensor:
    """Scale 0..1 bilinearly without a filter against aliasing, corners not aligned; then 2 x - 1.

    What pytorch-fid does, and with it most papers on stories.
    """
    pixels = _unit(image)[None]
    scaled = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return 2 * scaled[0] - 1


def storygpt_v(image: Image.Image) -> Tensor:
    """Do as StoryGPT-V's evaluation does, to be compared with its numbers and with nothing else.

    Its pictures are prepared for its classifier (shorter side to 299, Pillow's bilinear filter, the middle cut out,
    ImageNet's mean and deviation) and then taken for -1..1. Inception's own scaling to 299 changes nothing after that.
    """
    width, height = scaled_size(image.size, SIDE)
    top, left = middle(height, SIDE), middle(width, SIDE)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    normalised = imagenet(_unit(scaled.crop((left, top, left + SIDE, top + SIDE))))
    return 2 * ((normalised + 1) / 2) - 1


PREPARE: Mapping[Protocol, Callable[[Image.Image], Tensor]] = {
    "clean": clean,
    "legacy-pytorch": legacy_pytorch,
    "storygpt-v": storygpt_v,
}


def kept_stories(protocol: str, number: int) -> int:
    """Say how many of the first stories are measured; all but where incomplete batches are left out."""
    size = BATCHES.get(protocol, 1)
    return number // size * size


def resized(image: Image.Image, side: int) -> Tensor:
    """Scale an RGB picture to a square, each channel in float with Pillow's bicubic filter: [3, side, side], 0..255."""
    channels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)
    scaled = [Image.fromarray(channel).resize((side, side), Image.Resampling.BICUBIC) for channel in channels]
    return torch.from_numpy(np.stack([np.asarray(channel).clip(0, 255) for channel in scaled]))


def imagenet(pixels: Tensor) -> Tensor:
    """Subtract ImageNet's mean from [3, H, W] in 0..1 and divide by its deviation."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


def _unit(image: Image.Image) -> Tensor:
    """Turn an RGB picture into float [3, H, W] in 0..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
