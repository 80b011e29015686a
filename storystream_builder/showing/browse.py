"""A dataset or a run as it is looked at: episodes with their shots, every candidate with its fate, and stories.

A dataset holds the pictures of kept frames only; the run that made it holds those of all candidates.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from story_model import schema
from story_model.manifest import read_manifest
from story_model.workspace import RunFolder
from storystream_builder.frames import KEPT
from storystream_builder.records import FRAMES

SCORES = ("sharpness", "luma", "contrast", "fade", "text", "appeal")
_FRAME_COLUMNS = (
    *("frame_id", "episode_id", "shot_id", "pts_ms", "status", "width", "height"),
    *("caption", "caption_status", "caption_model", *SCORES),
)
_USUAL_CHUNK = 10


@dataclass(frozen=True)
class SeenFrame:
    """A candidate with what became of it."""

    frame_id: str
    episode_id: str
    shot_id: int | None
    """None where shots are not known: imported keyframes."""
    pts_ms: int
    status: str
    scores: Mapping[str, float]
    """Those that the schema version has, and that were measured."""
    width: int
    height: int
    caption: str | None = None
    caption_status: str | None = None
    caption_model: str | None = None

    @property
    def reason(self) -> str:
        """What became of it, without what is said of it alone."""
        return self.status.split(":")[0]

    @property
    def is_kept(self) -> bool:
        """Whether it is in a story."""
        return self.status == KEPT


@dataclass(frozen=True)
class SeenShot:
    """A shot with its candidates in time order; without a number, candidates whose shots are not known."""

    shot_id: int | None
    start_ms: int
    end_ms: int
    motion: float
    outcome: str
    frames: tuple[SeenFrame, ...]


@dataclass(frozen=True)
class SeenStory:
    """A story: frames and the text over each."""

    story_id: str
    split: str
    frame_ids: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class SeenEpisode:
    """An episode; `facts` is its row of the episodes table, with none for what its schema version lacks."""

    episode_id: str
    facts: Mapping[str, Any]
    shots: tuple[SeenShot, ...]
    stories: tuple[SeenStory, ...]

    @property
    def name(self) -> str:
        """What its source is called."""
        return str(self.facts.get("title") or self.facts.get("source_name") or self.episode_id)

    @property
    def frames(self) -> list[SeenFrame]:
        """All candidates in time order."""
        return [frame for shot in self.shots for frame in shot.frames]


@dataclass(frozen=True)
class Collection:
    """A dataset that is looked at, or its first episodes."""

    name: str
    dataset_dir: Path
    run: RunFolder | None
    """The run that made it, where that was named."""
    episodes: list[SeenEpisode]
    num_episodes: int
    """Of the whole dataset."""
    chunk_length: int
    """Pairs that training reads at once."""

    def pictures(self, episode_id: str) -> dict[str, bytes]:
        """Read an episode's pictures by frame id: of all candidates where the run is there, else of kept ones."""
        published = _published_pictures(self.dataset_dir, episode_id) or _told_pictures(self.dataset_dir, episode_id)
        decoded = self.run.episodes_dir / episode_id / FRAMES if self.run else None
        if decoded is None or not decoded.is_file():
            return published
        return read_pictures(decoded) | published


def dataset_of(folder: Path) -> tuple[Path, RunFolder | None]:
    """Find what a folder is: (its dataset, its run where it is one).

    Raises:
        ValueError: it holds no dataset.
    """
    if (folder / "meta/episodes.parquet").is_file():
        return folder, None
    run = RunFolder(folder)
    if (run.dataset_dir / "meta/episodes.parquet").is_file():
        return run.dataset_dir, run
    if run.config_path.is_file() and run.episodes_dir.is_dir():
        raise ValueError(
            f"the build in {folder} made no dataset yet; --set build.stories.min_length=2, for one, previews what "
            "other settings would make of its decoded episodes"
        )
    raise ValueError(f"{folder} holds no dataset; build it first, or name the folder of one or of its run")


def open_collection(folder: Path, *, limit: int = 0) -> Collection:
    """Read what there is to look at, pictures aside; of the first `limit` episodes if that is not nought.

    Raises:
        ValueError: there is no dataset.
    """
    dataset_dir, run = dataset_of(folder)
    facts = sorted(rows_of([dataset_dir / "meta/episodes.parquet"]), key=lambda row: row["source_name"] or "")
    chosen = facts[:limit] if limit else facts
    chosen = [dict.fromkeys(schema.EPISODES.names) | row for row in chosen]
    ids = [row["episode_id"] for row in chosen]
    frames = _grouped(_frames(dataset_dir, ids), "episode_id")
    shots = _grouped(rows_of([dataset_dir / "meta/shots.parquet"], ids=ids), "episode_id")
    stories = _grouped(rows_of([dataset_dir / "meta/stories.parquet"], ids=ids), "episode_id")
    episodes = [
        SeenEpisode(
            row["episode_id"],
            row,
            _shots(shots.get(row["episode_id"], []), frames.get(row["episode_id"], [])),
            _stories(stories.get(row["episode_id"], [])),
        )
        for row in chosen
    ]
    return Collection(folder.resolve().name, dataset_dir, run, episodes, len(facts), _chunk_length(dataset_dir))


