"""Does a told story hold together in its pictures, and does it merely repeat one picture?

Features are standardised by the reference pictures (minus their mean, over their spread), so that a cosine of 0 is the
likeness of two unrelated reference pictures. Two numbers by cosine, each beside the same number of the dataset's own
stories: likeness of neighbours (i, i + 1) and of all pairs within a story; and all pairs across stories as the
baseline. High likeness alone is no virtue: the two shares of copies tell a story that holds together from a loop.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from evaluation.distances.random_features import Features
from evaluation.pictures import Pixels
from evaluation.statistics import Estimate, mean_over_stories

COPY_DIFFERENCE = 0.03
"""Pictures whose mean absolute difference is below this share of the value range count as copies."""


class Consistency(BaseModel):
    """Of one system's stories, or of the dataset's; none where there are too few pictures."""

    neighbours: Estimate | None
    """Mean cosine of consecutive pictures."""
    within: Estimate | None
    """Mean cosine of all pairs of pictures of one story."""
    across: float | None
    """Mean cosine of pairs of pictures from different stories: the baseline of both."""
    copies_of_opening: Estimate | None
    """Share of pictures nearly identical to the story's opening."""
    copies_of_previous: Estimate | None
    """Share of pictures nearly identical to the one before (the first: to the opening)."""


def standardised(features: Sequence[Features], reference: Features) -> list[Features]:
    """Subtract the reference's mean, divide by its spread, scale to unit length: [n_k, D] each."""
    mean, spread = reference.mean(axis=0), reference.std(axis=0) + 1e-8
    return [_unit((story - mean) / spread) for story in features]


def consistency_of(
    features: Sequence[Features], openings: Pixels, pictures: Sequence[Pixels], *, resamples: int, seed: int
) -> Consistency:
    """Measure the stories of one system.

    Args:
        features: standardised, of each story's pictures in order, [n_k, D].
        openings: each story's opening, [stories, S, S, 3].
        pictures: each story's pictures in order, [n_k, S, S, 3].
        resamples: draws behind the intervals.
        seed: of the draws.
    """

    def mean(groups: Sequence[Sequence[float]]) -> Estimate | None:
        return mean_over_stories(groups, resamples=resamples, seed=seed)

    rows = [(opening, story) for opening, story in zip(openings, pictures, strict=True)]
    return Consistency(
        neighbours=mean([list((story[1:] * story[:-1]).sum(axis=1)) for story in features]),
        within=mean([_pairs(story) for story in features]),
        across=_across(features),
        copies_of_opening=mean([[_is_copy(opening, one) for one in story] for opening, story in rows]),
        copies_of_previous=mean(
            [
                [_is_copy(before, after) for before, after in zip([opening, *story], story, strict=False)]
                for opening, story in rows
            ]
        ),
    )


def _is_copy(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean() / 255 < COPY_DIFFERENCE)


def _pairs(story: Features) -> list[float]:
    likeness = story @ story.T
    return list(likeness[np.triu_indices(len(story), k=1)])


def _across(features: Sequence[Features]) -> float | None:
    total, count = 0.0, 0
    for number, story in enumerate(features):
        for other in features[number + 1 :]:
            total += float((story @ other.T).sum())
            count += len(story) * len(other)
    return total / count if count else None


def _unit(rows: Features) -> Features:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
