"""Does a system copy pictures: the opening, the one before, any earlier one of its story, or one it was trained on?

Two pictures are copies where their mean absolute difference at the measured size is under 3 % of the value range. What
is as near as that to another has no likeness to tell of: it is the same picture.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from evaluation.measures.features import Rows, StoryFeatures
from evaluation.measures.measure import Values
from evaluation.pictures import Pair, Pixels, Telling, stack

COPY_DIFFERENCE = 0.03
"""Pictures whose mean absolute difference is below this share of the value range count as copies."""
_COARSE = 8
"""Side in pixels at which pictures are compared first."""
_AT_ONCE = 64
"""Pictures that are compared in full at once."""


class Gallery:
    """Pictures in which the nearest to another one is found, exactly.

    The difference of averages of blocks is never above the average difference (the triangle inequality), so most
    pictures are ruled out at 8 x 8 pixels.
    """

    def __init__(self, pictures: Pixels) -> None:
        self.pictures = pictures
        self._coarse = _blocks(pictures)

    def nearest(self, pictures: Pixels) -> tuple[Rows, NDArray[np.int64]]:
        """Find each picture's nearest: mean absolute differences 0-1 and places in the gallery, [N] each.

        Raises:
            ValueError: the gallery is empty.
        """
        if not len(self.pictures):
            raise ValueError("no picture to compare with")
        found = [self._nearest(picture) for picture in pictures]
        return np.array([difference for difference, _ in found]), np.array([at for _, at in found], dtype=np.int64)

    def _nearest(self, picture: Pixels) -> tuple[float, int]:
        bounds = cdist(_blocks(picture[None]), self._coarse, "cityblock")[0] / self._coarse.shape[1]
        order = np.argsort(bounds, kind="stable")
        best, at = np.inf, -1
        for start in range(0, len(order), _AT_ONCE):
            rows = order[start : start + _AT_ONCE]
            if bounds[rows[0]] > best:
                break
            differences = _differences(picture, self.pictures[rows])
            nearest = int(differences.argmin())
            if differences[nearest] < best:
                best, at = float(differences[nearest]), int(rows[nearest])
        return best, at


def copies_of(tellings: Sequence[Telling]) -> dict[str, Values]:
    """Tell for each picture of one system whether it copies the opening, the one before, any one before."""
    found = {telling.story_id: _copies(telling) for telling in tellings}
    names = ("copies_of_opening", "copies_of_previous", "copies_of_any_earlier")
    return {
        name: {story: [(index, float(flags[at])) for index, flags in rows] for story, rows in found.items()}
        for at, name in enumerate(names)
    }


def copies_of_training(tellings: Sequence[Telling], training: Gallery) -> dict[str, Values]:
    """Hold each picture against training keyframes: its difference from the nearest, and whether it is a copy of it.

    Only keyframes that were drawn into the gallery can be found, so the share is a lower bound.

    Args:
        tellings: of one system.
        training: of `pictures.sample_keyframes`.
    """
    differences = {telling.story_id: _to_training(telling.pictured, training) for telling in tellings}
    return {
        "training_difference": differences,
        "copies_of_training": {
            story: [(index, float(value < COPY_DIFFERENCE)) for index, value in found]
            for story, found in differences.items()
        },
    }


def training_likeness(
    stories: Sequence[StoryFeatures], training: Rows, prefix: str = "similarity"
) -> Mapping[str, Values]:
    """Measure the cosine of each picture and its nearest training keyframe.

    Args:
        stories: features of unit length.
        training: features of keyframes, standardised alike and of unit length, [M, D], at least one.
        prefix: says in which network.
    """
    return {
        f"{prefix}_training": {
            story.story_id: [
                (index, float(value))
                for index, value in zip(story.indices, (story.told @ training.T).max(axis=1, initial=-1), strict=True)
            ]
            for story in stories
        }
    }


def is_copy(one: Pixels, other: Pixels) -> bool:
    """Tell whether two pictures are nearly the same."""
    return bool(_differences(one, other[None])[0] < COPY_DIFFERENCE)


def _copies(telling: Telling) -> list[tuple[int, tuple[bool, bool, bool]]]:
    before = stack([telling.opening, *telling.told])
    coarse = _blocks(before)
    found = []
    for number, pair in enumerate(telling.pictured):
        bounds = np.abs(coarse[: number + 1] - coarse[number + 1]).mean(axis=1)
        near = np.flatnonzero(bounds < COPY_DIFFERENCE)
        copied = set(near[_differences(before[number + 1], before[near]) < COPY_DIFFERENCE].tolist())
        found.append((pair.index, (0 in copied, number in copied, bool(copied))))
    return found


def _to_training(pairs: Sequence[Pair], training: Gallery) -> list[tuple[int, float]]:
    differences, _ = training.nearest(stack(pairs))
    return [(pair.index, float(value)) for pair, value in zip(pairs, differences, strict=True)]


def _differences(picture: Pixels, others: Pixels) -> Rows:
    """Average the absolute differences from each of [N, S, S, 3], as shares of the value range."""
    apart = np.maximum(others, picture) - np.minimum(others, picture)
    means: Rows = apart.reshape(len(others), picture.size).mean(axis=1, dtype=np.float64) / 255
    return means


def _blocks(pictures: Pixels) -> Rows:
    """Average blocks, [N, 8 * 8 * 3], as shares of the value range."""
    number, side = len(pictures), pictures.shape[1]
    size = side // _COARSE
    assert size * _COARSE == side
    parts = pictures.reshape(number, _COARSE, size, _COARSE, size, 3)
    means: Rows = parts.mean(axis=(2, 4), dtype=np.float64).reshape(number, 3 * _COARSE**2) / 255
    return means
