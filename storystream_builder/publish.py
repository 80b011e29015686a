"""Write an assembled dataset: tables, pictures, card. The layout is `story_model/schema.py`'s."""

import hashlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from story_model import schema
from story_model.config import BuildConfig
from storystream_builder.assemble import Assembly
from storystream_builder.captions import Captioner
from storystream_builder.episodes import Problem
from storystream_builder.frames import Episode, Frame
from storystream_builder.keyframes import KEPT
from storystream_builder.narratives import Narrator
from storystream_builder.parquet import TableWriter, write_table
from storystream_builder.stories import Story

_AS_THEY_ARE = (
    *("frame_id", "episode_id", "pts", "time_base", "pts_ms", "status", "caption", "caption_status"),
    *("sharpness", "luma", "contrast", "phash", "width", "height"),
)
_ROW_BYTES = 500
"""What a row weighs beyond its picture, roughly."""


def write_stories(
    out: Path, assembly: Assembly, *, config: BuildConfig, captioner: Captioner, narrator: Narrator
) -> None:
    """Write the train tables: each split's stories with their pictures inline."""
    episodes = {episode.episode_id: episode for episode in assembly.episodes}
    table_schema = schema.with_metadata(schema.STORIES_INLINE)
    folder = out / "data" / config.subset
    provenance = _provenance(config, captioner, narrator)
    for split, stories in groupby(assembly.stories.stories, key=lambda story: story.split):
        ordered = list(stories)
        with (
            TableWriter(folder, split, table_schema, config.parquet) as writer,
            tqdm(total=len(ordered), desc=f"{split} table", unit="story") as bar,
        ):
            for episode_id, group in groupby(ordered, key=lambda story: story.episode_id):
                images = episodes[episode_id].images()
                for story in group:
                    size = sum(len(images[frame.frame_id]) + _ROW_BYTES for frame in story.frames)
                    writer.add(_story_row(story, images) | provenance, size)
                    bar.update()


def write_frames(out: Path, episodes: Sequence[Episode], *, config: BuildConfig, caption_model: str) -> None:
    """Write every scored candidate once; those that were kept with their picture, the others with the reason."""
    table_schema = schema.with_metadata(schema.FRAMES)
    with TableWriter(out / "frames", config.subset, table_schema, config.parquet) as writer:
        for episode in tqdm(episodes, desc="frames table", unit="episode"):
            images = episode.images()
            for frame in episode.frames:
                image = images.get(frame.frame_id) if frame.is_kept else None
                row = _frame_row(frame, image) | {"subset": config.subset}
                row["caption_model"] = caption_model if frame.caption else None
                writer.add(row, len(image or b"") + _ROW_BYTES)


def write_meta(out: Path, assembly: Assembly, *, config: BuildConfig) -> None:
    """Write the tables without pictures: episodes, shots, stories, errors."""
    folder = out / "meta"
    folder.mkdir(exist_ok=True)
    stories = assembly.stories.stories
    tables = {
        "episodes": (schema.EPISODES, [_episode_row(one, assembly, config) for one in assembly.episodes]),
        "shots": (schema.SHOTS, [row for one in assembly.episodes for row in _shot_rows(one)]),
        "stories": (schema.STORIES, [_story_text_row(story, config.subset) for story in stories]),
        "errors": (schema.ERRORS, [_error_row(problem) for problem in assembly.problems]),
    }
    for name, (table_schema, rows) in tables.items():
        table = pa.Table.from_pylist(rows, schema=schema.with_metadata(table_schema))
        write_table(folder / f"{name}.parquet", table, row_group_mb=config.parquet.row_group_mb)


def _story_row(story: Story, images: dict[str, bytes]) -> dict[str, object]:
    frames = story.frames
    return {
        "story_id": story.story_id,
        "split": story.split,
        "episode_id": story.episode_id,
        "images": [{"bytes": images[frame.frame_id], "path": f"{frame.frame_id}.jpg"} for frame in frames],
        "captions": list(story.texts),
        "frame_captions": [frame.caption for frame in frames],
        "orders": list(range(len(frames))),
        "pts_ms": [frame.pts_ms for frame in frames],
        "shot_ids": [frame.shot.shot_id for frame in frames],
        "image_sha256": [_sha256(images[frame.frame_id]) for frame in frames],
        "width": [frame.width for frame in frames],
        "height": [frame.height for frame in frames],
        "phash": [frame.phash for frame in frames],
    }


def _provenance(config: BuildConfig, captioner: Captioner, narrator: Narrator) -> dict[str, object]:
    prompts = captioner.prompt_sha256 + narrator.prompt_sha256
    return {
        "subset": config.subset,
        "caption_model": captioner.name,
        "story_model": narrator.name,
        "prompt_sha256": _sha256(prompts.encode()) if prompts else "",
        "license": config.license,
        "attribution": config.attribution,
    }


def _frame_row(frame: Frame, image: bytes | None) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(frame, name) for name in _AS_THEY_ARE}
    row["shot_id"] = frame.shot.shot_id
    if image is not None:
        row |= {"image": {"bytes": image, "path": f"{frame.frame_id}.jpg"}, "image_sha256": _sha256(image)}
    return row


def _episode_row(episode: Episode, assembly: Assembly, config: BuildConfig) -> dict[str, object]:
    record = episode.record
    splits = sorted({story.split for story in assembly.stories.stories if story.episode_id == episode.episode_id})
    return {
        "episode_id": episode.episode_id,
        "subset": config.subset,
        "split": "+".join(splits) or None,
        "source_name": episode.outcome.name,
        "source_sha256": record.source_sha256,
        "codec": record.codec,
        "width": record.width,
        "height": record.height,
        "duration_ms": record.duration_ms,
        "num_frames": record.num_frames,
        "num_corrupt": record.num_corrupt,
        "num_shots": len(record.shots),
        "num_keyframes": len(episode.kept),
        "num_lines": len(episode.outcome.transcript.lines),
        "duplicate_of": assembly.duplicates.get(episode.episode_id),
        "license": config.license,
        "attribution": config.attribution,
    }


def _shot_rows(episode: Episode) -> list[dict[str, object]]:
    """List an episode's shots; the outcome is that of the frame that stands for the shot in the end."""
    final = {frame.shot.shot_id: frame.status for frame in episode.frames if frame.phash is not None}
    return [
        shot.model_dump()
        | {
            "episode_id": episode.episode_id,
            "outcome": final.get(shot.shot_id, shot.outcome) if shot.outcome == KEPT else shot.outcome,
        }
        for shot in episode.record.shots
    ]


def _story_text_row(story: Story, subset: str) -> dict[str, object]:
    return {
        "story_id": story.story_id,
        "subset": subset,
        "split": story.split,
        "episode_id": story.episode_id,
        "frame_ids": [frame.frame_id for frame in story.frames],
        "captions": list(story.texts),
    }


def _error_row(problem: Problem) -> dict[str, object]:
    return {"file": problem.file, "step": problem.step, "reason": problem.reason}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