def pick_examples(episodes: Sequence[SeenEpisode], number: int) -> dict[str, list[SeenFrame]]:
    """Choose so many frames of each reason, from as many episodes as there are and evenly spread within each."""
    groups: dict[str, list[list[SeenFrame]]] = {}
    for episode in episodes:
        by_reason: dict[str, list[SeenFrame]] = {}
        for frame in episode.frames:
            by_reason.setdefault(frame.reason, []).append(frame)
        for reason, frames in by_reason.items():
            groups.setdefault(reason, []).append(frames)
    return {reason: _share_out(found, number) for reason, found in groups.items()}


def spread(frames: Sequence[SeenFrame], number: int) -> list[SeenFrame]:
    """Take so many of a row, evenly spread."""
    if len(frames) <= number:
        return list(frames)
    return [frames[round(index * (len(frames) - 1) / max(1, number - 1))] for index in range(number)]


def _share_out(groups: Sequence[Sequence[SeenFrame]], number: int) -> list[SeenFrame]:
    share = max(1, number // len(groups))
    while sum(min(len(group), share) for group in groups) < number and share < max(map(len, groups)):
        share += 1
    turns = zip_longest(*(spread(group, share) for group in groups))
    return [frame for turn in turns for frame in turn if frame is not None][:number]


def rows_of(
    paths: Iterable[Path], columns: Sequence[str] | None = None, ids: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Read rows of a table, of given episodes if so; columns that its schema version does not have are left out."""
    names = [str(path) for path in paths]
    if not names:
        return []
    table = ds.dataset(names)
    known = None if columns is None else [name for name in columns if name in table.schema.names]
    only = None if ids is None else pc.field("episode_id").isin(list(ids))
    return list(table.to_table(columns=known, filter=only).to_pylist())


def read_pictures(path: Path) -> dict[str, bytes]:
    """Read the pictures of a decoded episode's candidates, by frame id."""
    rows = pq.read_table(path, columns=["frame_id", "image"], page_checksum_verification=True).to_pylist()
    return _by_frame(rows)


def _published_pictures(dataset_dir: Path, episode_id: str) -> dict[str, bytes]:
    return _by_frame(rows_of(sorted(dataset_dir.glob("frames/*.parquet")), ("frame_id", "image"), [episode_id]))


def _told_pictures(dataset_dir: Path, episode_id: str) -> dict[str, bytes]:
    """Take the pictures out of the stories themselves: a dataset need not have a table of frames."""
    names = {row["story_id"]: row["frame_ids"] for row in rows_of([dataset_dir / "meta/stories.parquet"])}
    rows = rows_of(sorted(dataset_dir.glob("data/*/*.parquet")), ("story_id", "images"), [episode_id])
    return {
        frame_id: image["bytes"]
        for row in rows
        for frame_id, image in zip(names.get(row["story_id"], ()), row["images"], strict=False)
        if image and image["bytes"]
    }


def _by_frame(rows: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    return {row["frame_id"]: row["image"]["bytes"] for row in rows if row["image"] and row["image"]["bytes"]}


def _frames(dataset_dir: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    rows = rows_of(sorted(dataset_dir.glob("frames/*.parquet")), _FRAME_COLUMNS, ids)
    return sorted(rows, key=lambda row: (row["episode_id"], row["pts_ms"], row["frame_id"]))


def _grouped(rows: Iterable[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def _seen(row: Mapping[str, Any]) -> SeenFrame:
    scores = {name: row[name] for name in SCORES if row.get(name) is not None}
    return SeenFrame(scores=scores, **{name: value for name, value in row.items() if name not in SCORES})


def _shots(rows: Iterable[Mapping[str, Any]], frames: Iterable[Mapping[str, Any]]) -> tuple[SeenShot, ...]:
    """Put frames into their shots; one that the shots' table does not have is as long as its frames."""
    by_shot: dict[int | None, list[SeenFrame]] = {}
    for row in frames:
        by_shot.setdefault(row["shot_id"], []).append(_seen(row))
    known = {row["shot_id"]: row for row in rows}
    found = []
    for shot_id in sorted(known.keys() | by_shot.keys(), key=lambda number: -1 if number is None else number):
        inside = tuple(by_shot.get(shot_id, ()))
        times = [frame.pts_ms for frame in inside] or [0]
        unknown = {"start_ms": times[0], "end_ms": times[-1], "motion": 0.0, "outcome": ""}
        row = known.get(shot_id, unknown)
        found.append(SeenShot(shot_id, row["start_ms"], row["end_ms"], row["motion"], row["outcome"], inside))
    return tuple(found)


def _stories(rows: Iterable[Mapping[str, Any]]) -> tuple[SeenStory, ...]:
    found = [SeenStory(row["story_id"], row["split"], tuple(row["frame_ids"]), tuple(row["captions"])) for row in rows]
    return tuple(sorted(found, key=lambda story: story.story_id))


def _chunk_length(dataset_dir: Path) -> int:
    """Read from the manifest how long the views of training are."""
    manifest = read_manifest(dataset_dir)
    node: object = manifest.config if manifest else None
    for key in ("build", "stories", "chunk_length"):
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, int) else _USUAL_CHUNK
