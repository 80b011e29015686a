"""Told stories made of plain colours and arrays, without files."""

import numpy as np

from evaluation.measures.features import StoryFeatures
from evaluation.pictures import MEASURED_SIDE, Pair, Telling


def still(value):
    return np.full((MEASURED_SIDE, MEASURED_SIDE, 3), value, np.uint8)


def pair(index, pixels=None, text=""):
    return Pair(index, text, None if pixels is None else pixels.tobytes(), pixels)


def telling(story_id="s", *, opening=None, told=(), reference=(), texts=None, true_texts=None, opening_text=""):
    """Tell pictures (none where there is no picture) and texts, which go to the told pairs in order."""
    texts = texts if texts is not None else [""] * len(told)
    told = list(told) or [None] * len(texts)
    true_texts = true_texts if true_texts is not None else [""] * len(reference)
    reference = list(reference) or [None] * len(true_texts)
    return Telling(
        story_id,
        "free",
        "dense",
        pair(0, still(0) if opening is None else opening, opening_text),
        tuple(pair(n, one, text) for n, (one, text) in enumerate(zip(told, texts, strict=True), start=1)),
        tuple(pair(n, one, text) for n, (one, text) in enumerate(zip(reference, true_texts, strict=True), start=1)),
    )


def features(story_id, opening, told, reference=(), *, indices=None):
    """Make features by hand; told pictures are numbered from 1 unless said otherwise."""
    opening = np.array(opening, dtype=np.float64)
    told, reference = (np.array(part, dtype=np.float64).reshape(len(part), len(opening)) for part in (told, reference))
    indices = tuple(range(1, len(told) + 1)) if indices is None else indices
    return StoryFeatures(story_id, opening, indices, told, tuple(range(1, len(reference) + 1)), reference)
