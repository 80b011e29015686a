"""All lines of a release's JSONL files: what each row shows and from where, its captions put aside on the disk.

Names and places stay in memory (some 200 bytes a picture-text pair); captions are read again, story by story, when the
stories are written.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from storystream_builder.episodes import Problem
from storystream_builder.importers.entries import Fault, Limits
from storystream_builder.importers.release_lines import Line, read_line
from storystream_builder.importers.release_names import Picture, picture_of
from storystream_builder.importers.texts import TextFile, read_texts
from storystream_builder.stories import TRAIN, VALIDATION
from storystream_builder.videos import printable

log = logging.getLogger(__name__)

_VALIDATION = re.compile(r"(?<![a-z])val(?:id(?:ation)?)?(?![a-z])")
_CHUNKS = re.compile(r"(?<![a-z])(?:train|val)_?([0-9]{1,3})(?![0-9])")


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its caption, as a row has them."""

    row: "Row"
    position: int
    """In the row."""
    picture: Picture | None
    caption_digest: bytes
    fault: Fault | None = None


@dataclass(eq=False, slots=True)
class Row:
    """A line that can be read."""

    place: str
    """File and line, for people."""
    split: str
    story_id: str
    chunk_length: int | None
    """Of the file that it is in, if that is one of chunks."""
    offset: int
    """Of its captions in the file where they were put."""
    pairs: tuple[Pair, ...] = ()


@dataclass
class Rows:
    """The rows of a release, and what could not be read of it."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def pictures(self) -> set[str]:
        """The ids of all pictures that are in a row."""
        return {pair.picture.frame_id for row in self.rows for pair in row.pairs if pair.picture}


def read_rows(source: Path, captions: BinaryIO, *, limits: Limits) -> Rows:
    """Read all lines; each is a row or a problem. Captions are appended to `captions`.

    Raises:
        ValueError: the source cannot be opened.
    """
    found = Rows()
    for text in read_texts(source, limits=limits):
        name = printable(text.name)
        fault = text.fault or _foreign(text)
        found.counts["text files"] += 1
        if fault:
            found.problems.append(Problem(name, "stories", fault.reason, fault.code))
            found.counts["text files refused"] += 1
            continue
        split, chunk_length = split_of(name), chunk_length_of(name)
        log.info("%s: %s%s", name, split, f", perhaps in chunks of {chunk_length}" if chunk_length else "")
        for number, line in _numbered(text):
            found.counts["rows"] += 1
            parsed = Fault("line too long", f"more than {limits.line_bytes} bytes") if line is None else read_line(line)
            place = f"{name}:{number}"
            if isinstance(parsed, Fault):
                found.problems.append(Problem(place, "stories", parsed.reason, parsed.code))
                found.counts["rows refused"] += 1
                continue
            row = Row(place, split, parsed.story_id, None if parsed.has_orders else chunk_length, captions.tell())
            row.pairs = tuple(_pairs(row, parsed))
            captions.write(json.dumps(parsed.captions).encode() + b"\n")
            found.rows.append(row)
            found.counts["pairs"] += len(row.pairs)
    assert found.counts["rows"] == len(found.rows) + found.counts["rows refused"]
    return found


def captions_of(row: Row, captions: BinaryIO) -> list[str]:
    """Read a row's captions where they were put."""
    captions.seek(row.offset)
    return [str(caption) for caption in json.loads(captions.readline())]


def split_of(name: str) -> str:
    """Tell by a file's path which split it is: `val` as a word of its own is validation."""
    return VALIDATION if _VALIDATION.search(name.lower()) else TRAIN


def chunk_length_of(name: str) -> int | None:
    """Tell by a file's path what length its chunks are said to have: 10 of `train_10.jsonl`, `george_train10/`."""
    found = _CHUNKS.search(name.lower())
    return int(found[1]) if found and int(found[1]) > 1 else None


def _foreign(text: TextFile) -> Fault | None:
    base = text.name.rpartition("/")[2]
    if base.startswith(".") or not base.lower().endswith((".jsonl", ".json")):
        return Fault("no stories", "not a .jsonl file")
    return None


def _numbered(text: TextFile) -> Iterator[tuple[int, bytes | None]]:
    """Number the lines from 1; empty ones are none."""
    return ((number, line) for number, line in enumerate(text.lines(), 1) if line is None or line.strip())


def _pairs(row: Row, line: Line) -> Iterator[Pair]:
    for position, (image, caption) in enumerate(zip(line.images, line.captions, strict=True)):
        digest = hashlib.sha256(caption.encode()).digest()[:8]
        found = picture_of(image)
        if isinstance(found, Fault):
            yield Pair(row, position, None, digest, Fault(found.code, f"{image[:200]!r}: {found.reason}"))
        else:
            fault = None if caption.strip() else Fault("empty caption", f"{found.frame_id} has no caption")
            yield Pair(row, position, found, digest, fault)
