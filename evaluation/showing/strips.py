"""Story strips: the opening, then for every segment what the dataset shows and what was told, ready for the page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import ImageOps

from evaluation.measures.cartoon_world import Sight, Verdict, Verdicts
from evaluation.pictures import Pair, Telling
from evaluation.systems import CAPTIONS_ALONE, RECONSTRUCTION
from story_model.config import Transform

_SHOWN_SIDE = 192
_NOTHING = (0, 0, 0, 0)

Frame = tuple[int, int]
"""Width and height of a picture; only their ratio counts."""


@dataclass(frozen=True)
class Badge:
    """The probe's verdict on one aspect of a picture."""

    seen: str
    tone: str
    """`good` where it agrees with the text, `bad` where not, `mute` where the text names none or several."""
    explanation: str


@dataclass(frozen=True)
class Shown:
    """A picture with its text; no address where there is no picture."""

    url: str | None
    text: str
    badges: tuple[Badge, ...] = ()


@dataclass(frozen=True)
class Card:
    """One position of a story: the dataset's pair (none past its end) and one telling a system, in their order."""

    index: int
    reference: Shown | None
    told: tuple[Shown | None, ...]


@dataclass(frozen=True)
class Strip:
    """A story as the page shows it."""

    story_id: str
    aspect_ratio: str
    """Of the dataset's pictures, as CSS; told pictures that were squashed are stretched back to it."""
    opening: Shown
    systems: tuple[str, ...]
    """Who told, as the page names it: by the mode, and where the baseline painted, by that as well."""
    agreement: tuple[str, ...]
    """For each system, in words: how many pictures the probe agrees with."""
    cards: tuple[Card, ...]


def strips(
    tellings: Mapping[str, Sequence[Telling]],
    verdicts: Mapping[str, Verdicts],
    *,
    stories: int,
    transform: Transform,
) -> list[Strip]:
    """Set up the first stories, told by several systems (name -> stories): one policy, and perhaps the baseline.

    `transform` made the told pictures square: `squash` lets the page stretch them back; the middle that `crop` cut out
    keeps its shape, with nothing beside it.
    """
    first = next(iter(tellings.values()), [])
    found = []
    for telling in first[:stories]:
        versions = [
            (name, other) for name, own in tellings.items() for other in own if other.story_id == telling.story_id
        ]
        seen = [{one.index: one for one in verdicts.get(name, {}).get(telling.story_id, ())} for name, _ in versions]
        width, height = _size(telling)
        frame = (width, height) if transform == "crop" else None
        found.append(
            Strip(
                story_id=telling.story_id,
                aspect_ratio=f"{width} / {height}",
                opening=_shown(telling.opening, None, frame),
                systems=tuple(_label(other) for _, other in versions),
                agreement=tuple(_agreement(list(one.values())) for one in seen),
                cards=tuple(_cards([other for _, other in versions], seen, frame)),
            )
        )
    return found


def data_url(pair: Pair, frame: Frame | None = None) -> str:
    """Encode a picture for the page, at most 192 pixels wide; alone, or in the middle of a frame of that shape."""
    image = pair.image(_SHOWN_SIDE)
    if frame is not None:
        width, height = frame
        size = (_SHOWN_SIDE, round(_SHOWN_SIDE * height / width))
        image = ImageOps.pad(image.convert("RGBA"), size, color=_NOTHING)
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=86, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _cards(versions: Sequence[Telling], seen: Sequence[Mapping[int, Verdict]], frame: Frame | None) -> list[Card]:
    reference = {pair.index: pair for pair in versions[0].reference}
    told = [{pair.index: pair for pair in telling.told} for telling in versions]
    cards = []
    for index in sorted(set().union(*told)):
        pair = reference.get(index)
        shown = [
            _shown(own[index], verdicts.get(index), frame) if index in own else None
            for own, verdicts in zip(told, seen, strict=True)
        ]
        cards.append(Card(index, _shown(pair, None) if pair else None, tuple(shown)))
    return cards


def _shown(pair: Pair, verdict: Verdict | None, frame: Frame | None = None) -> Shown:
    badges = (_badge("character", verdict.character), _badge("place", verdict.place)) if verdict else ()
    return Shown(data_url(pair, frame) if pair.source is not None else None, pair.text, badges)


def _badge(aspect: str, sight: Sight) -> Badge:
    tones = {True: "good", False: "bad", None: "mute"}
    named = " and ".join(sight.named) or f"no {aspect}"
    explanation = f"the probe sees {sight.seen} ({100 * sight.confidence:.0f} % sure); the text names {named}"
    return Badge(sight.seen, tones[sight.agrees], explanation)


def _agreement(verdicts: Sequence[Verdict]) -> str:
    parts = []
    for name, found in (
        ("character", [one.character.agrees for one in verdicts]),
        ("place", [one.place.agrees for one in verdicts]),
    ):
        judged = [agrees for agrees in found if agrees is not None]
        if judged:
            parts.append(f"{name} {sum(judged)} of {len(judged)}")
    return ", ".join(parts)


def _label(telling: Telling) -> str:
    if telling.policy == RECONSTRUCTION:
        return "repainted"
    mode = telling.mode.replace("_", " ")
    return f"{mode}, captions alone" if telling.policy == CAPTIONS_ALONE else mode


def _size(telling: Telling) -> tuple[int, int]:
    return (telling.reference or (telling.opening,))[0].image(1 << 16).size
