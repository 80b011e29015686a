"""Stories are read without their pictures, pictures by their sha256, and what does not belong together is told."""

import hashlib
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from story_model import schema
from story_model.build_config import ParquetConfig
from story_model.dataset import chunks, read_split, read_stories
from storystream_builder.parquet import TableWriter

PAIRS = 5


def noise(number: int, side: int = 64) -> bytes:
    """Make a picture that compresses badly, so that its file has a known order of size."""
    data = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def row(number: int, **changed: object) -> dict[str, object]:
    images = [noise(number * PAIRS + index) for index in range(PAIRS)]
    return {
        "story_id": f"s{number}",
        "subset": "stories",
        "split": "train",
        "episode_id": "e",
        "images": [{"bytes": image, "path": None} for image in images],
        "captions": [f"story {number}, pair {index}" for index in range(PAIRS)],
        "pts_ms": list(range(PAIRS)),
        "image_sha256": [hashlib.sha256(image).hexdigest() for image in images],
    } | changed


def write(dataset_dir: Path, rows: list[dict[str, object]], *, row_group_mb: float = 0.1) -> Path:
    """Write rows as the builder does: about two stories a row group."""
    with TableWriter(
        dataset_dir / "data" / "stories", "train", schema.STORIES_INLINE, ParquetConfig(row_group_mb=row_group_mb)
    ) as writer:
        for one in rows:
            writer.add(one, num_bytes=PAIRS * len(noise(0)))
    return dataset_dir


@pytest.fixture
def dataset_dir(tmp_path: Path) -> Path:
    return write(tmp_path, [row(number) for number in range(8)])


def test_every_picture_is_the_one_that_was_written(dataset_dir):
    shown = [list(story.images) for story in read_stories(dataset_dir, "train")]
    assert shown == [[noise(number * PAIRS + index) for index in range(PAIRS)] for number in range(8)]


def test_reading_stories_reads_no_picture(dataset_dir):
    found = read_split(dataset_dir, "train")
    assert [story.captions[0] for story in found.stories] == [f"story {number}, pair 0" for number in range(8)]
    assert len(found.pictures) == 8 * PAIRS
    assert found.pictures.groups_read == 0


def test_in_the_dataset_s_order_each_row_group_is_read_once_though_one_fits_in_memory(dataset_dir):
    found = read_split(dataset_dir, "train")
    found.pictures._held_bytes = 1
    path = next((dataset_dir / "data" / "stories").glob("*.parquet"))
    for story in found.stories:
        list(story.images)
    assert found.pictures.groups_read == pq.read_metadata(path).num_row_groups > 2


def test_what_is_held_is_bounded(dataset_dir):
    found = read_split(dataset_dir, "train")
    found.pictures._held_bytes = 200_000
    for story in found.stories:
        list(story.images)
        assert sum(group.nbytes for group in found.pictures._held.values()) <= 200_000


def test_threads_read_what_one_reads(dataset_dir):
    found = read_split(dataset_dir, "train")
    found.pictures._held_bytes = 1
    digests = [digest for story in found.stories for digest in story.image_sha256][::-1]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(found.pictures.read, digests))
    assert [hashlib.sha256(image).hexdigest() for image in read] == digests


def test_a_chunk_has_its_part_of_the_pictures(dataset_dir):
    first, second = chunks(read_stories(dataset_dir, "train")[:1], 3)
    assert (first.story_id, second.story_id) == ("s0/0", "s0/1")
    assert list(second.images) == [noise(3), noise(4)]
    assert (len(first.images), second.captions) == (3, ("story 0, pair 3", "story 0, pair 4"))


