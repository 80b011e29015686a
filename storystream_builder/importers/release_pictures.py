"""The pictures of a release: one pass that fills the frames table.

Every picture of the archive is a row, a problem, or a repeated name; those in no story are rows without their bytes.
"""

import hashlib
import io
import os
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from story_model import schema
from story_model.stored_pictures import PICTURE_FORMATS
from storystream_builder.decoding.pictures import perceptual_hash
from storystream_builder.episodes import Problem
from storystream_builder.frames import KEPT
from storystream_builder.importers.archives import read_pictures, source_bytes
from storystream_builder.importers.entries import Entry, Fault, Limits
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.release_names import Picture, picture_of
from storystream_builder.parquet import TableWriter
from storystream_builder.videos import printable

IN_NO_STORY = "in no story"
_ROW_BYTES = 500
_AHEAD = 4
"""Pictures for each thread that are read before their turn to be written: these are what memory holds of an archive."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Pictures:
    """What one pass over the pictures found."""

    faults: dict[str, Fault] = field(default_factory=dict)
    """Of pictures that are there and cannot be used, by id."""
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def write_frames(source: Path, out: Path, needed: set[str], *, config: ReleaseConfig) -> Pictures:
    """Write the frames table in the order of the source, with the content of the pictures that are needed.

    Raises:
        ValueError: the source cannot be opened.
    """
    found, seen = Pictures(), set[str]()

    def is_wanted(name: str) -> bool:
        picture = picture_of(name)
        return isinstance(picture, Picture) and picture.frame_id in needed and picture.frame_id not in seen

    table_schema, total = schema.with_metadata(schema.FRAMES), source_bytes(source)
    with (
        TableWriter(out / "frames", config.subset, table_schema, config.parquet) as writer,
        tqdm(total=total, desc="pictures", unit="B", unit_scale=True) as bar,
    ):

        def show(done: int) -> None:
            bar.update(done - bar.n)

        entries = read_pictures(source, wanted=is_wanted, limits=config.limits, progress=show)
        named = (one for entry in entries if (one := _first_of_its_name(entry, seen, found)))
        for picture, name, row in _in_order(lambda one: _row(*one, config), named):
            if isinstance(row, Fault):
                found.faults[picture.frame_id] = row
                _refuse(found, name, row)
                continue
            found.counts[f"frames {row['status']}"] += 1
            writer.add(row, len(row["image"]["bytes"] if row.get("image") else b"") + _ROW_BYTES)
    counts = found.counts
    rows = counts[f"frames {KEPT}"] + counts[f"frames {IN_NO_STORY}"]
    assert counts["files"] == rows + counts["files refused"], "a file is a row or a problem"
    return found


def _first_of_its_name(entry: Entry, seen: set[str], found: Pictures) -> tuple[Picture, Entry] | None:
    """Say which picture a file is; none, with a problem noted, where it is none or comes again."""
    found.counts["files"] += 1
    picture = picture_of(entry.name)
    fault = entry.fault or (picture if isinstance(picture, Fault) else None)
    if isinstance(picture, Picture):
        if picture.frame_id in seen:
            fault = Fault("repeated name", "the first of this name is taken")
        elif fault:
            found.faults[picture.frame_id] = fault
        seen.add(picture.frame_id)
    if fault:
        _refuse(found, printable(entry.name), fault)
        return None
    assert isinstance(picture, Picture)
    return picture, entry


def _refuse(found: Pictures, name: str, fault: Fault) -> None:
    found.problems.append(Problem(name, "pictures", fault.reason, fault.code))
    found.counts["files refused"] += 1


def _row(picture: Picture, entry: Entry, config: ReleaseConfig) -> tuple[Picture, str, dict[str, Any] | Fault]:
    row: dict[str, Any] = {
        "frame_id": picture.frame_id,
        "subset": config.subset,
        "episode_id": picture.episode_id,
        "pts": picture.pts_ms,
        "time_base": "1/1000",
        "pts_ms": picture.pts_ms,
        "status": KEPT if entry.data is not None else IN_NO_STORY,
        "license": config.license,
        "attribution": config.attribution,
    }
    if entry.data is None:
        return picture, printable(entry.name), row
    seen = look_at(entry.data, config.limits)
    if isinstance(seen, Fault):
        return picture, printable(entry.name), seen
    row |= seen | {
        "image": {"bytes": entry.data, "path": f"{picture.frame_id}.jpg"},
        "image_sha256": hashlib.sha256(entry.data).hexdigest(),
    }
    return picture, printable(entry.name), row


def look_at(data: bytes, limits: Limits) -> dict[str, int] | Fault:
    """Decode a picture: its width, height and perceptual hash, or why it cannot be used.

    Its size is read from its header first, so that a small file cannot ask for much memory.
    """
    found = _decoded(data, limits)
    if isinstance(found, Fault):
        return found
    return {"width": found.width, "height": found.height, "phash": perceptual_hash(np.asarray(found))}


def _decoded(data: bytes, limits: Limits) -> Image.Image | Fault:
    """Decode a picture to grey."""
    try:
        image = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
        if image.width * image.height > limits.picture_pixels:
            return Fault("too many pixels", f"{image.width}x{image.height}; the most is {limits.picture_pixels}")
        with image:
            image.draft("L", None)  # a JPEG's colours are checked with it, but not computed
            return image.convert("L")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Fault("too many pixels", f"beyond {limits.picture_pixels}")
    except Image.UnidentifiedImageError:
        return Fault("not a picture", "neither JPEG, PNG nor WebP")
    except (OSError, EOFError, ValueError, SyntaxError, IndexError, TypeError, KeyError, struct.error) as error:
        return Fault("broken picture", f"cannot be decoded to its end: {error}")


def _in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map over items on all cores, in order, with a bounded number of them in memory."""
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
