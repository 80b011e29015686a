import numpy as np
import pytest

from evaluation.distances.random_features import EXTRACTOR, RandomFeatures, extract, fingerprint


@pytest.fixture(scope="module")
def network():
    return RandomFeatures()


def noise(number):
    return np.random.default_rng(0).integers(0, 256, (number, 64, 64, 3)).astype(np.uint8)


def test_the_network_is_the_same_everywhere(network):
    """A changed network needs a changed name: numbers in old and new features cannot be compared."""
    assert (EXTRACTOR, fingerprint(network)) == ("random-conv-64px-1", "315576dd5f64bf1a")


def test_features_do_not_depend_on_the_batch(network):
    pictures = noise(130)
    assert extract(pictures, network)[129] == pytest.approx(extract(pictures[129:], network)[0], rel=1e-4, abs=1e-5)


def test_the_network_does_not_train(network):
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_colour_and_place_of_a_spot_are_seen(network):
    pictures = np.full((3, 64, 64, 3), 128, np.uint8)
    pictures[0, 8:24, 8:24] = pictures[1, 40:56, 40:56] = (255, 0, 0)
    pictures[2, 8:24, 8:24] = (0, 0, 255)
    red, moved, blue = extract(pictures, network)
    scale = np.linalg.norm(red)
    assert np.linalg.norm(red - moved) > 0.05 * scale
    assert np.linalg.norm(red - blue) > 0.05 * scale


def test_no_picture_has_no_features(network):
    assert extract(noise(0), network).shape == (0, 256)
