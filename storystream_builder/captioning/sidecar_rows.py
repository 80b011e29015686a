"""Rows of a file with captions, from JSONL, CSV or Parquet; rows that cannot be used are counted with the reason.

Columns: `caption`, and either `frame_id`, or `video` (its path in the folder of videos) and `pts_ms` (milliseconds from
the video's start). Other columns are overlooked.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from story_model.asking.answers import encodable, read_lines
from story_model.strict_json import read_json

MAX_BYTES = 4 << 30
"""Of the file."""
MAX_LINE_BYTES = 1 << 20
MAX_CAPTION = 20_000
"""Characters."""
_BOM = b"\xef\xbb\xbf"
_COLUMNS = ("frame_id", "video", "pts_ms", "caption")
_BATCH_ROWS = 4096
_MAX_MS = 10**12


class _Bad(Exception):  # noqa: N818 - says what it is
    """A row that cannot be used."""


@dataclass(frozen=True)
class GivenCaption:
    """A caption and what it is for: a frame, or a time in a video."""

    caption: str
    where: str
    """For messages."""
    frame_id: str | None = None
    video: str | None = None
    pts_ms: int | None = None


@dataclass
class BadRows:
    """Rows that were left out: how many for each reason, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, where: str) -> None:
        """Count a row."""
        self.counts[reason] += 1
        self.first.setdefault(reason, where)

    def reasons(self) -> list[str]:
        """Tell each reason once."""
        return [f"{number} rows: {reason}; the first is {self.first[reason]}" for reason, number in self.counts.items()]


def read_rows(path: Path, bad: BadRows) -> Iterator[GivenCaption]:
    """Read the rows of a file that can be used; count the others.

    Raises:
        ValueError: the file is missing, too large, of an unknown kind, or has not the columns.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}; set build.captions.sidecar")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES >> 30} GB; split it")
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: captions are read from {', '.join(readers)}")
    for where, row in reader(path, bad):
        try:
            yield _given(row, where)
        except _Bad as error:
            bad.add(str(error), where)


def _given(row: Mapping[str, Any], where: str) -> GivenCaption:
    caption, frame_id, video, pts_ms = (row.get(name) for name in ("caption", "frame_id", "video", "pts_ms"))
    if not isinstance(caption, str) or not caption.strip():
        raise _Bad("no text")
    if len(caption) > MAX_CAPTION:
        raise _Bad(f"a caption of more than {MAX_CAPTION} characters")
    text = " ".join(encodable(caption).split())
    if isinstance(frame_id, str) and frame_id:
        return GivenCaption(text, where, frame_id=frame_id)
    if not isinstance(video, str) or not video:
        raise _Bad("neither frame_id nor video")
    return GivenCaption(text, where, video=video.replace("\\", "/"), pts_ms=_milliseconds(pts_ms))


def _milliseconds(value: object) -> int:
    """Read a time; CSV holds text."""
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= _MAX_MS:
        raise _Bad("pts_ms is no time in milliseconds")
    return round(number)


def _jsonl(path: Path, bad: BadRows) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for where, line in _lines(path, bad):
        try:
            row = read_json(line)
        except ValueError as error:
            bad.add("no JSON", f"{where} ({error})")
            continue
        if isinstance(row, dict):
            yield where, row
        else:
            bad.add("no JSON object", where)


def _csv(path: Path, bad: BadRows) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read CSV; a quoted field may hold line ends, a quote that is never closed is a row of its own."""
    number = 0

    def texts() -> Iterator[str]:
        nonlocal number
        for where, line in _lines(path, bad):
            number = int(where.split()[-1])
            try:
                yield line.decode() + "\n"
            except UnicodeDecodeError:
                bad.add("no UTF-8", where)

    rows = csv.reader(texts(), strict=True)
    names = next(rows, [])
    if "caption" not in names or not {"frame_id", "video"} & set(names):
        raise ValueError(f"{path} has the columns {names[:10]}; it needs caption and frame_id, or video and pts_ms")
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            bad.add("no CSV", f"line {number} ({error})")
            continue
        if len(cells) == len(names):
            yield f"line {number}", dict(zip(names, cells, strict=True))
        else:
            bad.add("another number of fields than the head", f"line {number}")


def _parquet(path: Path, bad: BadRows) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
            if "caption" not in columns or not {"frame_id", "video"} & set(columns):
                raise ValueError(f"{path} needs the columns caption and frame_id, or video and pts_ms")
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read after row {number}: {' '.join(str(error).split())[:200]}") from None


def _lines(path: Path, bad: BadRows) -> Iterator[tuple[str, bytes]]:
    """Number a file's lines; those that are too long are counted."""
    for number, line in enumerate(read_lines(path, MAX_LINE_BYTES, blank=True), start=1):
        if line is None:
            bad.add(f"a line of more than {MAX_LINE_BYTES} bytes", f"line {number}")
        elif line := line.removeprefix(_BOM if number == 1 else b""):
            yield f"line {number}", line
