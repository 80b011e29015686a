"""Feature vectors of pictures, by story: what every distance starts from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]
"""[N, D], a row a picture."""


def joined(stories: Sequence[Features], side: str) -> Features:
    """Join the features of all stories to float64 [N, D].

    Args:
        stories: of each story, [n_k, D]; a story may have no picture.
        side: what the pictures are, for the message.

    Raises:
        ValueError: a picture's features are not finite.
    """
    for number, story in enumerate(stories):
        broken = ~np.isfinite(story).all(axis=1)
        if broken.any():
            raise ValueError(
                f"{side} picture {int(broken.argmax())} of story {number} has features that are not finite; look at "
                "that picture, and at the network's weights"
            )
    return np.concatenate(stories).astype(np.float64)


def story_numbers(stories: Sequence[Features]) -> NDArray[np.int64]:
    """Give the story's number of each row of the joined features."""
    return np.repeat(np.arange(len(stories)), [len(story) for story in stories])
