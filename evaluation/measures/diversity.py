"""Are a system's pictures various, or has it collapsed to one picture per story, or one per place in the story?

All numbers are read beside the dataset's own: true stories have a variety too, and neither more nor less is asked for.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from evaluation.measures.features import Rows, StoryFeatures
from evaluation.measures.measure import Values


def diversity_of(stories: Sequence[StoryFeatures], prefix: str = "similarity") -> dict[str, Values]:
    """Measure the variety of one system's pictures, within stories and across them.

    `_across` and `_same_index` compare a picture with those of all other stories, and with theirs of its index: where
    the second is far above the dataset's own, different stories have become the same one. `_variety_ratio` (1 - mean
    cosine of pairs, over the same of the dataset's pictures) and `_vendi` are of whole stories, at index 0.
    Values across stories share pictures, so their intervals, which take stories for independent, are too narrow.

    Args:
        stories: features of unit length.
        prefix: says in which network, as in `likeness_of`.
    """
    return {
        f"{prefix}_across": _across(stories),
        f"{prefix}_same_index": _same_index(stories),
        f"{prefix}_variety_ratio": {story.story_id: _ratio(story) for story in stories},
        f"{prefix}_vendi": {
            story.story_id: [(0, vendi_score(story.told) / len(story.told))] if len(story.told) else []
            for story in stories
        },
    }


def vendi_score(rows: Rows) -> float:
    """Count effectively different pictures among rows of unit length, 1..N: exp of the entropy of the eigenvalues of
    the matrix of cosines over N (Friedman and Dieng 2022, definition 3.1).

    Raises:
        ValueError: there is no row.
    """
    if not len(rows):
        raise ValueError("no picture, so none that differ")
    values = np.linalg.svd(rows, compute_uv=False) ** 2
    if values.sum() == 0:
        return 1.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _across(stories: Sequence[StoryFeatures]) -> Values:
    sums = {story.story_id: story.told.sum(axis=0) for story in stories}
    total, number = sum(sums.values(), np.zeros(())), sum(len(story.told) for story in stories)
    found: dict[str, list[tuple[int, float]]] = {}
    for story in stories:
        others = number - len(story.told)
        means = story.told @ (total - sums[story.story_id]) / others if others and len(story.told) else []
        found[story.story_id] = [(index, float(value)) for index, value in zip(story.indices, means, strict=False)]
    return found


def _same_index(stories: Sequence[StoryFeatures]) -> Values:
    at: dict[int, list[tuple[str, Rows]]] = defaultdict(list)
    for story in stories:
        for index, row in zip(story.indices, story.told, strict=True):
            at[index].append((story.story_id, row))
    found: dict[str, list[tuple[int, float]]] = {story.story_id: [] for story in stories}
    for index, rows in sorted(at.items()):
        if len(rows) < 2:
            continue
        total = np.sum([row for _, row in rows], axis=0)
        for story_id, row in rows:
            found[story_id].append((index, float(row @ (total - row) / (len(rows) - 1))))
    return found


def _ratio(story: StoryFeatures) -> list[tuple[int, float]]:
    """Hold the variety against that of the dataset's pictures at the same indices."""
    shared = set(story.indices) & set(story.reference_indices)
    told, true = (
        _variety(rows[[index in shared for index in indices]])
        for rows, indices in ((story.told, story.indices), (story.reference, story.reference_indices))
    )
    return [(0, told / true)] if told is not None and true else []


def _variety(rows: Rows) -> float | None:
    """Average 1 - cosine over pairs; none with under two rows."""
    if len(rows) < 2:
        return None
    total = rows.sum(axis=0)
    pairs = len(rows) * (len(rows) - 1)
    return max(0.0, 1 - float(total @ total - (rows**2).sum()) / pairs)
