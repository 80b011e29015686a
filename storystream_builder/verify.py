"""Check a published dataset: is every byte what was written, does every story hold together, are the splits apart?

Each byte is hashed twice, as part of its file and of its picture, on all cores at once and without making Python
objects of pictures. A file that is not the one that was written is read page by page, to say where.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from story_model import schema
from story_model.manifest import MANIFEST, Manifest, read_manifest, sha256_of
from story_model.workspace import contained
from storystream_builder.catalog import Catalog
from storystream_builder.leakage import counts_that_lie, dangling, leaks

_LISTS = "captions frame_captions orders pts_ms shot_ids image_sha256 width height phash".split()  # noqa: SIM905
_VERSION = b"storystream.schema_version"
_TABLES = {
    "data/*/*.parquet": schema.STORIES_INLINE,
    "frames/*.parquet": schema.FRAMES,
    "meta/episodes.parquet": schema.EPISODES,
    "meta/shots.parquet": schema.SHOTS,
    "meta/stories.parquet": schema.STORIES,
    "meta/errors.parquet": schema.ERRORS,
}

Check = Callable[[], list["Finding"]]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a dataset."""

    file: str
    what: str


def verify_dataset(dataset_dir: Path) -> list[Finding]:
    """Check a dataset; an empty list means that it is sound.

    Raises:
        ValueError: there is no finished dataset.
    """
    manifest = read_manifest(dataset_dir)
    if manifest is None:
        raise ValueError(f"{dataset_dir} holds no finished dataset (no manifest.json); build it first")
    findings = list(_strays(dataset_dir, manifest))
    outside = {finding.file for finding in findings}
    named = {name: entry for name, entry in manifest.files.items() if name not in outside}
    hashes = [(entry.bytes, partial(_file_faults, dataset_dir, name, entry.sha256)) for name, entry in named.items()]
    changed = _all_of(hashes, "verify files")
    suspects = {finding.file for finding in changed} | outside
    checks: list[tuple[int, Check]] = []
    for pattern, expected in _TABLES.items():
        for path in sorted(dataset_dir.glob(pattern)):
            name = path.relative_to(dataset_dir).as_posix()
            checks += _table_checks(path, name, expected, by_page=name in suspects)
    findings += changed + _all_of(checks, "verify pictures")
    if not findings:
        with Catalog(dataset_dir) as catalog:
            found = [*counts_that_lie(catalog, manifest.counts), *dangling(catalog), *leaks(catalog, manifest.config)]
        findings += [Finding("data", what) for what in found]
    return findings


def _all_of(checks: Sequence[tuple[int, Check]], desc: str) -> list[Finding]:
    """Run checks on all cores, the largest first, and give their findings in the order of the checks."""
    order = sorted(range(len(checks)), key=lambda index: -checks[index][0])
    found: dict[int, list[Finding]] = {}
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=sum(size for size, _ in checks), unit="B", unit_scale=True, desc=desc) as bar,
    ):
        for index, result in zip(order, pool.map(lambda index: checks[index][1](), order), strict=True):
            found[index] = result
            bar.update(checks[index][0])
    return [finding for index in range(len(checks)) for finding in found[index]]


def _strays(dataset_dir: Path, manifest: Manifest) -> Iterator[Finding]:
    """Find names and links that lead out of the folder, and files that the manifest does not know."""
    for name in manifest.files:
        try:
            contained(dataset_dir, name)
        except ValueError as error:
            yield Finding(name, str(error))
    for path in sorted(dataset_dir.rglob("*")):
        name = path.relative_to(dataset_dir).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(dataset_dir).parts)
        if path.is_file() and name not in manifest.files and name != MANIFEST and not hidden:
            yield Finding(name, "the manifest does not know this file")


