"""Openings of any shape: looked at, or refused with the story's name in one line."""

from dataclasses import replace

import pytest
import torch
from fabricated_run import encoded
from PIL import Image

from evaluation.telling.openings import start_of
from story_model.build import build_image_encoder
from story_model.config import RunConfig, load_config, override_config
from story_model.dataset import Story
from story_model.image_encoder import ImageEncoder

SHAPE_KEPT = [["tell.sampler.aspect=source"], ["model.detokenizer.transform=crop"]]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config("tiny")


@pytest.fixture(scope="module")
def encoder(config) -> ImageEncoder:
    torch.manual_seed(0)
    return build_image_encoder(config.model.image_encoder)


def story_of(picture: bytes) -> Story:
    return Story("e1/0", "stories", "validation", "e1", (picture,) * 2, ("a", "b"), (0, 1), ("", ""))


@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000), (20_000, 300)])
def test_a_picture_of_any_shape_is_squashed(config, encoder, size) -> None:
    start = start_of(0, story_of(encoded(Image.new("RGB", size, "red"), "PNG")), encoder, config)
    assert start.shown.shape == (3, 64, 64)
    assert (start.shown == torch.tensor([255, 0, 0])[:, None, None]).all()
    assert start.opening.features.isfinite().all()


@pytest.mark.parametrize("overrides", SHAPE_KEPT, ids=["shown", "cropped"])
def test_a_picture_whose_shape_is_kept_may_be_small_but_not_a_thread(config, encoder, overrides) -> None:
    config = override_config(config, overrides)
    start_of(0, story_of(encoded(Image.new("RGB", (1, 1)), "PNG")), encoder, config)
    with pytest.raises(ValueError, match=r"story e1/0: .*20000 x 1 pixels would become 1280000 x 64"):
        start_of(0, story_of(encoded(Image.new("RGB", (20_000, 1)), "PNG")), encoder, config)


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (encoded(Image.new("L", (20_000, 10_000)), "PNG"), "exceeds limit"),
        (b"no picture", "cannot identify"),
        (b"", "cannot identify"),
        (encoded(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")[:-800], "truncated"),
        (encoded(Image.effect_noise((64, 64), 50).convert("RGB"), "PNG")[:-2000], "truncated"),
    ],
    ids=["decompression bomb", "text", "nothing", "half a JPEG", "half a PNG"],
)
def test_what_cannot_be_decoded_is_told_of_in_one_line(config, encoder, picture, why) -> None:
    with pytest.raises(ValueError, match=rf"^story e1/0: .*{why}.*build the dataset anew$") as refused:
        start_of(0, story_of(picture), encoder, config)
    assert "\n" not in str(refused.value)


def test_every_byte_changed_in_a_picture_is_decoded_or_refused(config, encoder) -> None:
    picture = encoded(Image.new("RGB", (8, 8), "red"), "PNG")
    refusals = []
    for place in range(len(picture)):
        damaged = picture[:place] + bytes([picture[place] ^ 255]) + picture[place + 1 :]
        try:
            start_of(0, story_of(damaged), encoder, config)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(refusal.startswith("story e1/0: ") for refusal in refusals)


def test_a_story_without_pictures_is_named(config, encoder) -> None:
    with pytest.raises(ValueError, match="story e1/0"):
        start_of(0, replace(story_of(b""), images=()), encoder, config)
