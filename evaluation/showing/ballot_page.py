"""The ballot: a page on which a person compares stories two by two, and does not learn who told them.

Pages hold no name of a system and no trace of one: a pair goes by a random word, its sides are shuffled, the dataset's
pictures become the same squares as told ones. What the words stand for is in the key, which stays with the run.
"""

import base64
import hashlib
import io
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from pydantic import BaseModel, ConfigDict

from evaluation.judging.questions import DIMENSIONS, Dimension
from evaluation.pictures import Pair, Telling
from story_model.pixels import Square

_PAGES = Path(__file__).parent / "pages"
_SHOWN_SIDE = 320
_QUALITY = 84
QUESTIONS: Mapping[Dimension, tuple[str, str]] = {
    "style": ("Style", "In which story do the pictures share one style, the opening's, and people keep their looks?"),
    "engaging": ("Engaging", "Which story holds your attention: things happen, and you want to know how it goes on?"),
    "coherence": ("Coherence", "In which story do pictures and texts belong together, each following from the last?"),
}
"""What a person is asked in each dimension: its name and the question."""


class PairKey(BaseModel):
    """Who told the two stories of a pair."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    story_id: str
    left: str
    right: str


class BallotKey(BaseModel):
    """What the words of one ballot stand for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    pairs: dict[str, PairKey]


@dataclass(frozen=True)
class Side:
    """One story of a pair: addresses of its pictures (none without one) and its texts."""

    shown: tuple[tuple[str | None, str], ...]


@dataclass(frozen=True)
class Comparison:
    """A pair as the page shows it."""

    word: str
    """Random; the key knows what it stands for."""
    opening: tuple[str | None, str]
    rows: tuple[tuple[tuple[str | None, str] | None, tuple[str | None, str] | None], ...]
    """Position by position, left and right; none where a story has ended."""


Stories = Mapping[str, Mapping[str, Telling]]
"""Of each system, by story id; the dataset's own stand in the place of told ones."""


def draw_ballot(stories: Stories, *, number: int, segments: int, seed: int) -> BallotKey:
    """Pair all systems on their first common stories, in an order and with sides drawn by the seed.

    Stories that two systems tell alike as far as they are shown are left out: nobody could choose between them.

    Raises:
        ValueError: there are fewer than two systems, or two of them have no story in common in which they differ.
    """
    if len(stories) < 2:
        raise ValueError(f"a ballot compares two systems or more, and there is {', '.join(stories) or 'none'}")
    draw = random.Random(seed)
    pairs = []
    for first, second in combinations(stories, 2):
        shared = [story_id for story_id in stories[first] if story_id in stories[second]]
        if not shared:
            raise ValueError(f"{first} and {second} told no story from the same opening; name other systems")
        shown = [[_content(stories[one][story_id], segments) for one in (first, second)] for story_id in shared]
        apart = [story_id for story_id, (one, other) in zip(shared, shown, strict=True) if one != other]
        if not apart:
            raise ValueError(
                f"{first} and {second} tell the same in the first {segments} segments of every story; show more "
                "(--segments), or name other systems (--systems)"
            )
        for story_id in apart[:number]:
            left, right = draw.sample((first, second), 2)
            pairs.append(PairKey(story_id=story_id, left=left, right=right))
    draw.shuffle(pairs)
    return BallotKey(seed=seed, pairs={secrets.token_hex(8): pair for pair in pairs})


def _content(telling: Telling, segments: int) -> list[tuple[str, bytes | None]]:
    """Give the texts and pictures of the first segments."""
    shown = telling.told[:segments]
    return [(pair.text, None if pair.pixels is None else pair.pixels.tobytes()) for pair in shown]


def render_ballot(word: str, key: BallotKey, stories: Stories, *, segments: int, square: Square) -> str:
    """Write the page of the ballot that goes by `word`, showing so many segments after each opening."""
    comparisons = [_comparison(one, pair, stories, segments, square) for one, pair in key.pairs.items()]
    some = next(iter(next(iter(stories.values())).values()))
    script = (_PAGES / "ballot.js").read_text()
    environment = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("ballot.html").render(
        ballot=word,
        comparisons=comparisons,
        questions={dimension: QUESTIONS[dimension] for dimension in DIMENSIONS},
        ratio=_ratio(some, square),
        script=Markup(script),  # our own, nothing from data in it
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _comparison(word: str, pair: PairKey, stories: Stories, segments: int, square: Square) -> Comparison:
    left, right = stories[pair.left][pair.story_id], stories[pair.right][pair.story_id]
    shown = [[_shown(one, square) for one in telling.told[:segments]] for telling in (left, right)]
    longest = max(len(side) for side in shown)
    rows = tuple(tuple(side[row] if row < len(side) else None for side in shown) for row in range(longest))
    return Comparison(word, _shown(left.opening, square), rows)  # type: ignore[arg-type]  # two sides a row


def _shown(pair: Pair, square: Square) -> tuple[str | None, str]:
    """Give a pair's picture as an address; the dataset's as the square that a told one is."""
    if pair.source is None:
        return None, pair.text
    image = pair.squared(square) if isinstance(pair.source, bytes) else pair.image(_SHOWN_SIDE)
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", pair.text


def _ratio(telling: Telling, square: Square) -> str:
    """Give the shape at which squares are shown: squashed ones are stretched back to the dataset's."""
    known: Sequence[Pair] = telling.reference
    if square.transform == "crop" or not known or known[0].source is None:
        return "1 / 1"
    width, height = known[0].image(1 << 16).size
    return f"{width} / {height}"
