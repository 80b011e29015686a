"""Check a published dataset: is every byte what was written, does every story hold together, are the splits apart?"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from story_model import schema
from story_model.manifest import read_manifest, sha256_of
from storystream_builder.catalog import Catalog
from storystream_builder.parquet import iterate_rows

_LISTS = "captions frame_captions orders pts_ms shot_ids image_sha256 width height phash".split()  # noqa: SIM905


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
    if read_manifest(dataset_dir) is None:
        raise ValueError(f"{dataset_dir} holds no finished dataset (no manifest.json); build it first")
    findings = list(_changed_files(dataset_dir))
    tables: list[tuple[str, pa.Schema, Callable[[dict[str, Any]], Iterator[str]]]] = [
        ("data/*/*.parquet", schema.STORIES_INLINE, _story_faults),
        ("frames/*.parquet", schema.FRAMES, _frame_faults),
    ]
    for pattern, table_schema, faults in tables:
        for path in tqdm(sorted(dataset_dir.glob(pattern)), desc=pattern.split("/")[0], unit="file"):
            name = path.relative_to(dataset_dir).as_posix()
            findings += [Finding(name, what) for what in _table_faults(path, table_schema, faults)]
    if not findings:
        with Catalog(dataset_dir) as catalog:
            findings += [Finding("data", what) for what in catalog.leaks()]
    return findings


def _changed_files(dataset_dir: Path) -> Iterator[Finding]:
    manifest = read_manifest(dataset_dir)
    assert manifest is not None
    for name, entry in manifest.files.items():
        path = dataset_dir / name
        if not path.is_file():
            yield Finding(name, "the file is missing")
        elif sha256_of(path) != entry.sha256:
            yield Finding(name, "the file is not the one that was written")


def _table_faults(path: Path, expected: pa.Schema, faults: Callable[[dict[str, Any]], Iterator[str]]) -> Iterator[str]:
    """Read a table to its last page; a page that fails its checksum ends it."""
    try:
        found = pq.read_schema(path)
        if not found.equals(expected):
            yield f"its columns are not those of schema version {schema.SCHEMA_VERSION}"
            return
        for row in iterate_rows([path]):
            yield from faults(row)
    except (OSError, pa.ArrowException) as error:
        yield f"it cannot be read to its end: {error}"


def _story_faults(row: dict[str, Any]) -> Iterator[str]:
    story, images = row["story_id"], row["images"]
    for name in _LISTS:
        if len(row[name]) != len(images):
            yield f"story {story} has {len(images)} images and {len(row[name])} {name}"
    if row["orders"] != list(range(len(images))):
        yield f"story {story} is not in order"
    if row["pts_ms"] != sorted(row["pts_ms"]):
        yield f"story {story} goes back in time"
    if not all(text and text.strip() for text in row["captions"]):
        yield f"story {story} has a picture without text"
    for image, digest in zip(images, row["image_sha256"], strict=False):
        if hashlib.sha256(image["bytes"]).hexdigest() != digest:
            yield f"story {story}: the bytes of {image['path']} are not those that were hashed"


def _frame_faults(row: dict[str, Any]) -> Iterator[str]:
    image, digest = row["image"], row["image_sha256"]
    if (row["status"] == "kept") != (image is not None):
        yield f"frame {row['frame_id']} is {row['status']!r}, which does not fit its picture"
    if image is not None and hashlib.sha256(image["bytes"]).hexdigest() != digest:
        yield f"frame {row['frame_id']}: its bytes are not those that were hashed"
