"""Damage a sound dataset in one place; the check must say where."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from story_model import schema
from storystream_builder.parquet import write_table
from storystream_builder.verify import verify_dataset


@pytest.fixture
def dataset(built, tmp_path) -> Path:
    return Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))


def train_file(dataset: Path) -> Path:
    return next(dataset.glob("data/*/train-*.parquet"))


def rewrite(path: Path, **changes) -> None:
    """Change values of the first story and write the table anew, with sound checksums."""
    rows = pq.read_table(path).to_pylist()
    rows[0] |= {name: change(rows[0][name]) for name, change in changes.items()}
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata(schema.STORIES_INLINE))
    write_table(path, table, row_group_mb=16)


def whats(dataset: Path) -> str:
    return "\n".join(finding.what for finding in verify_dataset(dataset))


def test_a_dataset_as_built_is_sound(built):
    assert verify_dataset(built.dataset_dir) == []


def test_a_folder_without_a_manifest_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="build it first"):
        verify_dataset(tmp_path)


def test_a_missing_file_is_found(dataset):
    (dataset / "meta" / "shots.parquet").unlink()
    assert whats(dataset) == "the file is missing"


def test_a_changed_text_file_is_found(dataset):
    (dataset / "README.md").write_text("hello")
    assert whats(dataset) == "the file is not the one that was written"


def test_a_flipped_byte_in_a_picture_is_found_by_file_and_by_page(dataset):
    path = train_file(dataset)
    image = pq.read_table(path).to_pylist()[0]["images"][0]["bytes"]
    data = bytearray(path.read_bytes())
    data[data.index(image) + len(image) // 2] ^= 1
    path.write_bytes(data)
    assert "not the one that was written" in whats(dataset)
    assert "cannot be read to its end" in whats(dataset)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"captions": lambda old: old[:-1]}, "captions"),
        ({"orders": lambda old: old[::-1]}, "is not in order"),
        ({"pts_ms": lambda old: old[::-1]}, "goes back in time"),
        ({"captions": lambda old: ["", *old[1:]]}, "a picture without text"),
        ({"image_sha256": lambda old: old[::-1]}, "are not those that were hashed"),
    ],
)
def test_a_story_that_does_not_hold_together_is_found(dataset, changes, what):
    rewrite(train_file(dataset), **changes)
    assert what in whats(dataset)


def test_columns_of_another_schema_are_found(dataset):
    path = train_file(dataset)
    write_table(path, pq.read_table(path).drop_columns(["phash"]), row_group_mb=16)
    assert "its columns are not those of schema version" in whats(dataset)
