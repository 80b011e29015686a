"""The published StoryStream, an archive of pictures and JSONL files, as a dataset in our layout.

The lines come first and say which pictures are needed; one pass over the archive fills the frames table; the stories
then read their pictures from there. Nothing is unpacked to the disk but text. Memory holds names (of all picture-text
pairs), two row groups or so, and the few pictures that are being decoded, however large the archive is.
"""

import hashlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from tqdm import tqdm

from story_model import schema
from story_model.manifest import Manifest, StepResult, run_step, sha256_of, write_atomically
from storystream_builder.episodes import Problem
from storystream_builder.importers.archives import files_below
from storystream_builder.importers.entries import Fault
from storystream_builder.importers.frame_reader import FrameReader
from storystream_builder.importers.release_card import release_card
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.release_pictures import Pictures, write_frames
from storystream_builder.importers.release_rows import Rows, captions_of, read_rows
from storystream_builder.importers.release_stories import ReleasedStories, ReleasedStory, make_stories
from storystream_builder.parquet import TableWriter, write_table
from storystream_builder.replaceable import refuse_to_replace
from storystream_builder.stories import TRAIN, VALIDATION

log = logging.getLogger(__name__)

IMPORT_VERSION = 2
_STEP = "import storystream release"
_CAPTIONS = ".captions.jsonl"
_ROW_BYTES = 500


def import_release(images: Path, stories: Path, out_dir: Path, *, config: ReleaseConfig) -> Manifest:
    """Make a dataset of a release; a second call with the same release and configuration computes nothing.

    `images` is a tar archive or a folder, `stories` a zip archive or a folder of JSONL files, or one of them.

    Raises:
        ValueError: a source cannot be opened, no story of it can be used, or `out_dir` holds something else.
    """

    def work(out: Path) -> StepResult:
        with (out / _CAPTIONS).open("wb+") as captions:
            rows = read_rows(stories, captions, limits=config.limits)
            log.info("%d rows with %d pairs in %s", rows.counts["rows"], rows.counts["pairs"], stories)
            result = _write(images, out, rows, captions, config)
        (out / _CAPTIONS).unlink()
        return result

    for source in (images, stories):
        if not source.exists():
            raise ValueError(f"{source} does not exist; name the release's pictures first, then its stories")
    refuse_to_replace(out_dir, step=_STEP, sources=[images, stories])
    inputs = {"images": _content_of(images), "stories": _content_of(stories)}
    return run_step(out_dir, work, step=_STEP, version=IMPORT_VERSION, config=config, inputs=inputs)


def _write(images: Path, out: Path, rows: Rows, captions: BinaryIO, config: ReleaseConfig) -> StepResult:
    pictures = write_frames(images, out, rows.pictures, config=config)
    with closing(FrameReader(sorted((out / "frames").glob("*.parquet")))) as frames:

        def fault_of(frame_id: str) -> Fault | None:
            if frame_id in frames:
                return None
            known = pictures.faults.get(frame_id)
            return Fault(known.code, f"{frame_id}: {known.reason}") if known else _missing(frame_id)

        made = make_stories(rows.rows, fault_of=fault_of, config=config)
        problems = rows.problems + pictures.problems + made.problems
        if not made.stories:
            raise ValueError(_nothing(rows, problems))
        _write_stories(out, made.stories, frames, captions, config)
    _write_meta(out, made.stories, problems, captions, config)
    counts = _counts(rows, pictures, made, problems)
    write_atomically(out / "README.md", release_card(made.stories, counts, config).encode())
    return StepResult(counts=counts)


def _missing(frame_id: str) -> Fault:
    return Fault("missing picture", f"{frame_id} is not among the pictures")


def _nothing(rows: Rows, problems: Sequence[Problem]) -> str:
    kinds = Counter(problem.code for problem in problems).most_common(4)
    first = f"; the first: {problems[0].file}: {problems[0].reason}" if problems else ""
    told = ", ".join(f"{number} {code}" for code, number in kinds) or "no line at all"
    return (
        f"no story can be made of {rows.counts['rows']} rows: {told}{first}. Do pictures and stories belong together?"
    )


def _write_stories(
    out: Path, stories: Sequence[ReleasedStory], frames: FrameReader, captions: BinaryIO, config: ReleaseConfig
) -> None:
    table_schema, folder = schema.with_metadata(schema.STORIES_INLINE), out / "data" / config.subset
    for split in (TRAIN, VALIDATION):
        ordered = [story for story in stories if story.split == split]
        if not ordered:
            continue
        with TableWriter(folder, split, table_schema, config.parquet) as writer:
            for story in tqdm(ordered, desc=f"{split} table", unit="story"):
                read = [frames.read(frame_id) for frame_id in story.frame_ids]
                size = sum(len(frame["image"]["bytes"]) + _ROW_BYTES for frame in read)
                writer.add(_story_row(story, read, _texts(story, captions), config), size)


