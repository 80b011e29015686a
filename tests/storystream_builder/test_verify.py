"""Damage a sound dataset in one place; the check must say where."""

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from story_model import schema
from story_model.dataset import read_stories
from story_model.manifest import read_manifest, sha256_of
from storystream_builder.parquet import write_table
from storystream_builder.verify import verify_dataset

DATASET_V1 = Path(__file__).parent / "data" / "dataset_v1"


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


def test_a_file_that_nobody_wrote_is_found(dataset):
    (dataset / "data" / "more.txt").write_text("x")
    assert whats(dataset) == "the manifest does not know this file"


def test_a_file_that_is_a_link_to_elsewhere_is_found(dataset, tmp_path):
    path = dataset / "README.md"
    path.rename(tmp_path / "elsewhere.md")
    path.symlink_to(tmp_path / "elsewhere.md")
    assert "leaves" in whats(dataset)


def test_a_name_in_the_manifest_that_leads_out_of_the_folder_is_found(dataset):
    manifest = read_manifest(dataset)
    manifest.files["../../secret"] = manifest.files["README.md"]
    (dataset / "manifest.json").write_text(manifest.model_dump_json())
    assert "leaves" in whats(dataset)


def test_a_picture_named_by_a_path_is_found(dataset):
    climb = lambda old: [{**old[0], "path": "../../x.jpg"}, *old[1:]]  # noqa: E731
    rewrite(train_file(dataset), images=climb)
    assert "is no plain file name" in whats(dataset)


def accept(dataset: Path) -> None:
    """Write a manifest that takes the files as they are."""
    manifest = read_manifest(dataset)
    for name, entry in manifest.files.items():
        entry.sha256 = sha256_of(dataset / name)
    (dataset / "manifest.json").write_text(manifest.model_dump_json())


def test_a_picture_in_both_splits_is_a_leak(dataset):
    train = pq.read_table(train_file(dataset)).to_pylist()[0]
    held_out = next(dataset.glob("data/*/validation-*.parquet"))
    fields = ("images", "image_sha256", "phash")
    rewrite(held_out, **{name: lambda old, name=name: [train[name][0], *old[1:]] for name in fields})
    accept(dataset)
    assert "1 pictures are, to the byte, in more than one split" in whats(dataset)


def test_a_story_that_the_texts_do_not_hold_is_found(dataset):
    rewrite(train_file(dataset), captions=lambda old: ["Something else.", *old[1:]])
    accept(dataset)
    assert "is not the same in data/ and in meta/stories.parquet" in whats(dataset)


def test_counts_that_are_not_true_are_found(dataset):
    manifest = read_manifest(dataset)
    manifest.counts["stories"] += 1
    (dataset / "manifest.json").write_text(manifest.model_dump_json())
    assert "the manifest counts" in whats(dataset)


def test_a_dataset_of_the_first_schema_version_is_read_and_sound():
    assert verify_dataset(DATASET_V1) == []
    stories = read_stories(DATASET_V1, "train") + read_stories(DATASET_V1, "validation")
    assert sorted(len(story.images) for story in stories) == [4, 4]
    assert all(hashlib.sha256(story.images[0]).hexdigest() == story.image_sha256[0] for story in stories)


def test_columns_of_another_schema_are_found(dataset):
    path = train_file(dataset)
    write_table(path, pq.read_table(path).drop_columns(["phash"]), row_group_mb=16)
    assert "its columns are not those of schema version" in whats(dataset)
