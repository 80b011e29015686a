"""Do a told picture and its own text go together, in the eyes of a network that knows both (CLIP)?

A cosine depends on the network and on the style of the pictures, so it is read beside the dataset's own. The rank asks
what does not: among the texts of its story, is the picture's own the nearest (VinaBench's MRR of CLIP-T)?
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.measures.features import Rows, StoryFeatures
from evaluation.measures.likeness import reciprocal_rank
from evaluation.measures.measure import Values
from evaluation.measures.texts import words
from evaluation.pictures import Pair, Telling

ReadTexts = Callable[[Sequence[str]], tuple[Rows, NDArray[np.bool_]]]
"""Texts -> rows of unit length [N, D], and which were cut [N]; equal texts have equal rows."""
CLIP_SCORE_WEIGHT = 2.5
"""CLIPScore is this times the cosine, at least 0 (Hessel et al. 2021, section 3)."""
_NAMES = ("clip_t", "clip_score", "clip_t_rank", "clip_t_first", "clip_t_cut")


def alignment_of(tellings: Sequence[Telling], stories: Sequence[StoryFeatures], read: ReadTexts) -> dict[str, Values]:
    """Measure how one system's pictures go with their own texts; pictures whose text has no word have no value.

    Args:
        tellings: of the system.
        stories: CLIP's rows of their pictures, of unit length, in the same order.
        read: maps texts to CLIP's rows.
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {name: {} for name in _NAMES}
    for telling, story in zip(tellings, stories, strict=True):
        assert telling.story_id == story.story_id
        rows = _story(telling.told, story, read)
        for at, name in enumerate(_NAMES):
            found[name][story.story_id] = [(index, values[at]) for index, values in rows]
    return dict(found)


def _story(pairs: Sequence[Pair], story: StoryFeatures, read: ReadTexts) -> list[tuple[int, tuple[float, ...]]]:
    said = [pair for pair in pairs if words(pair.text)]
    texts, cut = read([pair.text for pair in said])
    places = {pair.index: place for place, pair in enumerate(said)}
    found = []
    for index, picture in zip(story.indices, story.told, strict=True):
        if index in places:
            own = places[index]
            found.append((index, _values(texts @ picture, own, bool(cut[own]))))
    return found


def _values(likeness: Rows, own: int, cut: bool) -> tuple[float, ...]:
    cosine = float(likeness[own])
    rank = reciprocal_rank(likeness, own)
    return cosine, CLIP_SCORE_WEIGHT * max(cosine, 0.0), rank, float(rank == 1), float(cut)
