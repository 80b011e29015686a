"""Does somebody look the same each time the story shows them?

A figure is somebody of a known name as seen in one picture: a crop from a detector of the user's, or the whole picture
where its text names exactly one. Likeness alone would reward a story of one picture, so it stands beside the contrast:
likeness to the same one's earlier figures minus likeness to the others'.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.measures.features import Rows, StoryFeatures, unit
from evaluation.measures.measure import Values
from evaluation.measures.texts import named
from evaluation.pictures import Pair, Telling


@dataclass(frozen=True)
class Figure:
    """Somebody in a picture."""

    index: int
    """Of the segment; 0 is the opening, which others are held against."""
    name: str
    embedding: NDArray[np.float64]
    """Of unit length, [D]."""


class Cropper(Protocol):
    """Finds known figures in a picture."""

    def figures(self, pair: Pair) -> Sequence[tuple[str, Image.Image]]:
        """List who is seen, each with the part of the picture that shows them."""
        ...


def figures_of_crops(
    telling: Telling,
    cropper: Cropper,
    network: Callable[[Sequence[Image.Image]], NDArray[np.floating]],
) -> list[Figure]:
    """Collect a story's figures as a detector crops them.

    Args:
        telling: the story.
        cropper: the detector.
        network: RGB pictures -> [N, D], as CLIP or DINOv2.

    Raises:
        ValueError: an embedding is not finite.
    """
    pairs = (telling.opening, *telling.told)
    seen = [(pair.index, name, crop) for pair in pairs if pair.source for name, crop in cropper.figures(pair)]
    if not seen:
        return []
    rows = unit(np.asarray(network([crop for _, _, crop in seen]), dtype=np.float64))
    for (index, name, _), row in zip(seen, rows, strict=True):
        if not np.isfinite(row).all():
            raise ValueError(f"story {telling.story_id}, picture {index}: {name!r} has features that are not finite")
    return [Figure(index, name, row) for (index, name, _), row in zip(seen, rows, strict=True)]


def figures_of_texts(telling: Telling, story: StoryFeatures, names: Sequence[str]) -> list[Figure]:
    """Take whole pictures for figures where their text names exactly one of `names`.

    Args:
        telling: the story.
        story: features of unit length of its pictures.
        names: who may be named.
    """
    pairs = (telling.opening, *telling.told)
    who = {pair.index: named(pair.text, names) for pair in pairs}
    rows = zip((0, *story.indices), (story.opening, *story.told), strict=True)
    return [Figure(index, who[index][0], row) for index, row in rows if len(who[index]) == 1]


def character_values(figures: Mapping[str, Sequence[Figure]], prefix: str = "character") -> dict[str, Values]:
    """Measure how alike figures are to earlier ones of their name, and how much more so than to those of others.

    Args:
        figures: of each story of one system, in the order of their segments.
        prefix: says in which network.
    """
    compared = {story: [_compared(at, found) for at in _segments(found)] for story, found in figures.items()}
    return {
        f"{prefix}_likeness": {
            story: [(index, same) for index, same, _ in found if same is not None] for story, found in compared.items()
        },
        f"{prefix}_contrast": {
            story: [(index, same - other) for index, same, other in found if same is not None and other is not None]
            for story, found in compared.items()
        },
    }


def _segments(figures: Sequence[Figure]) -> list[int]:
    return sorted({figure.index for figure in figures if figure.index > 0})


def _compared(index: int, figures: Sequence[Figure]) -> tuple[int, float | None, float | None]:
    """Hold a segment's figures against all earlier ones: mean likeness to the same, and to others."""
    earlier: dict[str, list[Rows]] = defaultdict(list)
    for figure in figures:
        if figure.index < index:
            earlier[figure.name].append(figure.embedding)
    same: list[float] = []
    other: list[float] = []
    for figure in figures:
        if figure.index == index:
            for name, rows in earlier.items():
                (same if name == figure.name else other).extend(float(row @ figure.embedding) for row in rows)
    return index, _mean(same), _mean(other)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
