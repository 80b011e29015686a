from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tellings import features, still, telling

from evaluation.measures.features import (
    base_of,
    by_images,
    by_pixels,
    features_of,
    remembering,
    standardised,
    unit_length,
)
from evaluation.pictures import Pair
from story_model.config import load_config
from story_model.pixels import detokenizer_square


def means(pixels):
    return pixels.astype(np.float64).mean(axis=(1, 2))


def test_rows_belong_to_the_pictures_that_there_are():
    story = telling(opening=still(9), told=[still(1), None, still(3)], reference=[still(4), still(5)])
    (found,) = features_of([story], by_pixels(means))
    assert found.opening[0] == 9
    assert (found.indices, found.told[:, 0].tolist()) == ((1, 3), [1, 3])
    assert (found.reference_indices, found.reference[:, 0].tolist()) == ((1, 2), [4, 5])


def test_a_story_without_a_picture_has_no_rows():
    (found,) = features_of([telling(told=[None])], by_pixels(means))
    assert found.told.shape == (0, 3)
    assert found.reference.shape == (0, 3)


@pytest.mark.parametrize(("spoiled", "named"), [(2, "told picture 3"), (4, "dataset's picture 2"), (0, "picture 0")])
def test_a_feature_that_is_no_number_names_story_and_picture(spoiled, named):
    story = telling("e4/0", told=[still(1), None, still(3)], reference=[still(4), still(5)])

    def network(pairs):
        rows = np.zeros((len(pairs), 2))
        rows[spoiled] = np.nan
        return rows

    with pytest.raises(ValueError, match=f"story e4/0.*{named}"):
        features_of([story], network)


def test_a_network_that_loses_a_picture_is_found_out():
    with pytest.raises(ValueError, match="2 pictures gave features of shape"):
        features_of([telling(told=[still(1)])], lambda pairs: np.zeros((1, 4)))


def test_a_cosine_of_zero_is_the_likeness_of_unrelated_reference_pictures():
    rng = np.random.default_rng(0)
    story = features("s", np.full(32, 5.5), rng.uniform(5, 6, (100, 32)), rng.uniform(5, 6, (400, 32)))
    (found,) = standardised([story], base_of([story]))
    likeness = found.told @ found.told.T
    assert abs(likeness[np.triu_indices(100, 1)].mean()) < 0.02


def test_a_feature_that_stands_still_in_the_base_does_not_outweigh_the_others():
    base = np.array([[1.0, 0.0], [-1.0, 0.0]])
    (found,) = standardised([features("s", [1, 0], [[1, 0.01]])], base)
    assert found.told[0, 0] > 0.9


def test_one_picture_alone_gives_numbers_and_no_nan():
    alone = features("s", [3, 4], [[3, 4]])
    (found,) = standardised([alone], base_of([alone]))
    assert np.isfinite(found.told).all()


def test_nothing_is_no_base():
    with pytest.raises(ValueError, match="no picture to standardise"):
        standardised([], np.empty((0, 2)))


def test_rows_have_unit_length():
    (found,) = unit_length([features("s", [3, 4], [[0, 2], [0, 0]])])
    assert found.opening == pytest.approx([0.6, 0.8])
    assert np.allclose(found.told, [[0, 1], [0, 0]])


def test_a_picture_that_systems_share_is_computed_once():
    seen = []

    def network(pairs):
        seen.extend(pair.index for pair in pairs)
        return np.stack([pair.pixels.mean(axis=(0, 1)) for pair in pairs])

    extract = remembering(network)
    one = telling(told=[still(1), still(1)], reference=[still(4)])
    other = telling(told=[still(2)], reference=[still(4)])
    found = features_of([one, other], extract)
    assert len(seen) == 4
    assert found[0].told[:, 0].tolist() == [1, 1]
    assert found[1].reference[:, 0].tolist() == [4]


def test_whole_pictures_are_opened_square_and_in_batches(tmp_path: Path):
    square = detokenizer_square(load_config("tiny").model.detokenizer)
    sizes = []

    def network(images):
        sizes.append([image.size for image in images])
        return np.ones((len(images), 2))

    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.new("RGB", (40, 20)).save(path)
    rows = by_images(network, square, batch=2)([Pair(n, "", path, None) for n, path in enumerate(paths)])
    assert rows.shape == (3, 2)
    assert sizes == [[(square.side, square.side)] * 2, [(square.side, square.side)]]
