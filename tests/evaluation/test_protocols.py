import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from evaluation.distances.protocols import PREPARE, kept_stories

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 64, 3)).astype(np.uint8)


def prepared(protocol, pixels):
    return PREPARE[protocol](Image.fromarray(pixels)).numpy()


def test_clean_scales_each_channel_in_float_and_rounds_nothing(pixels):
    found = prepared("clean", pixels) * 128 + 128
    red = Image.fromarray(pixels[..., 0].astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC)
    assert found[0] == pytest.approx(np.clip(np.asarray(red), 0, 255), abs=1e-4)
    assert np.abs(found - found.round()).max() > 0.4
    assert (found.min(), found.max()) == (0, 255)


def test_clean_filters_before_it_shrinks():
    """A pattern finer than a pixel becomes grey; without the filter it becomes stripes."""
    stripes = np.zeros((598, 598, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(prepared("clean", stripes)[:, 20:-20, 20:-20]).max() < 0.02


def test_legacy_pytorch_is_the_interpolation_of_pytorch_fid(pixels):
    unit = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    expected = functional.interpolate(unit, (299, 299), mode="bilinear", align_corners=False, antialias=False)[0]
    assert prepared("legacy-pytorch", pixels) == pytest.approx(expected.numpy() * 2 - 1, abs=1e-6)


def test_legacy_pytorch_takes_four_neighbours_however_far_it_shrinks():
    """Pixel k of a picture of twice the size lies between pixels 2k and 2k + 1 and knows no other."""
    pixels = np.random.default_rng(0).integers(0, 256, (598, 598, 3)).astype(np.uint8)
    mean = pixels.reshape(299, 2, 299, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert prepared("legacy-pytorch", pixels) == pytest.approx(mean / 127.5 - 1, abs=1e-5)


def test_storygpt_v_cuts_the_middle_out_and_takes_imagenets_scale_for_signed(pixels):
    """40 x 64 becomes 299 x int(299 * 64 / 40) = 478; the middle begins at round(179 / 2) = 90."""
    whole = np.asarray(Image.fromarray(pixels).resize((478, 299), Image.Resampling.BILINEAR))
    unit = whole[:, 90 : 90 + 299].astype(np.float64) / 255
    expected = ((unit - MEAN) / STD).transpose(2, 0, 1)
    assert prepared("storygpt-v", pixels) == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected).max() > 2


def test_storygpt_v_of_its_own_size_scales_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (299, 299, 3)).astype(np.uint8)
    expected = ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert prepared("storygpt-v", pixels) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("protocol", PREPARE)
def test_every_way_ends_in_what_inception_takes(protocol, pixels):
    found = PREPARE[protocol](Image.fromarray(pixels))
    assert (found.dtype, found.shape) == (torch.float32, (3, 299, 299))


def test_a_grey_picture_keeps_its_value():
    grey = np.full((64, 64, 3), 128, np.uint8)
    values = {protocol: prepared(protocol, grey)[:, 150, 150] for protocol in PREPARE}
    assert values["clean"] == pytest.approx(0, abs=1e-5)
    assert values["legacy-pytorch"] == pytest.approx(128 / 127.5 - 1, abs=1e-5)
    assert values["storygpt-v"] == pytest.approx((128 / 255 - MEAN) / STD, abs=1e-5)


def test_incomplete_batches_of_stories_are_left_out_where_they_were():
    assert [kept_stories("storygpt-v", number) for number in (15, 16, 40)] == [0, 16, 32]
    assert kept_stories("clean", 40) == 40
