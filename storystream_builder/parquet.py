"""Write tables as `story_model/schema.py` lays them out, the same bytes from the same rows every time.

Row groups are cut by bytes, so that one story is read in milliseconds and a scan still runs at full speed. Pictures are
compressed already and are stored plain; text is zstd. Every page carries a checksum, which readers can verify.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from story_model.build_config import ParquetConfig
from story_model.manifest import publish

_REPEATING = frozenset(
    (
        *("subset", "split", "episode_id", "license", "attribution", "prompt_sha256", "caption_model", "story_model"),
        *("status", "caption_status", "outcome", "step", "codec", "time_base"),
    )
)
_IDS = ("subset", "split", "episode_id", "story_id", "frame_id", "shot_id", "pts_ms", "status")


class TableWriter:
    """Writes rows into `<stem>-00000-of-0000N.parquet`, a new file beyond `file_mb`, a row group beyond `row_group_mb`.

    Files get their final names when the writer closes; until then they are hidden, so a kill leaves no half file.
    """

    def __init__(self, folder: Path, stem: str, table_schema: pa.Schema, config: ParquetConfig) -> None:
        """Take where to write, the schema with its metadata, and the sizes."""
        self._folder, self._stem, self._schema = folder, stem, table_schema
        self._row_group_bytes = config.row_group_mb * 2**20
        self._file_bytes = config.file_mb * 2**20
        self._rows: list[dict[str, object]] = []
        self._pending_bytes = 0
        self._temporaries: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._written_bytes = 0

    def __enter__(self) -> "TableWriter":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            if self._writer is None:
                self._open()
        if self._writer is not None:
            self._writer.close()
        if kind is None:
            for number, temporary in enumerate(self._temporaries):
                _sync(temporary)
                publish(temporary, self._folder / self._name(number, len(self._temporaries)))

    def add(self, row: dict[str, object], num_bytes: int) -> None:
        """Take a row; `num_bytes` is what its pictures and text weigh."""
        self._rows.append(row)
        self._pending_bytes += num_bytes
        if self._pending_bytes >= self._row_group_bytes:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is not None and self._written_bytes + self._pending_bytes > self._file_bytes:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            self._open()
        assert self._writer is not None
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._written_bytes += self._pending_bytes
        self._rows, self._pending_bytes = [], 0

    def _open(self) -> None:
        temporary = self._folder / f".{self._stem}-{len(self._temporaries):05d}.tmp"
        self._temporaries.append(temporary)
        self._writer = _writer(temporary, self._schema)
        self._written_bytes = 0

    def _name(self, number: int, total: int) -> str:
        return f"{self._stem}-{number:05d}-of-{total:05d}.parquet"


def write_table(path: Path, table: pa.Table, *, row_group_mb: float) -> None:
    """Write one table as one file, atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    per_group = max(1, int(row_group_mb * 2**20 / max(1, table.nbytes / max(1, table.num_rows))))
    with _writer(temporary, table.schema) as writer:
        writer.write_table(table, row_group_size=per_group)
    _sync(temporary)
    publish(temporary, path)


def write_rows(
    path: Path, rows: Iterable[tuple[dict[str, object], int]], table_schema: pa.Schema, *, row_group_mb: float
) -> None:
    """Write rows, each with what its pictures and text weigh, as they come into one file, atomically.

    Only one row group is in memory at a time.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with _writer(temporary, table_schema) as writer:
        group: list[dict[str, object]] = []
        pending_bytes = 0
        for row, num_bytes in rows:
            group.append(row)
            pending_bytes += num_bytes
            if pending_bytes >= row_group_mb * 2**20:
                writer.write_table(pa.Table.from_pylist(group, schema=table_schema))
                group, pending_bytes = [], 0
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=table_schema))
    _sync(temporary)
    publish(temporary, path)


def _writer(path: Path, table_schema: pa.Schema) -> pq.ParquetWriter:
    leaves = _leaves(table_schema)
    pictures = [leaf for leaf in leaves if leaf.endswith(".bytes")]
    return pq.ParquetWriter(
        path,
        table_schema,
        compression={leaf: "NONE" if leaf in pictures else "ZSTD" for leaf in leaves},
        use_dictionary=[leaf for leaf in leaves if leaf in _REPEATING],
        column_encoding=dict.fromkeys(pictures, "PLAIN"),
        write_statistics=[leaf for leaf in leaves if leaf in _IDS],
        write_page_index=True,
        write_page_checksum=True,
    )


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _leaves(table_schema: pa.Schema) -> list[str]:
    """Name the columns as Parquet stores them: `images.list.element.bytes`."""
    return [leaf for column in table_schema for leaf in _leaves_of(column.name, column.type)]


def _leaves_of(name: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_list(kind):
        return _leaves_of(f"{name}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for part in kind for leaf in _leaves_of(f"{name}.{part.name}", part.type)]
    return [name]
