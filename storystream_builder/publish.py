"""Write an assembled dataset: tables, pictures, card. The layout is `story_model/schema.py`'s."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from story_model import schema
from story_model.build_config import BuildConfig
from storystream_builder.assemble import Assembly
from storystream_builder.captioning.captions import Captioner
from storystream_builder.frames import Episode
from storystream_builder.parquet import TableWriter, write_table
from storystream_builder.rows import (
    episode_row,
    frame_row,
    provenance_of,
    shot_rows,
    story_row,
    story_text_row,
)
from storystream_builder.voices import Voices

_ROW_BYTES = 500
"""What a row weighs beyond its picture, roughly."""


def clear(out: Path) -> None:
    """Remove what a killed attempt wrote: an endpoint may say more now, and its tables would be others."""
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("."):
            path.unlink()


def write_stories(out: Path, assembly: Assembly, *, config: BuildConfig, voices: Voices) -> None:
    """Write the train tables: each split's stories with their pictures inline."""
    episodes = {episode.episode_id: episode for episode in assembly.episodes}
    table_schema = schema.with_metadata(schema.STORIES_INLINE)
    folder = out / "data" / config.subset
    provenance = provenance_of(config.subset, voices)
    for split, stories in groupby(assembly.stories.stories, key=lambda story: story.split):
        ordered = list(stories)
        with (
            TableWriter(folder, split, table_schema, config.parquet) as writer,
            tqdm(total=len(ordered), desc=f"{split} table", unit="story") as bar,
        ):
            for episode_id, group in groupby(ordered, key=lambda story: story.episode_id):
                episode = episodes[episode_id]
                images = episode.images()
                for story in group:
                    size = sum(len(images[frame.frame_id]) + _ROW_BYTES for frame in story.frames)
                    writer.add(story_row(story, images, episode.outcome.source) | provenance, size)
                    bar.update()


def write_frames(out: Path, episodes: Sequence[Episode], *, config: BuildConfig, captioner: Captioner) -> None:
    """Write every scored candidate once; those that were kept with their picture, the others with the reason."""
    table_schema = schema.with_metadata(schema.FRAMES)
    with TableWriter(out / "frames", config.subset, table_schema, config.parquet) as writer:
        for episode in tqdm(episodes, desc="frames table", unit="episode"):
            images = episode.images()
            for frame in episode.frames:
                image = images.get(frame.frame_id) if frame.is_kept else None
                row = frame_row(frame, image, episode.outcome.source) | {"subset": config.subset}
                if frame.caption_status:
                    row |= {"caption_model": captioner.name, "prompt_sha256": captioner.prompt_sha256 or None}
                writer.add(row, len(image or b"") + _ROW_BYTES)


def write_meta(out: Path, assembly: Assembly, *, config: BuildConfig) -> None:
    """Write the tables without pictures: episodes, shots, stories, errors."""
    folder = out / "meta"
    folder.mkdir(exist_ok=True)
    stories = assembly.stories.stories
    tables = {
        "episodes": (schema.EPISODES, [episode_row(one, assembly, config.subset) for one in assembly.episodes]),
        "shots": (schema.SHOTS, [row for one in assembly.episodes for row in shot_rows(one)]),
        "stories": (schema.STORIES, [story_text_row(story, config.subset) for story in stories]),
        "errors": (schema.ERRORS, [asdict(problem) for problem in assembly.problems]),
    }
    for name, (table_schema, rows) in tables.items():
        table = pa.Table.from_pylist(rows, schema=schema.with_metadata(table_schema))
        write_table(folder / f"{name}.parquet", table, row_group_mb=config.parquet.row_group_mb)
