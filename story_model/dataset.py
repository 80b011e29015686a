"""Read a published StoryStream dataset: stories, their chunks of 10, their pictures.

Captions and digests are held in memory, pictures are not: a story's `images` are read when they are asked for.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from story_model.stored_pictures import RowGroup, StoredPictures, StoryImages, leaves

log = logging.getLogger(__name__)

BadRecords = Literal["raise", "skip"]
"""What becomes of a story that cannot be read: an error, or it is left out and counted."""

_TEXT = ["story_id", "subset", "split", "episode_id", "captions", "pts_ms", "image_sha256"]
_PAIRED = ("captions", "pts_ms", "image_sha256")


@dataclass(frozen=True)
class Story:
    """A story, or a chunk of one: picture-text pairs in order."""

    story_id: str
    subset: str
    split: str
    episode_id: str
    images: Sequence[bytes]
    """Encoded pictures; those of a dataset are read from the disk at each access."""
    captions: tuple[str, ...]
    pts_ms: tuple[int, ...]
    image_sha256: tuple[str, ...]


@dataclass(frozen=True)
class StorySet:
    """The stories of a split that can be used, and why others cannot."""

    stories: list[Story]
    pictures: StoredPictures
    skipped: dict[str, str]
    """Reason by the id of a story that was left out."""

    def without(self, unusable: Mapping[str, str]) -> "StorySet":
        """Leave out stories with a picture that turned out to be unusable: reasons by the picture's sha256."""
        reasons = {story.story_id: reason for story in self.stories if (reason := _first(unusable, story))}
        kept = [story for story in self.stories if story.story_id not in reasons]
        _tell(reasons, len(self.stories))
        return replace(self, stories=kept, skipped=self.skipped | reasons)


def read_stories(dataset_dir: Path, split: str) -> list[Story]:
    """Read all stories of a split in the dataset's order.

    Raises:
        ValueError: the dataset has no such split, or a story's lists do not belong together.
    """
    return read_split(dataset_dir, split).stories


def read_split(dataset_dir: Path, split: str, *, bad_records: BadRecords = "raise") -> StorySet:
    """Read all stories of a split in the dataset's order, and where their pictures lie.

    Raises:
        ValueError: the dataset has no such split, a file is damaged, or a story's lists do not belong together (which
            `skip` only counts).
    """
    paths = sorted((dataset_dir / "data").glob(f"*/{split}-*.parquet"))
    if not paths:
        raise ValueError(f"{dataset_dir} has no split {split!r}; build the dataset first")
    found = StorySet([], StoredPictures(), {})
    for path in paths:
        for group, rows in _row_groups(path):
            reasons = {number: reason for number, row in enumerate(rows) if (reason := _mismatch(row))}
            if reasons and bad_records == "raise":
                number, reason = next(iter(reasons.items()))
                raise ValueError(
                    f"story {group.story_ids[number]} in {path}: {reason}; build the dataset anew, or leave such "
                    "stories out with train.bad_records=skip"
                )
            usable = {number: row for number, row in enumerate(rows) if number not in reasons}
            found.skipped.update((group.story_ids[number], reason) for number, reason in reasons.items())
            found.pictures.add(group, {number: row["image_sha256"] for number, row in usable.items()})
            found.stories.extend(_story(row, found.pictures) for row in usable.values())
    _tell(found.skipped, len(found.stories) + len(found.skipped))
    return found


def chunks(stories: Sequence[Story], length: int) -> list[Story]:
    """Cut stories into views of `length` pairs with ids `<story>/<k>`; a remainder of two pairs or more is kept."""
    return [chunk for story in stories for chunk in _chunks_of(story, length)]


def _chunks_of(story: Story, length: int) -> Iterator[Story]:
    for number, start in enumerate(range(0, len(story.images), length)):
        view = slice(start, start + length)
        if len(story.images[view]) < 2:
            return
        yield replace(
            story,
            story_id=f"{story.story_id}/{number}",
            images=story.images[view],
            captions=story.captions[view],
            pts_ms=story.pts_ms[view],
            image_sha256=story.image_sha256[view],
        )


def _row_groups(path: Path) -> Iterator[tuple[RowGroup, list[dict]]]:
    """Read a file's rows without its pictures; of these, each row's `images` is the number."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            # Their paths say how many there are; where a writer left those out, the pictures themselves must.
            counted = leaves(file, "images", ".path") or leaves(file, "images", ".bytes")
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, columns=[*_TEXT, *counted])
                rows = table.select(_TEXT).to_pylist()
                lengths = [len(one.values or ()) for one in table.column("images")]
                rows = [row | {"images": length} for row, length in zip(rows, lengths, strict=True)]
                yield RowGroup(path, number, [row["story_id"] for row in rows]), rows
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged or no table of stories ({reason}); build the dataset anew") from None


def _mismatch(row: Mapping) -> str | None:
    """Say why a row is no story; none where it is one."""
    absent = [name for name in _PAIRED if row[name] is None or None in row[name]]
    if absent:
        return f"{' and '.join(absent)} with missing entries"
    lengths = {"images": row["images"]} | {name: len(row[name]) for name in _PAIRED}
    if len(set(lengths.values())) > 1:
        return ", ".join(f"{length} {name}" for name, length in lengths.items())
    return None


def _story(row: Mapping, pictures: StoredPictures) -> Story:
    return Story(
        story_id=row["story_id"],
        subset=row["subset"],
        split=row["split"],
        episode_id=row["episode_id"],
        images=StoryImages(pictures, row["image_sha256"]),
        captions=tuple(row["captions"]),
        pts_ms=tuple(row["pts_ms"]),
        image_sha256=tuple(row["image_sha256"]),
    )


def _first(unusable: Mapping[str, str], story: Story) -> str | None:
    return next((unusable[digest] for digest in story.image_sha256 if digest in unusable), None)


def _tell(reasons: Mapping[str, str], total: int) -> None:
    if reasons:
        story_id, reason = next(iter(reasons.items()))
        log.warning("%d of %d stories are left out; the first: %s: %s", len(reasons), total, story_id, reason)
