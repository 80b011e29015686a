"""The world of the cartoon: its cast, its places and what its cast can do.

The names here are the words of the narration and of the truth files, so that a reader of either can tell who does what
where by looking for whole words. Nothing here draws; colours are 8-bit RGB.
"""

from dataclasses import dataclass
from typing import TypeVar

Colour = tuple[int, int, int]

Thing = TypeVar("Thing", "Character", "Place", "Action")


@dataclass(frozen=True)
class Character:
    """One of the cast: `kind` is the animal (or machine) the narration calls it."""

    name: str
    kind: str
    colour: Colour


@dataclass(frozen=True)
class Place:
    """Somewhere to be: `where` is the phrase of the narration, `details` may follow it."""

    name: str
    where: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Action:
    """Something to do: `phrases` are ways to say it, each holding the word `name`."""

    name: str
    phrases: tuple[str, ...]


CAST = (
    Character("Pip", "fox", (232, 66, 30)),
    Character("Luna", "owl", (128, 58, 200)),
    Character("Bolt", "robot", (255, 205, 20)),
    Character("Tiko", "frog", (52, 186, 60)),
    Character("Rosa", "rabbit", (255, 122, 182)),
    Character("Momo", "elephant", (42, 116, 236)),
)

PLACES = (
    Place("meadow", "in the meadow", ("among the flowers", "under the blue sky")),
    Place("beach", "on the beach", ("by the sea", "under the palm tree")),
    Place("forest", "in the forest", ("between the tall trees", "in the green shade")),
    Place("mountain", "on the mountain", ("in the white snow", "where it is cold")),
    Place("city", "in the city", ("under the big moon", "late at night")),
    Place("kitchen", "in the kitchen", ("next to the oven", "on the red floor")),
)

# In story order: each action leads most naturally to the next, and the last to the first.
ACTIONS = (
    Action("waves", ("waves hello", "waves to a friend", "waves with a big smile")),
    Action("runs", ("runs very fast", "runs and runs", "runs like the wind")),
    Action("jumps", ("jumps up and down", "jumps very high", "jumps for joy")),
    Action("dances", ("dances to a song", "dances with joy", "dances round and round")),
    Action("eats", ("eats a cookie", "eats a sweet cookie", "eats a big round cookie")),
    Action("sleeps", ("sleeps and dreams", "sleeps very well", "sleeps without a sound")),
)


def character_named(name: str) -> Character:
    """Find one of the cast; ValueError where nobody is called that."""
    return _find(CAST, name, "character")


def place_named(name: str) -> Place:
    """Find a place; ValueError where there is none of that name."""
    return _find(PLACES, name, "place")


def action_named(name: str) -> Action:
    """Find an action; ValueError where there is none of that name."""
    return _find(ACTIONS, name, "action")


def _find(things: tuple[Thing, ...], name: str, what: str) -> Thing:
    for thing in things:
        if thing.name == name:
            return thing
    raise ValueError(f"no {what} is called {name!r}; choose from {', '.join(thing.name for thing in things)}")
