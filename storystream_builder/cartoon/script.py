"""The script of an episode: which shots follow one another, and what the narrator says over each.

A pure function of the seed and the episode's index. Stories have habits that can be learnt from what came before: the
protagonist keeps coming back, a place lasts for two to four shots, one action leads to the next, and the first word of
a line tells whether the person or the place has changed.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from storystream_builder.cartoon.world import ACTIONS, CAST, PLACES, Action, Character, Place, Thing

Kind = Literal["title", "shot", "fade", "credits"]

TITLE_S = 1.5
CREDITS_S = 2.0
FADE_S = 1.0
"""From the first darker frame of one scene to the last darker frame of the next, black in its middle."""
SHOTS_PER_SCENE = 10
SHOT_SPREAD = 0.25
"""A shot lasts its usual time give or take this share."""
MAX_WORDS = 14
_TITLES = ("A Day with {}", "{} and Friends", "The Adventures of {}", "{} Goes Out", "Where Is {}?", "Happy {}")


@dataclass(frozen=True)
class Segment:
    """A stretch of an episode; who, where, what and the line are None but in a shot."""

    kind: Kind
    num_frames: int
    character: str | None = None
    place: str | None = None
    action: str | None = None
    text: str | None = None
    shift: float = 0.0
    """Of the figure, in frame widths."""
    reverse: bool = False
    """Whether the camera looks the other way, so that the scenery is mirrored."""


@dataclass(frozen=True)
class Script:
    """An episode as it will be drawn, from the title to the end credits."""

    title: str
    protagonist: str
    cast: tuple[str, ...]
    drift: float
    """Where the clouds of this episode are, 0 to 1."""
    segments: tuple[Segment, ...]


def write_script(*, seed: int, index: int, num_shots: int, shot_s: float, fps: int) -> Script:
    """Write the script of the episode with this index (from 0), with `num_shots` narrated shots."""
    rng = random.Random(f"{seed}/episode/{index}")
    protagonist = _protagonist(seed, index)
    friends = rng.sample([one for one in CAST if one != protagonist], rng.choice((2, 3)))
    segments = [Segment("title", _even_frames(TITLE_S, fps))]
    before: _Beat | None = None
    for number, beat in enumerate(_beats(rng, protagonist, friends, num_shots)):
        opens_scene = number % SHOTS_PER_SCENE == 0
        if opens_scene and number > 0:
            segments.append(Segment("fade", _even_frames(FADE_S, fps)))
        segments.append(
            Segment(
                "shot",
                _even_frames(shot_s * rng.uniform(1 - SHOT_SPREAD, 1 + SHOT_SPREAD), fps),
                character=beat.character.name,
                place=beat.place.name,
                action=beat.action.name,
                text=_line(rng, beat, before, opens_scene=opens_scene),
                reverse=beat.reverse,
                shift=round(rng.uniform(-0.05, 0.05), 3),
            )
        )
        before = beat
    segments.append(Segment("credits", _even_frames(CREDITS_S, fps)))
    return Script(
        title=rng.choice(_TITLES).format(protagonist.name),
        protagonist=protagonist.name,
        cast=(protagonist.name, *(friend.name for friend in friends)),
        drift=round(rng.random(), 2),
        segments=tuple(segments),
    )


@dataclass(frozen=True)
class _Beat:
    character: Character
    place: Place
    action: Action
    reverse: bool


def _protagonist(seed: int, index: int) -> Character:
    """Let everyone lead once in every round of episodes, in an order of the round's own."""
    order = list(CAST)
    random.Random(f"{seed}/round/{index // len(CAST)}").shuffle(order)
    return order[index % len(CAST)]


def _beats(rng: random.Random, protagonist: Character, friends: list[Character], num_shots: int) -> Iterator[_Beat]:
    character, place, action = protagonist, rng.choice(PLACES), rng.choice(ACTIONS)
    for stay in _stays(rng, num_shots):
        for number in range(stay):
            yield _Beat(character, place, action, reverse=number % 2 == 1)
            action = _next(rng, ACTIONS, action, habit=0.7)
            character = _next_character(rng, character, protagonist, friends)
        place = _next(rng, PLACES, place, habit=0.6)


def _stays(rng: random.Random, num_shots: int) -> Iterator[int]:
    """Divide every scene of the episode into stays of two to four shots at one place."""
    for start in range(0, num_shots, SHOTS_PER_SCENE):
        left = min(SHOTS_PER_SCENE, num_shots - start)
        while left > 0:
            stay = rng.choice([count for count in (2, 3, 4) if count == left or count + 2 <= left] or [left])
            left -= stay
            yield stay


def _next_character(
    rng: random.Random, current: Character, protagonist: Character, friends: list[Character]
) -> Character:
    """Let the camera stay with someone for a third of the time, and come back to the protagonist when it moves on."""
    if rng.random() < 0.35:
        return current
    if current != protagonist and rng.random() < 0.7:
        return protagonist
    return rng.choice([friend for friend in friends if friend != current])


def _next(rng: random.Random, things: tuple[Thing, ...], current: Thing, *, habit: float) -> Thing:
    """Choose the thing after the current one with the probability `habit`, any other one else."""
    following = things[(things.index(current) + 1) % len(things)]
    if rng.random() < habit:
        return following
    return rng.choice([thing for thing in things if thing not in (current, following)])


def _line(rng: random.Random, beat: _Beat, before: _Beat | None, *, opens_scene: bool) -> str:
    """Say what happens in 8 to 14 words, naming just one of the cast and one place."""
    if before is None:
        opening = rng.choice(("One day", "Today"))
    elif opens_scene:
        opening = rng.choice(("The next day", "Much later"))
    elif beat.place != before.place:
        opening = rng.choice(("Later", "Soon"))
    elif beat.character != before.character:
        opening = "Meanwhile"
    else:
        opening = rng.choice(("Then", "After that"))
    who = f"{beat.character.name} the {beat.character.kind}"
    line = f"{opening}, {who} {rng.choice(beat.action.phrases)} {beat.place.where}"
    detail = rng.choice(beat.place.details)
    if rng.random() < 0.3 and len(f"{line} {detail}".split()) <= MAX_WORDS:
        line = f"{line} {detail}"
    return f"{line}."


def _even_frames(duration_s: float, fps: int) -> int:
    """Count the frames of a duration, an even number since every drawing is shown twice."""
    return max(2, 2 * round(duration_s * fps / 2))
