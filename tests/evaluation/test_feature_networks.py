"""The networks that a configuration opens, and features that are computed once."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from evaluation.distances.extraction import story_features
from evaluation.distances.feature_cache import FeatureCache
from evaluation.distances.inception import Inception
from evaluation.distances.networks import open_networks, random_network
from evaluation.distances.random_features import EXTRACTOR, RandomFeatures, extract, fingerprint
from evaluation.pictures import Pair, measured
from story_model.evaluate_config import DistancesConfig, NetworksConfig
from story_model.manifest import sha256_of
from story_model.pixels import Square

SQUARE = Square(80, "squash")


def encoded(number, size=(80, 80)):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def pair(number, size=(80, 80)):
    picture = encoded(number, size)
    return Pair(number, "", picture, measured(picture, square=SQUARE))


@pytest.fixture
def stories():
    return [[pair(0), pair(1)], [], [pair(2), Pair(3, "no picture", None, None), pair(0)]]


class Counted:
    """A network that says how many pictures it has seen."""

    def __init__(self):
        self.seen = 0
        network = random_network()

        def forward(pictures):
            self.seen += len(pictures)
            return network.forward(pictures)

        self.network = dataclasses.replace(network, forward=forward)


def test_random_features_are_there_without_any_file():
    (network,) = open_networks(NetworksConfig(), DistancesConfig())
    assert (network.key, network.digest) == (f"{EXTRACTOR}/squashed", fingerprint(RandomFeatures()))


def test_random_features_are_those_that_earlier_numbers_were_in(stories):
    found = story_features(stories, random_network(), FeatureCache(), square=SQUARE)
    assert [len(story) for story in found] == [2, 0, 2]
    pixels = np.stack([stories[0][0].pixels, stories[0][1].pixels])
    assert found[0] == pytest.approx(extract(pixels, RandomFeatures()), rel=1e-5, abs=1e-6)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Both trained networks with random weights."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    torch.save(Inception().state_dict(), folder / "inception.pth")
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(folder / "dino")
    return NetworksConfig(
        inception=str(folder / "inception.pth"),
        inception_sha256=sha256_of(folder / "inception.pth"),
        dino=str(folder / "dino"),
    )


def test_a_configuration_names_the_networks_and_ways(files):
    networks = open_networks(files, DistancesConfig(protocols=("clean", "storygpt-v")))
    assert [network.key for network in networks] == [
        f"{EXTRACTOR}/squashed",
        "inception-2015-12-05/clean",
        "inception-2015-12-05/storygpt-v",
        "dinov2/224-bicubic-cls",
    ]
    assert networks[1].digest == networks[2].digest == files.inception_sha256


def test_whole_pictures_enter_trained_networks_as_the_told_square(files):
    """A wide picture of the dataset is squashed as the de-tokenizer learnt it, then prepared for the network."""
    for network in open_networks(files, DistancesConfig(protocols=("clean",)))[1:]:
        wide = pair(5, size=(160, 90))
        (found,) = story_features([[wide]], network, FeatureCache(), square=SQUARE)
        with torch.inference_mode():
            expected = network.forward(network.prepare(wide.squared(SQUARE))[None]).numpy()
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_each_picture_is_looked_at_once(stories):
    counted = Counted()
    story_features(stories, counted.network, FeatureCache(), square=SQUARE)
    assert counted.seen == 3


def test_a_second_evaluation_recomputes_nothing(stories, tmp_path):
    first, second = Counted(), Counted()
    before = story_features(stories, first.network, FeatureCache(tmp_path), square=SQUARE)
    after = story_features(stories, second.network, FeatureCache(tmp_path), square=SQUARE)
    assert (first.seen, second.seen) == (3, 0)
    assert all(np.array_equal(*sides) for sides in zip(before, after, strict=True))


def test_a_new_picture_alone_is_computed(stories, tmp_path):
    story_features(stories, Counted().network, FeatureCache(tmp_path), square=SQUARE)
    counted = Counted()
    story_features([*stories, [pair(9)]], counted.network, FeatureCache(tmp_path), square=SQUARE)
    assert counted.seen == 1


@pytest.mark.parametrize("change", [{"digest": "of other weights"}, {"protocol": "another way"}, {"name": "other"}])
def test_another_network_s_features_are_never_taken(stories, tmp_path, change):
    story_features(stories, Counted().network, FeatureCache(tmp_path), square=SQUARE)
    counted = Counted()
    other = dataclasses.replace(counted.network, **change)
    story_features(stories, other, FeatureCache(tmp_path), square=SQUARE)
    assert counted.seen == 3


def test_features_that_are_not_finite_are_not_kept(stories, tmp_path):
    network = dataclasses.replace(random_network(), forward=lambda pictures: torch.full((len(pictures), 4), torch.nan))
    story_features(stories, network, FeatureCache(tmp_path), square=SQUARE)
    assert not FeatureCache(tmp_path).known(network)


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_spoiled_file_of_features_is_named(stories, tmp_path, content):
    network = random_network()
    story_features(stories, network, FeatureCache(tmp_path), square=SQUARE)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="remove it"):
        FeatureCache(tmp_path).known(network)


def test_features_that_are_pickles_are_not_unpickled(tmp_path, stories):
    network = random_network()
    story_features(stories, network, FeatureCache(tmp_path), square=SQUARE)
    (path,) = tmp_path.rglob("*.npz")
    np.savez(path, pictures=np.array([print], dtype=object), features=np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="remove it"):
        FeatureCache(tmp_path).known(network)


def test_pictures_go_where_the_network_computes(stories):
    seen = set()

    def forward(pictures):
        seen.add(pictures.device.type)
        return torch.zeros(len(pictures), 4)

    network = dataclasses.replace(random_network(), forward=forward, device=torch.device("meta"))
    story_features(stories, network, FeatureCache(), square=SQUARE)
    assert seen == {"meta"}


def test_systems_without_pictures_have_no_features():
    found = story_features([[], [Pair(1, "", None, None)]], random_network(), FeatureCache(), square=SQUARE)
    assert [len(story) for story in found] == [0, 0]
