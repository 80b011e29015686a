"""Questions to a published dataset in SQL, answered by DuckDB from the Parquet files as they lie.

The connection can read the dataset's folder and nothing else: no other file, no network, no extension.
"""

from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from story_model.manifest import MANIFEST
from story_model.workspace import RunFolder

_TABLES = {
    "stories": "data/*/*.parquet",
    "frames": "frames/*.parquet",
    "episodes": "meta/episodes.parquet",
    "shots": "meta/shots.parquet",
    "texts": "meta/stories.parquet",
    "errors": "meta/errors.parquet",
}


def dataset_in(folder: Path) -> Path:
    """Give the dataset that a folder is, or that a run's folder holds."""
    inside = RunFolder(folder).dataset_dir
    return inside if (inside / MANIFEST).is_file() and not (folder / MANIFEST).is_file() else folder


class Catalog:
    """A read-only view of one dataset."""

    def __init__(self, dataset_dir: Path) -> None:
        """Open the dataset.

        Raises:
            ValueError: there is none.
        """
        self._root = dataset_dir.resolve()
        if not sorted(self._root.glob("data/*/*.parquet")):
            raise ValueError(f"{dataset_dir} holds no dataset; build it first")
        self._connection = duckdb.connect(
            config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self._connection.execute("SET allowed_directories = $folders", {"folders": [f"{self._root}/"]})
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def query(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Run a query; `$stories`, `$frames`, `$episodes` and `$errors` name the tables' files.

        Write `read_parquet($stories)`; values go into further parameters, never into the text.
        """
        files = {name: self._files(pattern) for name, pattern in _TABLES.items() if f"${name}" in sql}
        named = files | parameters
        return self._connection.execute(sql, named).fetchall()

    def _files(self, pattern: str) -> list[str]:
        """List a table's files by name: a pattern would misread a folder whose name looks like one."""
        return [str(path) for path in sorted(self._root.glob(pattern))]

    def shared_pictures(self) -> int:
        """Count pictures that are, to the byte, in more than one split: shared title cards, for one."""
        rows = self.query(
            "SELECT digest FROM (SELECT split, unnest(image_sha256) AS digest FROM read_parquet($stories)) "
            "GROUP BY 1 HAVING count(DISTINCT split) > 1"
        )
        return len(rows)
