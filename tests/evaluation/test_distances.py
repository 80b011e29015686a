import dataclasses

import numpy as np
import pytest

from evaluation.distances.distances import Distances, distances_of, incomparable
from evaluation.distances.networks import random_network
from story_model.evaluate_config import DistancesConfig

FEW_DRAWS = DistancesConfig(resamples=50, subsets=5)


@pytest.fixture(scope="module")
def network():
    return random_network()


def stories(seed, *, number=20, each=3, shift=0.0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((each, 6)) + shift for _ in range(number)]


def test_every_distance_has_its_interval_and_says_in_what_it_was_measured(network):
    found = distances_of(stories(0, shift=0.5), stories(1), network, FEW_DRAWS, seed=0)
    for name in ("frechet", "frechet_extrapolated", "kernel", "precision", "recall", "density", "coverage"):
        estimate = getattr(found, name)
        assert estimate.low <= estimate.value <= estimate.high, name
    assert (found.key, found.digest) == (network.key, network.digest)
    assert (found.stories, found.told, found.reference) == (20, 60, 60)


def test_it_can_be_written_and_read(network):
    found = distances_of(stories(0), stories(1), network, FEW_DRAWS, seed=0)
    assert Distances.model_validate_json(found.model_dump_json()) == found


def test_a_seed_gives_the_same_numbers(network):
    first, again = (distances_of(stories(0), stories(1), network, FEW_DRAWS, seed=3) for _ in range(2))
    assert first == again


def flags(told, reference, network, config=FEW_DRAWS):
    return " | ".join(distances_of(told, reference, network, config, seed=0).flags)


def test_small_numbers_are_flagged_as_biased(network):
    assert "biased: 60 told and 60 true pictures" in flags(stories(0), stories(1), network)
    enough = stories(0, each=103), stories(1, each=103)
    config = DistancesConfig(resamples=0, subsets=1)
    assert flags(*enough, network, config) == ""


def test_unequal_numbers_are_flagged(network):
    assert "unequal numbers: 40 told pictures against 60 true ones" in flags(stories(0, each=2), stories(1), network)


def test_what_cannot_be_measured_says_why(network):
    few = distances_of(stories(0, number=2, each=1), stories(1, number=2, each=1), network, FEW_DRAWS, seed=0)
    assert few.frechet is not None
    assert (few.frechet_extrapolated, few.precision) == (None, None)
    assert any("not extrapolated: 2 stories" in flag for flag in few.flags)
    assert any("no precision or recall" in flag for flag in few.flags)
    none = distances_of([np.empty((0, 6))], [np.empty((0, 6))], network, FEW_DRAWS, seed=0)
    assert none.frechet is none.kernel is None
    assert any("nothing measured" in flag for flag in none.flags)


def test_storygpt_v_leaves_out_incomplete_batches_and_says_so(network):
    other = dataclasses.replace(network, protocol="storygpt-v")
    told, reference = stories(0, shift=0.3), stories(1)
    found = distances_of(told, reference, other, FEW_DRAWS, seed=0)
    whole = distances_of(told[:16], reference[:16], network, FEW_DRAWS, seed=0)
    assert found.stories == 16
    assert found.frechet == whole.frechet
    assert any("4 of 20 stories" in flag for flag in found.flags)
    few = distances_of(told[:15], reference[:15], other, FEW_DRAWS, seed=0)
    assert (few.stories, few.frechet) == (0, None)


def test_numbers_that_mean_different_things_are_not_set_side_by_side(network):
    first = distances_of(stories(0), stories(1), network, FEW_DRAWS, seed=0)
    assert incomparable(first, first) is None
    assert "the other in" in incomparable(first, first.model_copy(update={"protocol": "clean"}))
    assert "weights" in incomparable(first, first.model_copy(update={"digest": "f" * 64}))
    assert "number of pictures" in incomparable(first, first.model_copy(update={"told": 59}))
