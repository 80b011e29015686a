import shutil
from pathlib import Path

import duckdb
import pytest

from storystream_builder.catalog import Catalog


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
