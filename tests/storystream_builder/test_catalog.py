import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from story_model import schema
from storystream_builder.catalog import Catalog
from storystream_builder.parquet import write_table


def test_statistics_count_what_is_there(built):
    with Catalog(built.dataset_dir) as catalog:
        statistics = catalog.statistics()
    assert sum(one.stories for one in statistics.subsets) == 5
    assert sum(one.pairs for one in statistics.subsets) == 4 + 4 + 4 + 3 + 3
    assert statistics.captions_by_status["narrated"] == 4
    assert len(statistics.problems) == 5


def test_a_folder_without_a_dataset_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="build it first"):
        Catalog(tmp_path)


def test_values_go_in_as_parameters(built):
    with Catalog(built.dataset_dir) as catalog:
        rows = catalog.query("SELECT count(*) FROM read_parquet($frames) WHERE status = $status", status="' OR 1=1")
    assert rows == [(0,)]


def test_no_file_outside_the_dataset_is_read(built, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with Catalog(built.dataset_dir) as catalog, pytest.raises(duckdb.PermissionException):
        catalog.query("SELECT * FROM read_csv($path)", path=str(tmp_path / "secret.csv"))


def test_the_lock_cannot_be_opened_by_a_query(built):
    with Catalog(built.dataset_dir) as catalog, pytest.raises(duckdb.Error):
        catalog.query("SET enable_external_access = true")


def test_a_folder_with_a_quote_in_its_name_is_read(built, tmp_path):
    odd = Path(shutil.copytree(built.dataset_dir, tmp_path / "it's [odd]"))
    with Catalog(odd) as catalog:
        assert catalog.query("SELECT count(*) FROM read_parquet($episodes)") == [(5,)]
        assert catalog.query("SELECT count(*) FROM read_parquet($stories)") == [(5,)]


def test_an_episode_on_both_sides_of_the_split_is_told(built, tmp_path):
    dataset = Path(shutil.copytree(built.dataset_dir, tmp_path / "dataset"))
    path = next(dataset.glob("data/*/validation-*.parquet"))
    rows = pq.read_table(next(dataset.glob("data/*/train-*.parquet"))).to_pylist()
    moved = [rows[0] | {"split": "validation", "story_id": "another"}]
    table = pa.Table.from_pylist(moved, schema=schema.with_metadata(schema.STORIES_INLINE))
    write_table(path, table, row_group_mb=16)
    with Catalog(dataset) as catalog:
        assert catalog.leaks() == [f"episode {rows[0]['episode_id']} is in more than one split"]
        assert catalog.shared_pictures() == len(rows[0]["images"])
