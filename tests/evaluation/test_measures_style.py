import numpy as np
import pytest
from tellings import still, telling

from evaluation.distances.random_features import RandomFeatures
from evaluation.measures.features import base_of, by_pixels, features_of, standardised
from evaluation.measures.style import channel_statistics, colour_histograms, colours_of, style_of

NETWORK = RandomFeatures()


def striped(seed, *, tint):
    """Stripes of a hand's own colour, elsewhere in each picture."""
    shift = np.random.default_rng(seed).integers(0, 16)
    picture = np.full((64, 64, 3), 20, np.uint8)
    picture[:, (np.arange(64) + shift) % 16 < 8] = tint
    return picture


def test_statistics_do_not_know_where_things_are():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:24, 16:24] = 255
    rows = channel_statistics(np.stack([picture, np.roll(picture, 24, axis=1)]), NETWORK)
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)
    assert rows.shape == (2, 2 * (24 + 48))


def test_statistics_of_many_pictures_are_those_of_each():
    pictures = np.random.default_rng(0).integers(0, 256, (130, 64, 64, 3), dtype=np.uint8)
    assert np.allclose(channel_statistics(pictures, NETWORK)[-1:], channel_statistics(pictures[-1:], NETWORK))
    assert channel_statistics(pictures[:0], NETWORK).shape == (0, 144)


def test_a_story_that_leaves_its_style_is_less_like_its_opening():
    red, blue = (220, 60, 40), (40, 60, 220)
    kept = telling("kept", opening=striped(0, tint=red), told=[striped(n, tint=red) for n in range(1, 4)])
    left = telling("left", opening=striped(4, tint=red), told=[striped(n, tint=blue) for n in range(5, 8)])
    other = telling("other", opening=still(0), told=[still(90)], reference=[still(200), still(60)])
    rows = features_of([kept, left, other], by_pixels(lambda pixels: channel_statistics(pixels, NETWORK)))
    found = style_of(standardised(rows, base_of(rows)))
    assert min(value for _, value in found["style_opening"]["kept"]) > 0.9
    assert max(value for _, value in found["style_opening"]["left"]) < 0.8
    assert set(found) == {"style_opening", "style_within", "style_reference"}


def test_shares_of_colours_are_counted():
    half = still(0)
    half[:32] = 255
    found = colours_of([telling(opening=still(0), told=[half, None, still(255)])])
    assert found["colours_opening"]["s"] == [(1, 0.5), (3, 0)]
    assert found["colours_within"]["s"] == [(1, 0.5), (3, 0.5)]


def test_a_single_picture_has_no_others():
    found = colours_of([telling(told=[still(3)])])
    assert found["colours_within"]["s"] == []
    assert colours_of([telling(told=[None])])["colours_opening"]["s"] == []


def test_a_histogram_is_of_shares_and_channels_are_told_apart():
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    rows = colour_histograms(np.stack([red, red[..., ::-1]]))
    assert rows.sum(axis=1) == pytest.approx([1, 1])
    assert np.minimum(rows[0], rows[1]).sum() == 0
