"""Splits that share an episode or a picture are told apart from those that do not."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from story_model import schema
from story_model.build_config import BuildConfig
from storystream_builder.catalog import Catalog
from storystream_builder.leakage import leaks, similar_pictures
from storystream_builder.parquet import write_table


def moved_into_validation(built, tmp_path, **changes) -> tuple[Path, dict]:
    """Copy a dataset and put a training story into its validation split too."""
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    path = next(dataset.glob("data/*/validation-*.parquet"))
    row = pq.read_table(next(dataset.glob("data/*/train-*.parquet"))).to_pylist()[0]
    moved = [row | {"split": "validation", "story_id": "another"} | changes]
    write_table(path, pa.Table.from_pylist(moved, schema=schema.with_metadata(schema.STORIES_INLINE)), row_group_mb=16)
    return dataset, row


def test_a_dataset_as_built_leaks_nothing(built):
    with Catalog(built.dataset_dir) as catalog:
        assert list(leaks(catalog, {})) == []
        assert similar_pictures(catalog) == 0


def test_an_episode_on_both_sides_of_the_split_is_told(built, tmp_path):
    dataset, row = moved_into_validation(built, tmp_path)
    with Catalog(dataset) as catalog:
        assert f"episode {row['episode_id']!r} is in more than one split" in list(leaks(catalog, {}))
        assert catalog.shared_pictures() == len(row["images"])


def test_pictures_that_look_the_same_are_counted_whatever_their_bytes(built, tmp_path):
    other = ["0" * 64]
    dataset, row = moved_into_validation(built, tmp_path, image_sha256=other * 4, episode_id="e9")
    with Catalog(dataset) as catalog:
        assert similar_pictures(catalog) == len(row["images"])


def test_what_was_asked_for_is_no_leak(built, tmp_path):
    dataset, _ = moved_into_validation(built, tmp_path)
    with Catalog(dataset) as catalog:
        assert list(leaks(catalog, {"leaks": "keep"})) == []


def test_a_series_on_both_sides_is_told_where_series_are_held_out(built):
    build = BuildConfig.model_validate({"stories": {"split_by": "series"}}).model_dump(mode="json")
    with Catalog(built.dataset_dir) as catalog:
        assert list(leaks(catalog, {"build": build})) == ["series '' is in more than one split"]
