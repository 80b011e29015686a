"""A run's decoded episodes with what its dataset knows besides: enough to decide anew what is kept.

What is spoken lies in no run, but whether anything is, a dataset tells of most shots: by the reason why frames were
dropped, and by where captions came from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from story_model.build_config import BuildConfig
from story_model.config import RunConfig, read_config
from story_model.workspace import RunFolder
from storystream_builder.captioning.captions import MEASURED, NARRATED
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode, load_episode
from storystream_builder.listening.transcripts import Line, Transcript
from storystream_builder.records import EPISODE, EpisodeRecord
from storystream_builder.showing.browse import rows_of
from storystream_builder.sources import Source

_SILENT = "no narration"
_NO_CAPTION = "no caption"
_FRAME_COLUMNS = ("frame_id", "episode_id", "shot_id", "status", "appeal", "caption_status")

Row = Mapping[str, Any]
Shot = tuple[str, int]


@dataclass(frozen=True)
class StoredRun:
    """What a run has found, decided upon or not."""

    folder: RunFolder
    config: RunConfig
    episodes: list[Episode]
    """In the order of their ids, without their pictures; no candidate is dropped yet."""
    refused: dict[str, str]
    """Frames that got no caption, with the reason."""
    appeal: dict[str, float]
    """Of the frames that were scored so."""
    notes: list[str]
    """What is not known, and how it is taken."""


def read_run(folder: RunFolder) -> StoredRun:
    """Read a run that has decoded its videos; it need not have published a dataset.

    Raises:
        ValueError: the folder is none of a run, or nothing is decoded in it.
    """
    if not folder.config_path.is_file():
        raise ValueError(f"{folder.root} is no run's folder (no config.yaml); name the one that `build` was given")
    config = read_config(folder.config_path)
    facts, frames = _published(folder)
    records = list(_records(folder, facts))
    if not records:
        raise ValueError(f"{folder.episodes_dir} holds no decoded episode; run `build` first")
    silent, spoken = _silent_and_spoken(frames, config.build)
    episodes = [_episode(folder, record, facts.get(record.episode_id, {}), silent) for record in records]
    unknown = sum(
        (one.episode_id, shot.shot_id) not in silent | spoken
        for one in episodes
        if one.has_lines
        for shot in one.record.shots
    )
    notes = [] if facts else ["the run has no dataset: names of videos, subtitles and captions are not known"]
    if unknown:
        notes.append(f"of {unknown} shots it is not known whether a line is spoken over them: they are taken as spoken")
    refused = {row["frame_id"]: row["status"] for row in frames if row["status"].startswith(_NO_CAPTION)}
    appeal = {row["frame_id"]: row["appeal"] for row in frames if row.get("appeal") is not None}
    return StoredRun(folder, config, episodes, refused, appeal, notes)


def _published(folder: RunFolder) -> tuple[dict[str, Row], list[dict[str, Any]]]:
    """Read what the run's dataset says: (episodes by id, frames); nothing where there is none."""
    meta = folder.dataset_dir / "meta/episodes.parquet"
    if not meta.is_file():
        return {}, []
    frames = rows_of(sorted(folder.dataset_dir.glob("frames/*.parquet")), _FRAME_COLUMNS)
    return {row["episode_id"]: row for row in rows_of([meta])}, frames


def _records(folder: RunFolder, facts: Mapping[str, Row]) -> Iterator[EpisodeRecord]:
    """Read the episodes of the dataset; all that are sound where there is no dataset."""
    names = sorted(facts) or sorted(path.parent.name for path in folder.episodes_dir.glob(f"*/{EPISODE}"))
    for name in names:
        path = folder.episodes_dir / name / EPISODE
        if not path.is_file():
            raise ValueError(f"{path.parent} is missing, though the dataset has the episode; run `build` again")
        record = EpisodeRecord.model_validate_json(path.read_bytes())
        if record.fault is None:
            yield record


def _silent_and_spoken(frames: list[dict[str, Any]], config: BuildConfig) -> tuple[set[Shot], set[Shot]]:
    """Tell over which shots nothing is spoken, and over which something is, as far as the dataset knows."""
    dropped = config.captions.silent_shots == "drop"
    silent: set[Shot] = set()
    spoken: set[Shot] = set()
    for row in frames:
        shot, caption = (row["episode_id"], row["shot_id"]), row["caption_status"]
        if row["status"] == _SILENT or caption == MEASURED:
            silent.add(shot)
        elif caption == NARRATED or (dropped and caption is not None):
            spoken.add(shot)
    return silent, spoken


def _episode(folder: RunFolder, record: EpisodeRecord, facts: Row, silent: set[Shot]) -> Episode:
    shots = record.shots if facts.get("num_lines") else []
    lines = tuple(
        Line(shot.start_ms, max(shot.end_ms, shot.start_ms + 1), "(a line)")
        for shot in shots
        if (record.episode_id, shot.shot_id) not in silent
    )
    name = facts.get("source_name") or record.episode_id
    source = Source(Path(), name, series=facts.get("series") or "")
    outcome = EpisodeOutcome(source, record.episode_id, record.source_sha256, Transcript(lines))
    return load_episode(outcome, folder.episodes_dir / record.episode_id)
