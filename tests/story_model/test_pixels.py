"""Pictures become squares to the pixel as torchvision makes them, and SD-XL is told what was cut off."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from story_model import detokenizer
from story_model.config import DetokenizerConfig, ImageEncoderConfig
from story_model.pixels import Square, decode_square, detokenizer_square, encoder_square

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
SIZES = [(853, 479), (480, 854), (101, 100), (100, 101), (180, 100), (64, 64), (65, 65), (31, 200), (64, 90)]
SIDES = [64, 65]


def drawn(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Draw noise: any other size, filter or offset shows."""
    width, height = size
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return data.getvalue()


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def torchvision_crop(image: Image.Image, side: int, resampling: Image.Resampling) -> Tensor:
    """Follow what torchvision documents and does: Resize(side), then CenterCrop(side)."""
    shape = np.array([image.height, image.width])
    new_h, new_w = (side if edge == shape.min() else int(side * int(edge) / int(shape.min())) for edge in shape)
    scaled = tensor(image.resize((new_w, new_h), resampling))
    top, left = int(round((new_h - side) / 2.0)), int(round((new_w - side) / 2.0))  # noqa: RUF046 - as published
    return scaled[:, top : top + side, left : left + side]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("square_of", "resampling"),
    [
        (lambda side: encoder_square(ImageEncoderConfig(image_size=side, transform="crop")), BILINEAR),
        (lambda side: detokenizer_square(DetokenizerConfig(picture_size=side, transform="crop")), BICUBIC),
    ],
    ids=["encoder", "detokenizer"],
)
def test_a_crop_is_torchvision_s_to_the_pixel(square_of, resampling, size, side) -> None:
    image = drawn(size)
    pixels = decode_square(encoded(image), square_of(side)).pixels
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, side, side)
    assert torch.equal(pixels, torchvision_crop(image, side, resampling))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "square_of",
    [
        lambda side: encoder_square(ImageEncoderConfig(image_size=side)),
        lambda side: detokenizer_square(DetokenizerConfig(picture_size=side)),
    ],
    ids=["encoder", "detokenizer"],
)
def test_a_squashed_picture_is_all_of_it_scaled_bilinearly(square_of, size, side) -> None:
    image = drawn(size)
    pixels = decode_square(encoded(image), square_of(side)).pixels
    assert torch.equal(pixels, tensor(image.resize((side, side), BILINEAR)))


@pytest.mark.parametrize(
    ("size", "side", "top", "left"),
    [
        ((854, 480), 1024, 0, 398),  # 1821 wide: 398.5 goes to the even number
        ((480, 854), 1024, 398, 0),
        ((853, 479), 64, 0, 24),  # 113 wide, not 114: 24.5 goes to the even number
        ((180, 100), 64, 0, 26),  # 115 wide: 25.5 goes to the even number
        ((854, 480), 65, 0, 25),
        ((101, 100), 64, 0, 0),
        ((64, 64), 64, 0, 0),
        ((100, 100), 64, 0, 0),
    ],
)
def test_a_crop_s_size_ids_are_what_was_there_and_what_was_cut_off(size, side, top, left) -> None:
    width, height = size
    picture = decode_square(encoded(drawn(size)), Square(side, "crop"))
    assert picture.size_ids == (height, width, top, left, side, side)


def test_a_squashed_picture_s_size_ids_are_those_that_pictures_are_painted_with() -> None:
    picture = decode_square(encoded(drawn((90, 50))), Square(64, "squash"))
    assert torch.equal(torch.tensor([picture.size_ids]).float(), detokenizer.size_ids(64, 1))


@pytest.mark.parametrize("transform", ["squash", "crop"])
def test_a_picture_is_taken_as_it_is_stored_whatever_its_orientation_says(transform) -> None:
    image, exif = drawn((90, 50)), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    turned = encoded(image, exif=exif)
    with Image.open(io.BytesIO(turned)) as stored:
        assert stored.getexif()[0x0112] == 6
    found, expected = (decode_square(picture, Square(32, transform)) for picture in (turned, encoded(image)))
    assert torch.equal(found.pixels, expected.pixels)
    assert found.size_ids == expected.size_ids


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_a_picture_is_scaled_in_colour_whatever_its_mode(mode) -> None:
    image = drawn((90, 50), mode)
    pixels = decode_square(encoded(image), Square(32, "crop")).pixels
    assert torch.equal(pixels, torchvision_crop(image.convert("RGB"), 32, BILINEAR))


def test_only_squares_that_make_equal_pixels_are_equal() -> None:
    def both(transform: str, side: int = 64) -> tuple[Square, Square]:
        encoder = ImageEncoderConfig.model_validate({"image_size": 64, "transform": transform})
        paints = DetokenizerConfig.model_validate({"picture_size": side, "transform": transform})
        return encoder_square(encoder), detokenizer_square(paints)

    assert len(set(both("squash"))) == 1
    assert len(set(both("squash", 32))) == 2
    assert len(set(both("crop"))) == 2  # the filters differ
