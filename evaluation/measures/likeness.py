"""How alike a story's pictures are: to one another, to the opening, and to the dataset's picture of the same index.

All are cosines of features of unit length, so one function serves every network. High likeness within a story is no
virtue by itself, a loop has it too: it is read beside the dataset's own value and the shares of copies. The cosine to
the dataset's picture is what the field calls CLIP-I or DINO-I, after the network (SEED-Story's "CLIP score" is this).
"""

from collections.abc import Callable, Sequence

import numpy as np

from evaluation.measures.features import Rows, StoryFeatures
from evaluation.measures.measure import Values

Found = list[tuple[int, float]]


def likeness_of(stories: Sequence[StoryFeatures], prefix: str = "similarity") -> dict[str, Values]:
    """Measure every kind of likeness of one system's pictures; names begin with `prefix` and an underscore.

    Args:
        stories: features of unit length (`features.standardised` or `features.unit_length`).
        prefix: says in which network: `similarity` is for the random one, `clip_i`, `dino_i`.
    """
    kinds: dict[str, Callable[[StoryFeatures], Found]] = {
        "neighbours": _neighbours,
        "opening": _opening,
        "earlier": _earlier,
        "within": _within,
        "reference": _reference,
        "reference_rank": _reference_rank,
    }
    return {f"{prefix}_{kind}": {story.story_id: find(story) for story in stories} for kind, find in kinds.items()}


def reciprocal_rank(likeness: Rows, own: int) -> float:
    """Rank candidate `own` by likeness [candidates] and return 1 / rank; a tie counts as half a place."""
    higher = int((likeness > likeness[own]).sum())
    ties = int((likeness == likeness[own]).sum()) - 1
    return 1 / (1 + higher + ties / 2)


def _neighbours(story: StoryFeatures) -> Found:
    """Compare each picture with the told one before it."""
    return _pairs(story.indices[1:], (story.told[1:] * story.told[:-1]).sum(axis=1))


def _opening(story: StoryFeatures) -> Found:
    return _pairs(story.indices, story.told @ story.opening)


def _earlier(story: StoryFeatures) -> Found:
    """Average the likeness to the opening and to all pictures before."""
    before = np.cumsum(np.vstack([story.opening, story.told]), axis=0)[:-1]
    counts = np.arange(1, len(story.told) + 1)
    return _pairs(story.indices, (story.told * before).sum(axis=1) / counts)


def _within(story: StoryFeatures) -> Found:
    """Average the likeness to all other told pictures."""
    number = len(story.told)
    if number < 2:
        return []
    own = (story.told**2).sum(axis=1)
    return _pairs(story.indices, (story.told @ story.told.sum(axis=0) - own) / (number - 1))


def _reference(story: StoryFeatures) -> Found:
    rows = {index: row for index, row in zip(story.reference_indices, story.reference, strict=True)}
    found = [(index, row @ rows[index]) for index, row in zip(story.indices, story.told, strict=True) if index in rows]
    return [(index, float(value)) for index, value in found]


def _reference_rank(story: StoryFeatures) -> Found:
    """Look for the picture's counterpart among the dataset's pictures of the story; with one there is no choice."""
    if len(story.reference) < 2:
        return []
    places = {index: place for place, index in enumerate(story.reference_indices)}
    likeness = story.told @ story.reference.T
    return [
        (index, reciprocal_rank(row, places[index]))
        for index, row in zip(story.indices, likeness, strict=True)
        if index in places
    ]


def _pairs(indices: Sequence[int], values: Rows) -> Found:
    return [(index, float(value)) for index, value in zip(indices, values, strict=True)]