def _file_faults(dataset_dir: Path, name: str, sha256: str) -> list[Finding]:
    path = dataset_dir / name
    if not path.is_file():
        return [Finding(name, "the file is missing")]
    if sha256_of(path) != sha256:
        return [Finding(name, "the file is not the one that was written")]
    return []


def _table_checks(path: Path, name: str, expected: pa.Schema, *, by_page: bool) -> list[tuple[int, Check]]:
    """List what there is to check of a table: its columns, and each row group."""
    try:
        with pq.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
            version = int((file.schema_arrow.metadata or {}).get(_VERSION, b"0"))
            found = file.schema_arrow
        if not found.equals(schema.as_written(expected, version)):
            return [(0, lambda: [Finding(name, f"its columns are not those of schema version {version}")])]
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error)
        return [(0, lambda: [Finding(name, f"it cannot be read to its end: {reason}")])]
    return [(size, partial(_group_faults, path, name, number, by_page=by_page)) for number, size in enumerate(sizes)]


def _group_faults(path: Path, name: str, number: int, *, by_page: bool) -> list[Finding]:
    """Read a row group to its last page; `by_page` a page that fails its checksum ends it.

    Checksums say nothing new of a file whose sha256 is the manifest's.
    """
    try:
        # Mapped, not read: its bytes were read a moment ago to be hashed, and are copied once less.
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False, page_checksum_verification=by_page) as file:
            table = file.read_row_group(number, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        return [Finding(name, f"it cannot be read to its end: {error}")]
    if "images" in table.column_names:
        return [Finding(name, what) for what in _stories_faults(table)]
    if "image" in table.column_names:
        return [Finding(name, what) for what in _frames_faults(table)]
    return []


def _stories_faults(table: pa.Table) -> Iterator[str]:
    images = table.column("images").combine_chunks()
    pictures = _pictures(images.values if len(images) else None)
    offsets = images.offsets.to_pylist() if len(images) else []
    for row, start, end in zip(table.drop_columns(["images"]).to_pylist(), offsets, offsets[1:], strict=False):
        yield from _story_faults(row, pictures[start:end])


def _story_faults(row: dict[str, Any], pictures: list[tuple[str | None, str | None]]) -> Iterator[str]:
    story = row["story_id"]
    for name in _LISTS:
        if row[name] is None or len(row[name]) != len(pictures):
            yield f"story {story} has {len(pictures)} images and {len(row[name] or ())} {name}"
            return
    if row["orders"] != list(range(len(pictures))):
        yield f"story {story} is not in order"
    if row["pts_ms"] != sorted(row["pts_ms"]):
        yield f"story {story} goes back in time"
    if not all(text and text.strip() for text in row["captions"]):
        yield f"story {story} has a picture without text"
    for (digest, path), expected in zip(pictures, row["image_sha256"], strict=True):
        if digest != expected:
            yield f"story {story}: the bytes of {path} are not those that were hashed"
        if path is None or Path(path).name != path or "\\" in path:
            yield f"story {story}: the picture's name {path!r} is no plain file name"


def _frames_faults(table: pa.Table) -> Iterator[str]:
    pictures = _pictures(table.column("image").combine_chunks())
    rows = table.select(["frame_id", "status", "image_sha256"]).to_pylist()
    for row, (digest, _) in zip(rows, pictures, strict=True):
        if (row["status"] == "kept") != (digest is not None):
            yield f"frame {row['frame_id']} is {row['status']!r}, which does not fit its picture"
        elif digest != row["image_sha256"]:
            yield f"frame {row['frame_id']}: its bytes are not those that were hashed"


def _pictures(column: pa.StructArray | None) -> list[tuple[str | None, str | None]]:
    """Give (sha256 of the bytes, name) of each picture; none for an absent one."""
    if column is None:
        return []
    data, paths = column.field("bytes"), column.field("path").to_pylist()
    digests = [hashlib.sha256(one.as_buffer()).hexdigest() if one.is_valid else None for one in data]
    return list(zip(digests, paths, strict=True))
