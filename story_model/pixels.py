"""Pictures as tensors: the one place where encoded bytes become pixels, and pixels what a network wants.

Pixels are uint8 (3, H, W). Networks see squares; sizes, rounding and filters of `squash` and `crop` are those of
torchvision's Resize and CenterCrop on Pillow pictures, with which SEED-Story was trained. Pixels are taken as they are
stored: an EXIF orientation is not applied, which is SEED-Story's way too (the builder stores its pictures upright).
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from story_model.config import DetokenizerConfig, ImageEncoderConfig, Transform
from story_model.image_encoder import MEAN, STD
from story_model.stored_pictures import PICTURE_FORMATS

SizeIds = tuple[int, int, int, int, int, int]
"""SD-XL's size numbers: original height and width, crop top and left, target height and width."""


@dataclass(frozen=True)
class Square:
    """How pictures become squares; equal ones make equal pixels."""

    side: int
    """Pixels."""
    transform: Transform
    resampling: Image.Resampling = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class SquarePicture:
    """A picture as a network takes it."""

    pixels: Tensor
    """uint8 (3, side, side)."""
    size_ids: SizeIds


def encoder_square(config: ImageEncoderConfig) -> Square:
    """Give the square that the image encoder sees."""
    return Square(config.image_size, config.transform)


def detokenizer_square(config: DetokenizerConfig) -> Square:
    """Give the square that the de-tokenizer learns to paint; SD-XL's crop is the one that scales bicubically."""
    is_crop = config.transform == "crop"
    resampling = Image.Resampling.BICUBIC if is_crop else Image.Resampling.BILINEAR
    return Square(config.picture_size, config.transform, resampling)


def decode_square(picture: bytes, square: Square) -> SquarePicture:
    """Decode a picture and make it square."""
    with Image.open(io.BytesIO(picture), formats=PICTURE_FORMATS) as image:
        whole = image.convert("RGB")
    return _squashed(whole, square) if square.transform == "squash" else _cropped(whole, square)


def _squashed(image: Image.Image, square: Square) -> SquarePicture:
    """Scale both sides; told to SD-XL as a picture that always was this square, for nothing of it is cut off."""
    side = square.side
    pixels = _to_pixels(image.resize((side, side), square.resampling))
    return SquarePicture(pixels, (side, side, 0, 0, side, side))


def _cropped(image: Image.Image, square: Square) -> SquarePicture:
    """Scale the shorter side and cut the middle out."""
    side = square.side
    width, height = scaled_size(image.size, side)
    top, left = middle(height, side), middle(width, side)
    scaled = image.resize((width, height), square.resampling)
    pixels = _to_pixels(scaled.crop((left, top, left + side, top + side)))
    return SquarePicture(pixels, (image.height, image.width, top, left, side, side))


def scaled_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Scale (width, height) so that the shorter one is `side`; the longer one is rounded down."""
    width, height = size
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def size_of(picture: bytes) -> tuple[int, int]:
    """Read an encoded picture's width and height."""
    with Image.open(io.BytesIO(picture), formats=PICTURE_FORMATS) as image:
        return image.size


def unsquashed(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch a square to the shape of pictures (width, height) that were squashed to it; no side becomes shorter."""
    shape = scaled_size(size, pixels.shape[-1])
    return _to_pixels(to_image(pixels).resize(shape, Image.Resampling.LANCZOS))


def middle(length: int, side: int) -> int:
    """Give where the middle `side` of `length` pixels begins; a half goes to the even number."""
    return round((length - side) / 2)


def _to_pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


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
