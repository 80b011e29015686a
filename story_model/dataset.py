"""Read a published StoryStream dataset: stories, their chunks of 10, their pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq


@dataclass(frozen=True)
class Story:
    """A story, or a chunk of one: picture-text pairs in order."""

    story_id: str
    subset: str
    split: str
    episode_id: str
    images: tuple[bytes, ...]
    """Encoded pictures."""
    captions: tuple[str, ...]
    pts_ms: tuple[int, ...]
    image_sha256: tuple[str, ...]


def read_stories(dataset_dir: Path, split: str) -> list[Story]:
    """Read all stories of a split in the dataset's order.

    Raises:
        ValueError: the dataset has no such split.
    """
    paths = sorted((dataset_dir / "data").glob(f"*/{split}-*.parquet"))
    if not paths:
        raise ValueError(f"{dataset_dir} has no split {split!r}; build the dataset first")
    return [story for path in paths for story in _read_file(path)]


def chunks(stories: list[Story], length: int) -> list[Story]:
    """Cut stories into views of `length` pairs with ids `<story>/<k>`; a remainder of two pairs or more is kept."""
    return [chunk for story in stories for chunk in _chunks_of(story, length)]


def _chunks_of(story: Story, length: int) -> Iterator[Story]:
    for number, start in enumerate(range(0, len(story.images), length)):
        view = slice(start, start + length)
        if len(story.images[view]) < 2:
            return
        yield Story(
            story_id=f"{story.story_id}/{number}",
            subset=story.subset,
            split=story.split,
            episode_id=story.episode_id,
            images=story.images[view],
            captions=story.captions[view],
            pts_ms=story.pts_ms[view],
            image_sha256=story.image_sha256[view],
        )


def _read_file(path: Path) -> Iterator[Story]:
    columns = ["story_id", "subset", "split", "episode_id", "images", "captions", "pts_ms", "image_sha256"]
    for row in pq.read_table(path, columns=columns, page_checksum_verification=True).to_pylist():
        yield Story(
            story_id=row["story_id"],
            subset=row["subset"],
            split=row["split"],
            episode_id=row["episode_id"],
            images=tuple(image["bytes"] for image in row["images"]),
            captions=tuple(row["captions"]),
            pts_ms=tuple(row["pts_ms"]),
            image_sha256=tuple(row["image_sha256"]),
        )
