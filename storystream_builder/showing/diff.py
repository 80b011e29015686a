"""What changed between two builds of a dataset: settings, episodes, frames, stories, splits, pictures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from story_model.manifest import Manifest, read_manifest
from story_model.workspace import RunFolder

ABSENT = "(absent)"
_PICTURE = "image"
_SCORES = ("sharpness", "luma", "contrast", "fade", "text", "appeal", "phash")
_FRAME_COLUMNS = ("frame_id", "status", "image_sha256", "caption", *_SCORES)

Row = Mapping[str, Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Change(Generic[Value]):
    """A value before and after."""

    old: Value
    new: Value


@dataclass(frozen=True)
class StoryChange:
    """A story of both builds that is not the same."""

    frames_added: list[str]
    frames_removed: list[str]
    texts: dict[str, Change[Any]]
    """By frame id, where both have the frame."""


@dataclass(frozen=True)
class Difference:
    """All that two builds differ in; empty where they are equal."""

    config: dict[str, Change[Any]] = field(default_factory=dict)
    """By dotted key."""
    episodes_added: dict[str, str] = field(default_factory=dict)
    """Episode id -> source name, here and below."""
    episodes_removed: dict[str, str] = field(default_factory=dict)
    episodes_replaced: dict[str, Change[Any]] = field(default_factory=dict)
    """Source name -> ids: the file has other content now."""
    episodes_changed: dict[str, dict[str, Change[Any]]] = field(default_factory=dict)
    """Episode id -> column -> values."""
    frames_added: int = 0
    frames_removed: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """`old -> new` -> frames."""
    scores: dict[str, int] = field(default_factory=dict)
    """Column -> frames in which it differs, where both builds have one; `caption` is among them."""
    pictures: list[str] = field(default_factory=list)
    """Frames whose picture has another digest."""
    stories_added: list[str] = field(default_factory=list)
    stories_removed: list[str] = field(default_factory=list)
    stories_changed: dict[str, StoryChange] = field(default_factory=dict)
    splits: dict[str, Change[Any]] = field(default_factory=dict)
    """Stories that moved to another split."""
    files: list[str] = field(default_factory=list)
    """Files of the dataset that are not the same to the byte, or in one build only."""

    @property
    def is_empty(self) -> bool:
        """Whether the builds are equal to the byte."""
        return not any(getattr(self, part.name) for part in fields(self))


def compare(old_dir: Path, new_dir: Path) -> Difference:
    """Compare two finished datasets, given as their folders or as those of their runs.

    Raises:
        ValueError: one is no finished dataset.
    """
    (old, before), (new, after) = _finished(old_dir), _finished(new_dir)
    files = _unequal(before, after)
    config = _config(before, old, after, new)
    if not files:
        return Difference(config=config)
    episodes = [_by(_table(folder, "meta/episodes.parquet"), "episode_id") for folder in (old, new)]
    frames = [_by(_frames(folder), "frame_id") for folder in (old, new)]
    stories = [_by(_table(folder, "meta/stories.parquet"), "story_id") for folder in (old, new)]
    found: dict[str, Any] = _episodes(*episodes) | _frame_changes(*frames) | _stories(*stories)
    return Difference(config=config, files=files, **found)


def changed_settings(old: Row, new: Row) -> dict[str, Change[Any]]:
    """Compare two trees of settings, by dotted key."""
    return _changes(dict(_leaves(old)), dict(_leaves(new)))


def _finished(folder: Path) -> tuple[Path, Manifest]:
    """Find the dataset of a folder: (folder, manifest)."""
    for place in (folder, RunFolder(folder).dataset_dir):
        manifest = read_manifest(place)
        if manifest is not None and (place / "meta/episodes.parquet").is_file():
            return place, manifest
    raise ValueError(f"{folder} holds no finished dataset; build it first, or name the folder of one or of its run")


def _unequal(old: Manifest, new: Manifest) -> list[str]:
    names = old.files.keys() | new.files.keys()
    return sorted(name for name in names if old.files.get(name) != new.files.get(name))


def _config(before: Manifest, old: Path, after: Manifest, new: Path) -> dict[str, Change[Any]]:
    versions = [{"schema version": _schema_version(folder)} for folder in (old, new)]
    changed = _changes(*versions) | changed_settings(before.config, after.config)
    videos = changed.pop("sources", None)
    if videos is not None:
        changed["sources"] = _told(videos)
    return changed


def _told(digests: Change[Any]) -> Change[Any]:
    """Tell what is behind digests of videos, their lines and their rights, for these mean nothing to a reader."""
    if not isinstance(digests.old, list) or not isinstance(digests.new, list):
        return digests
    new = set(digests.new) - set(digests.old)
    told = f", {len(new)} of them new or not as they were" if new else ""
    return Change(f"{len(digests.old)} videos", f"{len(digests.new)} videos{told}")


def _leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _schema_version(folder: Path) -> str:
    metadata = pq.read_schema(folder / "meta/episodes.parquet").metadata or {}
    return metadata.get(b"storystream.schema_version", b"unknown").decode()


def _changes(old: Row, new: Row) -> dict[str, Change[Any]]:
    """Compare two rows; what only one of them has is compared with `(absent)`."""
    names = sorted(old.keys() | new.keys())
    pairs = {name: Change(old.get(name, ABSENT), new.get(name, ABSENT)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair.old != pair.new}


def _table(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / name).to_pylist())


def _frames(folder: Path) -> list[dict[str, Any]]:
    """Read the frames without their pictures; scores that the schema version does not have are none."""
    paths = sorted(str(path) for path in folder.glob("frames/*.parquet"))
    if not paths:
        return []
    table = ds.dataset(paths)
    columns = [name for name in _FRAME_COLUMNS if name in table.schema.names]
    return list(table.to_table(columns=columns).to_pylist())


def _by(rows: Sequence[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


def _episodes(old: Mapping[str, Row], new: Mapping[str, Row]) -> dict[str, Any]:
    added = {name: new[name]["source_name"] for name in sorted(new.keys() - old.keys())}
    removed = {name: old[name]["source_name"] for name in sorted(old.keys() - new.keys())}
    now = {source: name for name, source in added.items()}
    replaced = {source: Change(name, now[source]) for name, source in removed.items() if source in now}
    shared = ((name, _shared_changes(old[name], new[name])) for name in sorted(old.keys() & new.keys()))
    return {
        "episodes_added": {name: source for name, source in added.items() if source not in replaced},
        "episodes_removed": {name: source for name, source in removed.items() if source not in replaced},
        "episodes_replaced": replaced,
        "episodes_changed": {name: changes for name, changes in shared if changes},
    }


def _shared_changes(old: Row, new: Row) -> dict[str, Change[Any]]:
    """Compare what both schema versions know."""
    known = old.keys() & new.keys()
    return _changes({name: old[name] for name in known}, {name: new[name] for name in known})


def _frame_changes(old: Mapping[str, Row], new: Mapping[str, Row]) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    pictures: list[str] = []
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name], new[name]
        was, is_now = (row["status"].split(":")[0] for row in (before, after))
        if was != is_now:
            statuses[f"{was} -> {is_now}"] += 1
        digests = before["image_sha256"], after["image_sha256"]
        if all(digests) and digests[0] != digests[1]:
            pictures.append(name)
        for column in ("caption", *_SCORES):
            values = before.get(column), after.get(column)
            if None not in values and values[0] != values[1]:
                scores[column] += 1
    return {
        "frames_added": len(new.keys() - old.keys()),
        "frames_removed": len(old.keys() - new.keys()),
        "statuses": dict(statuses.most_common()),
        "scores": dict(scores),
        "pictures": pictures,
    }


def _stories(old: Mapping[str, Row], new: Mapping[str, Row]) -> dict[str, Any]:
    shared = sorted(old.keys() & new.keys())
    changes = {name: _story_change(old[name], new[name]) for name in shared}
    return {
        "stories_added": sorted(new.keys() - old.keys()),
        "stories_removed": sorted(old.keys() - new.keys()),
        "stories_changed": {name: change for name, change in changes.items() if change is not None},
        "splits": {
            name: Change(old[name]["split"], new[name]["split"])
            for name in shared
            if old[name]["split"] != new[name]["split"]
        },
    }


def _story_change(old: Row, new: Row) -> StoryChange | None:
    texts = [dict(zip(row["frame_ids"], row["captions"], strict=True)) for row in (old, new)]
    before, after = texts
    if list(before.items()) == list(after.items()):
        return None
    return StoryChange(
        frames_added=[name for name in after if name not in before],
        frames_removed=[name for name in before if name not in after],
        texts={
            name: Change(before[name], after[name]) for name in before if name in after and before[name] != after[name]
        },
    )
