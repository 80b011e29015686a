"""A story's pictures as a network sees them: one row a picture, beside the opening's and the dataset's own."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.pictures import Pair, Pixels, Telling, stack
from story_model.pixels import Square

Rows = NDArray[np.float64]
"""Features, [pictures, D]."""
Extract = Callable[[Sequence[Pair]], NDArray[np.floating]]
"""Pairs that have pictures -> a row each, [pairs, D]."""
_BATCH = 32
_TINY = 1e-12
_LEAST_SPREAD = 0.1
"""Of a feature, as a share of the mean spread: one that hardly moves in the base must not outweigh all others."""


@dataclass(frozen=True)
class StoryFeatures:
    """One story's pictures in one network."""

    story_id: str
    opening: NDArray[np.float64]
    """[D]."""
    indices: tuple[int, ...]
    """Of the told segments that have a picture."""
    told: Rows
    reference_indices: tuple[int, ...]
    reference: Rows
    """Of the dataset's pictures."""


def features_of(tellings: Sequence[Telling], extract: Extract) -> list[StoryFeatures]:
    """Compute the features of each story's opening, told pictures and reference pictures.

    Raises:
        ValueError: a feature is not finite, or the network did not give one row a picture.
    """
    return [_features(telling, extract) for telling in tellings]


def by_pixels(network: Callable[[Pixels], NDArray[np.floating]]) -> Extract:
    """Make an extractor of a function of pictures as measured, uint8 [N, side, side, 3]."""
    return lambda pairs: network(stack(pairs))


def by_images(
    network: Callable[[Sequence[Image.Image]], NDArray[np.floating]], square: Square, *, batch: int = _BATCH
) -> Extract:
    """Make an extractor of a function of whole pictures, made the told pictures' square; `batch` are open at once."""

    def extract(pairs: Sequence[Pair]) -> NDArray[np.floating]:
        starts = range(0, len(pairs), batch)
        return np.concatenate([network([pair.squared(square) for pair in pairs[at : at + batch]]) for at in starts])

    return extract


def remembering(extract: Extract) -> Extract:
    """Compute each picture once, though systems share openings and reference pictures; for one run's length."""
    known: dict[object, NDArray[np.floating]] = {}

    def remembered(pairs: Sequence[Pair]) -> NDArray[np.floating]:
        keys = [_key(pair) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
        if new:
            known.update(zip(new, extract(list(new.values())), strict=True))
        return np.stack([known[key] for key in keys])

    return remembered


def standardised(stories: Sequence[StoryFeatures], base: Rows) -> list[StoryFeatures]:
    """Subtract the base's mean, divide by its spread, scale to unit length: a cosine of 0 is then that of strangers."""
    change = standard(base)
    return [_changed(story, change) for story in stories]


def standard(base: Rows) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Make the function that standardises rows, [..., D], by a base, [M, D].

    Raises:
        ValueError: the base has no row.
    """
    if not len(base):
        raise ValueError("no picture to standardise features by")
    mean, spread = base.mean(axis=0), base.std(axis=0)
    spread = np.maximum(spread, _LEAST_SPREAD * spread.mean()) + 1e-8
    return lambda rows: unit((rows - mean) / spread)


def base_of(stories: Sequence[StoryFeatures]) -> Rows:
    """Collect the dataset's own rows, openings and reference pictures, to standardise by."""
    return np.concatenate([part for story in stories for part in (story.opening[None], story.reference)])


def unit_length(stories: Sequence[StoryFeatures]) -> list[StoryFeatures]:
    """Scale rows to length 1, so that their products are cosines; a row of zeros stays."""
    return [_changed(story, unit) for story in stories]


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to length 1; a row of zeros stays."""
    scaled: NDArray[np.float64] = rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + _TINY)
    return scaled


def _changed(story: StoryFeatures, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> StoryFeatures:
    return replace(story, opening=change(story.opening), told=change(story.told), reference=change(story.reference))


def _features(telling: Telling, extract: Extract) -> StoryFeatures:
    pairs = [telling.opening, *telling.pictured, *telling.reference]
    rows = np.asarray(extract(pairs), dtype=np.float64)
    if rows.ndim != 2 or len(rows) != len(pairs):
        raise ValueError(f"story {telling.story_id}: {len(pairs)} pictures gave features of shape {rows.shape}")
    last = len(telling.pictured)
    for number in np.flatnonzero(~np.isfinite(rows).all(axis=1)):
        whose = "told" if number <= last else "dataset's"
        raise ValueError(
            f"story {telling.story_id}, {whose} picture {pairs[number].index}: features are not finite; look at the "
            "picture, and at the network's weights"
        )
    return StoryFeatures(
        telling.story_id,
        rows[0],
        tuple(pair.index for pair in telling.pictured),
        rows[1 : last + 1],
        tuple(pair.index for pair in telling.reference),
        rows[last + 1 :],
    )


def _key(pair: Pair) -> object:
    """Name a picture: by its file, or by its content."""
    assert pair.source is not None
    return pair.source if isinstance(pair.source, Path) else hashlib.sha256(pair.source).digest()
