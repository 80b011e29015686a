"""Group an episode's keyframes into stories, and decide which episodes are held out.

A story never crosses an episode, and no episode is on both sides of the split, except where there is only one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from story_model.build_config import StoriesConfig
from storystream_builder.frames import Frame

TRAIN = "train"
VALIDATION = "validation"
_SHORTEST = 2


@dataclass(frozen=True)
class Story:
    """Keyframes of one episode in order, and the text over each."""

    story_id: str
    episode_id: str
    frames: tuple[Frame, ...]
    texts: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True)
class Split:
    """Stories with their split, in the order in which they are published, and what the reader should be warned of."""

    stories: tuple[Story, ...]
    warnings: tuple[str, ...] = ()


def group(frames: Sequence[Frame], *, subset: str, config: StoriesConfig) -> tuple[list[Story], list[Frame]]:
    """Cut one episode's captioned frames into stories; the captions are their first texts.

    Returns the stories, and the frames of a remainder too short to be one.
    """
    stories: list[Story] = []
    for start in range(0, len(frames), config.length):
        part = tuple(frames[start : start + config.length])
        if len(part) < config.min_length:
            return stories, list(part)
        texts = tuple(frame.caption or "" for frame in part)
        story_id = _story_id(subset, part[0].episode_id, len(stories))
        stories.append(Story(story_id, part[0].episode_id, part, texts))
    return stories, []


def split(stories: Sequence[Story], *, subset: str, fraction: float, series: Mapping[str, str] | None = None) -> Split:
    """Hold out a share of the episodes, chosen by a hash of their content; at least one where there are two.

    `series` (by episode id) holds out whole series instead. With one episode its last story is held out; with one
    story, its second half.

    Raises:
        ValueError: there is no story, a single one too short to be cut in two, or a single series.
    """
    groups = {story.episode_id: story.episode_id if series is None else series[story.episode_id] for story in stories}
    ranked = sorted(set(groups.values()), key=_rank)
    if not ranked:
        raise ValueError("no episode yields a story; lower build.stories.min_length or bring longer videos")
    if fraction == 0:
        return Split(_assigned(stories, held_out=set()), ("nothing is held out: validation_fraction is 0",))
    if series is not None and len(ranked) == 1:
        raise ValueError(
            f"all videos are of one series ({ranked[0]!r}); name theirs in sources.yaml, or set "
            "build.stories.split_by=episode"
        )
    if len(ranked) == 1:
        return _split_one_episode(list(stories), subset)
    held_out = set(ranked[: min(len(ranked) - 1, max(1, round(fraction * len(ranked))))])
    return Split(
        _assigned(stories, held_out={story.story_id for story in stories if groups[story.episode_id] in held_out})
    )


def _split_one_episode(stories: list[Story], subset: str) -> Split:
    warning = "there is one episode only: its last story is held out, so training and validation share an episode"
    if len(stories) == 1:
        stories = _halves(stories[0], subset)
        warning = "there is one story only: its second half is held out, so training and validation share a story"
    return Split(_assigned(stories, held_out={stories[-1].story_id}), (warning,))


def _halves(story: Story, subset: str) -> list[Story]:
    middle = len(story.frames) // 2
    if middle < _SHORTEST:
        raise ValueError(f"a single story of {len(story.frames)} frames cannot be split; bring more or longer videos")
    parts = [slice(0, middle), slice(middle, None)]
    return [
        Story(_story_id(subset, story.episode_id, number), story.episode_id, story.frames[part], story.texts[part])
        for number, part in enumerate(parts)
    ]


def _assigned(stories: Sequence[Story], *, held_out: set[str]) -> tuple[Story, ...]:
    named = [replace(story, split=VALIDATION if story.story_id in held_out else TRAIN) for story in stories]
    return tuple(sorted(named, key=lambda story: (story.split, story.story_id)))


def _rank(name: str) -> str:
    return hashlib.sha256(f"split {name}".encode()).hexdigest()


def _story_id(subset: str, episode_id: str, number: int) -> str:
    return f"{subset}-{episode_id}-{number:04d}"
