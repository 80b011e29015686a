"""A difference between two builds as lines for a person."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from storystream_builder.showing.diff import Change, Difference, StoryChange
from storystream_builder.showing.safe_text import shown


def lines_of(difference: Difference, *, limit: int = 20) -> Iterator[str]:
    """Tell a difference, of each kind at most `limit` cases; how many more there are is said."""
    if difference.is_empty:
        yield "the builds are equal"
        return
    yield from _section("settings", _changes(difference.config), limit)
    episodes = [*(f"+ {_named(*one)}" for one in difference.episodes_added.items())]
    episodes += [f"- {_named(*one)}" for one in difference.episodes_removed.items()]
    episodes += [f"! {shown(name)}: {_arrow(change)}" for name, change in difference.episodes_replaced.items()]
    for name, changes in difference.episodes_changed.items():
        episodes.append(f"~ {name}: " + "; ".join(_changes(changes)))
    yield from _section("episodes", episodes, limit)
    yield from _section("frames", _frames(difference), limit)
    yield from _section("pictures with other bytes", difference.pictures, limit)
    yield from _section("stories in another split", _changes(difference.splits), limit)
    stories = [f"+ {name}" for name in difference.stories_added] + [f"- {name}" for name in difference.stories_removed]
    for name, story in difference.stories_changed.items():
        stories += _story(name, story)
    yield from _section("stories", stories, limit)
    yield from _section("files", difference.files, limit)


def _section(title: str, lines: Iterable[str], limit: int) -> Iterator[str]:
    every: Sequence[str] = list(lines)
    if not every:
        return
    yield f"{title} ({len(every)})"
    yield from (f"  {line}" for line in every[:limit])
    if len(every) > limit:
        yield f"  … and {len(every) - limit} more (--limit)"


def _frames(difference: Difference) -> Iterator[str]:
    if difference.frames_added:
        yield f"{difference.frames_added:7d}  only in the second build"
    if difference.frames_removed:
        yield f"{difference.frames_removed:7d}  only in the first build"
    for status, number in difference.statuses.items():
        yield f"{number:7d}  {shown(status)}"
    for column, number in difference.scores.items():
        yield f"{number:7d}  have another {column}"


def _story(name: str, story: StoryChange) -> Iterator[str]:
    yield f"~ {name}: {len(story.frames_added)} frames added, {len(story.frames_removed)} removed" + (
        f", {len(story.texts)} texts changed" if story.texts else ""
    )
    for frame_id, text in story.texts.items():
        yield f"    {frame_id}: {_arrow(text)}"


def _changes(changes: Mapping[str, Change[Any]]) -> list[str]:
    return [f"{shown(name)}: {_arrow(change)}" for name, change in changes.items()]


def _arrow(change: Change[Any]) -> str:
    old, new = (shown(str(value)) or "(empty)" for value in (change.old, change.new))
    return f"{old} -> {new}"


def _named(episode_id: str, source: str) -> str:
    return f"{episode_id} {shown(source)}"
