"""Which stories of two runs can be paired: those that both told from the same start, and as far as both told them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.comparing.comparison import Starts
from evaluation.comparing.sides import Evaluated
from story_model.dataset import Story, read_stories
from story_model.strict_json import read_json

GIVEN = "captions_given"
"""The mode in which the dataset's captions are part of the task."""


@dataclass(frozen=True)
class Pairing:
    """The stories of both runs that are compared in one mode."""

    lengths: Mapping[str, int]
    """By story id: the last index that both told."""
    whole: frozenset[str]
    """Stories that both told to the same length: their values of the story as a whole may be compared."""
    starts: Starts


def pair(left: Evaluated, right: Evaluated, mode: str) -> Pairing:
    """Pair the headline stories of both runs in a mode.

    Where the datasets differ, a pair needs the same opening picture and text beside the same id, and where captions are
    given, the same captions as far as both told.

    Raises:
        ValueError: a told story cannot be read.
    """
    ours, theirs = (told_lengths(one.told_dir(mode)) for one in (left, right))
    both = sorted(ours.keys() & theirs.keys())
    lengths = {story: min(ours[story], theirs[story]) for story in both}
    other_opening: list[str] = []
    other_captions: list[str] = []
    if left.dataset.digest != right.dataset.digest:
        known, new = (_validation(one) for one in (left, right))
        other_opening = [story for story in both if opening_of(known[story]) != opening_of(new[story])]
        other_captions = [
            story
            for story in set(both) - set(other_opening)
            if known[story].captions[: lengths[story] + 1] != new[story].captions[: lengths[story] + 1]
        ]
    shared = [story for story in both if story not in other_opening]
    starts = Starts(
        shared=len(shared),
        only_left=len(ours.keys() - theirs.keys()),
        only_right=len(theirs.keys() - ours.keys()),
        other_opening=len(other_opening),
        other_captions=len(other_captions) if mode == GIVEN else 0,
        cut=sum(ours[story] != theirs[story] for story in shared),
    )
    kept = [story for story in shared if mode != GIVEN or story not in other_captions]
    return Pairing(
        lengths={story: lengths[story] for story in kept},
        whole=frozenset(story for story in kept if ours[story] == theirs[story]),
        starts=starts,
    )


def told_lengths(told_dir: Path) -> dict[str, int]:
    """Give the last index of each story told into a folder, by its id; none where nothing was told.

    Raises:
        ValueError: a file is no told story.
    """
    found = {}
    for path in sorted(told_dir.glob("*/story.json")):
        try:
            story = read_json(path.read_bytes())
            found[str(story["story_id"])] = len(story["segments"]) - 1
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no told story ({error}); tell the stories again") from None
    return found


def opening_of(story: Story) -> tuple[str, str]:
    """Name a story's opening by picture and text."""
    return story.image_sha256[0], story.captions[0]


def _validation(one: Evaluated) -> dict[str, Story]:
    return {story.story_id: story for story in read_stories(one.run.dataset_dir, "validation")}
