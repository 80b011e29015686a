import numpy as np
import pytest
from tellings import features, still, telling

from evaluation.measures.copies import Gallery, copies_of, copies_of_training, is_copy, training_likeness

RNG = np.random.default_rng(2)


def noise(number):
    return RNG.integers(0, 256, (number, 64, 64, 3), dtype=np.uint8)


def shares(found):
    return {name: [value for _, value in values["s"]] for name, values in found.items()}


def test_copies_of_the_opening_of_the_previous_and_of_any_are_counted_apart():
    told = [still(200), still(203), still(10), still(12), None, still(201)]
    found = shares(copies_of([telling(opening=still(10), told=told)]))
    assert found == {
        "copies_of_opening": [0, 0, 1, 1, 0],
        "copies_of_previous": [0, 1, 0, 1, 0],
        "copies_of_any_earlier": [0, 1, 1, 1, 1],
    }


def test_the_first_picture_s_previous_is_the_opening():
    found = shares(copies_of([telling(opening=still(50), told=[still(51)])]))
    assert found["copies_of_previous"] == [1]


def test_values_keep_the_indices_of_their_segments():
    found = copies_of([telling(told=[None, still(3), None, still(90)])])
    assert [index for index, _ in found["copies_of_previous"]["s"]] == [2, 4]


def test_pictures_whose_blocks_agree_are_not_therefore_copies():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert not is_copy(board, 255 - board)
    assert shares(copies_of([telling(opening=board, told=[255 - board])]))["copies_of_opening"] == [0]


def test_the_nearest_picture_is_the_one_a_full_search_finds():
    pool, asked = noise(150), noise(5)
    asked = np.concatenate([asked, np.clip(pool[70:72].astype(int) + 4, 0, 255).astype(np.uint8)])
    differences, at = Gallery(pool).nearest(asked)
    full = np.abs(asked[:, None].astype(int) - pool[None]).mean(axis=(2, 3, 4)) / 255
    assert at.tolist() == full.argmin(axis=1).tolist()
    assert differences == pytest.approx(full.min(axis=1))
    assert at[-2:].tolist() == [70, 71]


def test_the_nearest_picture_is_found_behind_many_whose_blocks_agree_better():
    board = np.repeat((np.indices((64, 64)).sum(axis=0) % 2 * 80 + 88)[..., None], 3, axis=2).astype(np.uint8)
    pool = np.stack([board] * 64 + [still(255)] * 40 + [still(133)])
    differences, at = Gallery(pool).nearest(still(128)[None])
    assert at.tolist() == [104]
    assert differences == pytest.approx([5 / 255])


def test_a_copy_of_a_training_picture_is_found_and_a_new_picture_is_not():
    pool = noise(40)
    story = telling(told=[pool[7], None, still(128)])
    found = copies_of_training([story], Gallery(pool))
    assert found["copies_of_training"]["s"] == [(1, 1), (3, 0)]
    assert found["training_difference"]["s"][0] == (1, 0)
    assert found["training_difference"]["s"][1][1] > 0.2


def test_a_story_without_pictures_copies_nothing():
    found = {**copies_of([telling(told=[None])]), **copies_of_training([telling(told=[None])], Gallery(noise(3)))}
    assert all(values == {"s": []} for values in found.values())


def test_an_empty_gallery_is_refused():
    with pytest.raises(ValueError, match="no picture to compare with"):
        Gallery(noise(0)).nearest(noise(1))


def test_the_nearest_training_picture_by_cosine_is_the_one_that_counts():
    found = training_likeness([features("s", [1, 0], [[1, 0], [0, -1]])], np.array([[0.6, 0.8], [0.8, 0.6]]))
    assert found["similarity_training"]["s"] == [(1, 0.8), (2, pytest.approx(-0.6))]