def _story_row(
    story: ReleasedStory, frames: Sequence[dict[str, object]], texts: list[str], config: ReleaseConfig
) -> dict[str, object]:
    nothing = [None] * len(frames)
    columns = {
        name: [frame[key] for frame in frames]
        for name, key in (
            *(("images", "image"), ("pts_ms", "pts_ms"), ("image_sha256", "image_sha256"), ("frame_ids", "frame_id")),
            *(("width", "width"), ("height", "height"), ("phash", "phash")),
        )
    }
    return (
        _text_row(story, texts, config)
        | columns
        | {
            "frame_captions": nothing,
            "shot_ids": nothing,
            "orders": list(range(len(frames))),
            "license": config.license,
            "attribution": config.attribution,
            "series": config.series,
            "url": config.url,
        }
    )


def _text_row(story: ReleasedStory, texts: list[str], config: ReleaseConfig) -> dict[str, object]:
    return {
        "story_id": story.story_id,
        "subset": config.subset,
        "split": story.split,
        "episode_id": story.episode_id,
        "frame_ids": story.frame_ids,
        "captions": texts,
    }


def _texts(story: ReleasedStory, captions: BinaryIO) -> list[str]:
    """Read a story's captions, each row of it once."""
    rows = {id(pair.row): pair.row for pair in story.pairs}
    read = {key: captions_of(row, captions) for key, row in rows.items()}
    return [read[id(pair.row)][pair.position] for pair in story.pairs]


def _write_meta(
    out: Path, stories: Sequence[ReleasedStory], problems: Sequence[Problem], captions: BinaryIO, config: ReleaseConfig
) -> None:
    (out / "meta").mkdir(exist_ok=True)
    by_episode: dict[str, list[ReleasedStory]] = {}
    for story in stories:
        by_episode.setdefault(story.episode_id, []).append(story)
    tables = {
        "episodes": (schema.EPISODES, [_episode_row(*one, config) for one in sorted(by_episode.items())]),
        "shots": (schema.SHOTS, []),
        "errors": (schema.ERRORS, [asdict(problem) for problem in problems]),
    }
    for name, (table_schema, rows) in tables.items():
        table = pa.Table.from_pylist(rows, schema=schema.with_metadata(table_schema))
        write_table(out / "meta" / f"{name}.parquet", table, row_group_mb=config.parquet.row_group_mb)
    texts = [_text_row(story, _texts(story, captions), config) for story in stories]
    table = pa.Table.from_pylist(texts, schema=schema.with_metadata(schema.STORIES))
    write_table(out / "meta" / "stories.parquet", table, row_group_mb=config.parquet.row_group_mb)


def _episode_row(episode_id: str, stories: Sequence[ReleasedStory], config: ReleaseConfig) -> dict[str, object]:
    return {
        "episode_id": episode_id,
        "subset": config.subset,
        "split": "+".join(sorted({story.split for story in stories})),
        "source_name": episode_id,
        "num_keyframes": len({frame_id for story in stories for frame_id in story.frame_ids}),
        "license": config.license,
        "attribution": config.attribution,
        "series": config.series,
        "url": config.url,
    }


def _counts(rows: Rows, pictures: Pictures, made: ReleasedStories, problems: Sequence[Problem]) -> dict[str, int]:
    stories = made.stories
    counts = {"episodes": len({one.episode_id for one in stories}), "stories": len(stories), "problems": len(problems)}
    counts |= {f"stories {split}": sum(one.split == split for one in stories) for split in (TRAIN, VALIDATION)}
    counts |= {"pairs": sum(len(story.pairs) for story in stories), "pairs lost": made.lost.total()}
    counts |= {f"pairs lost: {code}": number for code, number in sorted(made.lost.items())}
    read = {f"release: {name}": number for name, number in sorted(rows.counts.items())}
    seen = {f"pictures: {name}": number for name, number in sorted(pictures.counts.items())}
    return counts | dict(sorted(made.counts.items())) | read | seen


def _content_of(source: Path) -> str | Path:
    """Name a source's content; a folder's is that of its plain files, whatever links in it point at.

    Raises:
        ValueError: there is nothing there.
    """
    if not source.is_dir():
        return source
    log.info("reading all of %s once, to know it again", source)
    lines = []
    for path in files_below(source):
        is_plain = stat.S_ISREG(path.lstat().st_mode)
        lines.append(os.fsencode(path.relative_to(source)) + b" " + (sha256_of(path).encode() if is_plain else b"-"))
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