def test_equal_stories_are_equal_and_their_chunks_too(dataset_dir):
    once, again = (chunks(read_stories(dataset_dir, "train"), 2) for _ in range(2))
    assert once == again
    assert len(set(once)) == len(once)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"captions": ["a"]}, "5 images, 1 captions, 5 pts_ms, 5 image_sha256"),
        ({"images": [{"bytes": b"", "path": None}]}, "1 images, 5 captions, 5 pts_ms, 5 image_sha256"),
        ({"images": None}, "0 images, 5 captions, 5 pts_ms, 5 image_sha256"),
        ({"captions": None}, "captions with missing entries"),
        ({"image_sha256": [None] * PAIRS}, "image_sha256 with missing entries"),
    ],
)
def test_lists_that_do_not_belong_together_end_the_reading_or_are_counted(tmp_path, changed, reason):
    write(tmp_path, [row(0), row(1, **changed), row(2)])
    with pytest.raises(
        ValueError, match=f"story s1 in .*: {reason}; build the dataset anew, or leave such stories out"
    ):
        read_stories(tmp_path, "train")
    found = read_split(tmp_path, "train", bad_records="skip")
    assert [story.story_id for story in found.stories] == ["s0", "s2"]
    assert found.skipped == {"s1": reason}
    assert list(found.stories[1].images) == [noise(2 * PAIRS + index) for index in range(PAIRS)]


def test_what_is_left_out_is_told_in_one_line(tmp_path, caplog):
    write(tmp_path, [row(0), row(1, captions=None), row(2, captions=["a"])])
    with caplog.at_level(logging.WARNING):
        read_split(tmp_path, "train", bad_records="skip")
    assert caplog.messages == ["2 of 3 stories are left out; the first: s1: captions with missing entries"]


def test_a_picture_whose_sha256_lies_is_not_handed_out(tmp_path):
    digests = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(PAIRS)]
    story = read_stories(write(tmp_path, [row(0), row(1, image_sha256=digests)]), "train")[1]
    with pytest.raises(ValueError, match=r"story s1, picture 2: its bytes in .* have another sha256"):
        story.images[2]


def test_a_picture_without_bytes_is_told(tmp_path):
    images = [{"bytes": None, "path": "elsewhere.jpg"}] * PAIRS
    story = read_stories(write(tmp_path, [row(0, images=images)]), "train")[0]
    with pytest.raises(ValueError, match="story s0, picture 0: not in "):
        story.images[0]


def test_stories_with_unusable_pictures_are_left_out_with_the_reason(dataset_dir, caplog):
    found = read_split(dataset_dir, "train")
    left = found.without({found.stories[3].image_sha256[4]: "does not decode"})
    assert [story.story_id for story in left.stories] == ["s0", "s1", "s2", "s4", "s5", "s6", "s7"]
    assert left.skipped == {"s3": "does not decode"}
    assert caplog.messages == ["1 of 8 stories are left out; the first: s3: does not decode"]


def test_a_damaged_row_group_is_told(dataset_dir):
    path = next((dataset_dir / "data" / "stories").glob("*.parquet"))
    stories = read_stories(dataset_dir, "train")
    whole = path.read_bytes()
    place = whole.index(noise(0)) + 1000
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=rf"{path} is damaged .*; build the dataset anew"):
        stories[0].images[0]


def test_a_file_that_is_no_table_is_told(dataset_dir):
    next((dataset_dir / "data" / "stories").glob("*.parquet")).write_bytes(b"not a table")
    with pytest.raises(ValueError, match="is damaged or no table of stories"):
        read_stories(dataset_dir, "train")


def test_a_split_that_is_not_there_is_told(dataset_dir):
    with pytest.raises(ValueError, match="has no split 'validation'; build the dataset first"):
        read_stories(dataset_dir, "validation")


def test_pictures_without_paths_are_read_too(tmp_path):
    rows = [
        {key: value for key, value in row(0).items() if key != "images"}
        | {"images": [{"bytes": noise(index)} for index in range(PAIRS)]}
    ]
    (tmp_path / "data" / "other").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "other" / "train-00000-of-00001.parquet")
    assert read_stories(tmp_path, "train")[0].images[4] == noise(4)
