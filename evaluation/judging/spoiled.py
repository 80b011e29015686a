"""Stories spoiled on purpose, each in one way: what a judge who looks must score lower than the story as it was.

The opening always stays as it is: a judge takes the style and the people from it. What is sent and what is measured of
a picture are spoiled alike.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from evaluation.judging.questions import Dimension
from evaluation.pictures import Pair

Spoiling = Literal[
    "pictures_shuffled",
    "pictures_swapped",
    "pictures_blank",
    "picture_repeated",
    "pictures_inverted",
    "texts_shuffled",
]
Pairs = tuple[Pair, ...]
GOOD = "good"
"""The label of a story that was not spoiled."""
MUST_FALL: dict[Spoiling, tuple[Dimension, ...]] = {
    "pictures_shuffled": ("coherence",),
    "pictures_swapped": ("coherence",),
    "pictures_blank": ("style", "engaging", "coherence"),
    "picture_repeated": ("engaging", "coherence"),
    "pictures_inverted": ("style",),
    "texts_shuffled": ("coherence",),
}
"""The dimensions whose definition each spoiling contradicts. In the others a story may keep its score."""
_GREY = 128
_WHOLE = 1 << 20
"""More than any picture's side: nothing is scaled."""


@dataclass(frozen=True)
class ShownStory:
    """A story as a judge is shown it: the opening first, every pair with a picture."""

    story_id: str
    pairs: Pairs


def spoil(story: ShownStory, spoiling: Spoiling, *, donor: ShownStory | None, seed: int) -> ShownStory:
    """Spoil a copy of a story; equal arguments give equal copies.

    Args:
        story: stays as it is.
        spoiling: the one thing that is done to it.
        donor: another story, whose pictures stand in for the story's own where pictures are swapped between stories.
        seed: of shuffling, together with the story's id.

    Raises:
        ValueError: the story cannot be spoiled like this (`why_not`).
    """
    if (reason := why_not(story, spoiling, donor=donor)) is not None:
        raise ValueError(f"story {story.story_id} cannot be spoiled by {spoiling}: {reason}")
    opening, *pairs = story.pairs
    donated = donor.pairs[1:] if donor is not None else ()
    digest = hashlib.sha256(f"{seed} {spoiling} {story.story_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return ShownStory(story.story_id, (opening, *_WAYS[spoiling](tuple(pairs), donated, rng)))


def why_not(story: ShownStory, spoiling: Spoiling, *, donor: ShownStory | None) -> str | None:
    """Say why a story cannot be spoiled; none where it can."""
    if len(story.pairs) < 3:
        return "it shows fewer than two pairs after its opening"
    if spoiling != "pictures_swapped":
        return None
    if donor is None or donor.story_id == story.story_id or len(donor.pairs) < 2:
        return "there is no other story to take pictures from"
    return None


def _pictures_shuffled(pairs: Pairs, donated: Pairs, rng: np.random.Generator) -> Pairs:
    return tuple(_with_picture(pair, pairs[other]) for pair, other in zip(pairs, _moved(len(pairs), rng), strict=True))


def _texts_shuffled(pairs: Pairs, donated: Pairs, rng: np.random.Generator) -> Pairs:
    moved = _moved(len(pairs), rng)
    return tuple(replace(pair, text=pairs[other].text) for pair, other in zip(pairs, moved, strict=True))


def _pictures_swapped(pairs: Pairs, donated: Pairs, rng: np.random.Generator) -> Pairs:
    """A donor that is shorter gives its pictures again."""
    return tuple(_with_picture(pair, donated[number % len(donated)]) for number, pair in enumerate(pairs))


def _pictures_blank(pairs: Pairs, donated: Pairs, rng: np.random.Generator) -> Pairs:
    return tuple(_painted(pair, lambda image: Image.new("RGB", image.size, (_GREY,) * 3)) for pair in pairs)


def _picture_repeated(pairs: Pairs, donated: Pairs, rng: np.random.Generator) -> Pairs:
    repeated = pairs[int(rng.integers(len(pairs)))]
    return tuple(_with_picture(pair, repeated) for pair in pairs)


def _pictures_inverted(pairs: Pairs, donated: Pairs, rng: np.random.Generator) -> Pairs:
    """Every other picture, from the first after the opening on, becomes its photographic negative."""
    return tuple(_painted(pair, ImageOps.invert) if number % 2 == 0 else pair for number, pair in enumerate(pairs))


_WAYS: dict[Spoiling, Callable[[Pairs, Pairs, np.random.Generator], Pairs]] = {
    "pictures_shuffled": _pictures_shuffled,
    "pictures_swapped": _pictures_swapped,
    "pictures_blank": _pictures_blank,
    "picture_repeated": _picture_repeated,
    "pictures_inverted": _pictures_inverted,
    "texts_shuffled": _texts_shuffled,
}


def _moved(number: int, rng: np.random.Generator) -> list[int]:
    """Draw an order in which nothing keeps its place: one cycle through all (Sattolo's algorithm)."""
    order = list(range(number))
    for last in range(number - 1, 0, -1):
        other = int(rng.integers(last))
        order[last], order[other] = order[other], order[last]
    return order


def _with_picture(pair: Pair, other: Pair) -> Pair:
    return replace(pair, source=other.source, pixels=other.pixels, square=other.square)


def _painted(pair: Pair, paint: Callable[[Image.Image], Image.Image]) -> Pair:
    """Change the picture as it is shown, at its own size, and the measured one alike; that may be of another shape."""
    assert pair.pixels is not None
    buffer = io.BytesIO()
    paint(pair.image(_WHOLE)).save(buffer, format="PNG")
    pixels = np.asarray(paint(Image.fromarray(pair.pixels)))
    return replace(pair, source=buffer.getvalue(), pixels=pixels, square=None)
