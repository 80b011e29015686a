"""Which pictures a folder holds: each file below it is looked through once, and what was found stands in an index.

The index is a line a file, written as files are done: a killed run goes on from there, and only files that are new or
changed are looked through again. Every picture is decoded here, so that none turns out to be damaged in the middle of a
training. No torch here.
"""

import hashlib
import io
import json
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from story_model.manifest import write_atomically
from story_model.stored_pictures import PICTURE_FORMATS
from training.ahead import ahead
from training.picture_files import Item, Place, items_of, may_hold_pictures

log = logging.getLogger(__name__)

INDEX = "index.jsonl"
_HEADER = '{"format": 1}'
_MAX_PIXELS = 80_000_000
_MAX_REASON = 200
_AT_EACH_START = 0
"""In place of a file's time: the operating system did not let it be read, which need not stay so."""
_DEPTH = 4
"""Pictures that each thread may be ahead."""
# What Pillow's decoders are known to raise on damaged files.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Picture(NamedTuple):
    """One that can be decoded."""

    sha256: str
    width: int
    height: int
    place: Place


class FileOfPictures(NamedTuple):
    """What was found in one file."""

    name: str
    """Relative to the folder."""
    bytes: int
    changed_ns: int
    pictures: Sequence[Picture]
    unreadable: Sequence[tuple[str, str]]
    """What is no picture that can be decoded: its name within the file (empty where it is the file itself), and why."""

    @property
    def version(self) -> tuple[int, int]:
        """What is another one once the file changes."""
        return self.bytes, self.changed_ns


@dataclass(frozen=True)
class PictureIndex:
    """All that was found below a folder, file by file."""

    files: Sequence[FileOfPictures]

    @cached_property
    def digest(self) -> str:
        """Name the pictures, whatever files they lie in."""
        found = sorted({picture.sha256 for file in self.files for picture in file.pictures})
        return hashlib.sha256("\n".join(found).encode()).hexdigest()

    @property
    def unreadable(self) -> list[str]:
        """Name what is no picture that can be decoded, with the reason."""
        return [": ".join(filter(None, (file.name, *found))) for file in self.files for found in file.unreadable]


def index_pictures(root: Path, index_dir: Path, *, name: str) -> PictureIndex:
    """Look through the files below `root` that are new or changed since the last time.

    Another process that does so is waited for.

    Raises:
        ValueError: there is no such folder, or no picture in it.
    """
    if not root.is_dir():
        raise ValueError(f"pictures of {name}: {root} is no folder; put them there, or set STORY_PICTURES")
    index_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(index_dir / ".lock"):
        found, known = _files(root), _read(index_dir)
        kept = [known[file.name] for file in found if file.name in known and known[file.name].version == file.version]
        done = {file.name for file in kept}
        new = [file for file in found if file.name not in done]
        if new or len(kept) < len(known) or not (index_dir / INDEX).is_file():
            _write(root, index_dir, kept, new, name)
    index = read_index(index_dir)
    if not any(file.pictures for file in index.files):
        first = next(iter(index.unreadable), "no .jpg, .png, .webp, .tar or .parquet file")
        raise ValueError(f"pictures of {name}: {root} holds none; {first}")
    return index


def read_index(index_dir: Path) -> PictureIndex:
    """Read an index as it was made last.

    Raises:
        ValueError: there is none.
    """
    if not (index_dir / INDEX).is_file():
        raise ValueError(f"{index_dir} holds no index of pictures; index them first")
    known = _read(index_dir)
    return PictureIndex([known[name] for name in sorted(known)])


def _files(root: Path) -> list[FileOfPictures]:
    """List the files to be looked through, in order of their names; links to folders are not followed."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if may_hold_pictures(name) and not name.startswith("."):
                path = Path(folder, name)
                state = path.lstat()
                relative = path.relative_to(root).as_posix()
                # Copying keeps a file's time of modification where it is asked to, but not this one.
                found.append(FileOfPictures(relative, state.st_size, state.st_ctime_ns, [], []))
    return sorted(found)


def _write(
    root: Path, index_dir: Path, kept: Sequence[FileOfPictures], new: Sequence[FileOfPictures], name: str
) -> None:
    """Write the index anew without what is gone, then a line for each new file."""
    path, started = index_dir / INDEX, time.monotonic()
    write_atomically(path, "".join(f"{line}\n" for line in (_HEADER, *map(_line, kept))).encode())
    total = sum(file.bytes for file in new)
    bar = tqdm(total=total, desc=f"index pictures of {name}", unit="B", unit_scale=True, mininterval=1)
    count = failed = 0
    with bar, path.open("a", buffering=1, encoding="utf-8") as out:
        for file in _looked_through(root, new, bar):
            out.write(f"{_line(file)}\n")
            count, failed = count + len(file.pictures), failed + len(file.unreadable)
            bar.set_postfix(pictures=count, unreadable=failed, refresh=False)
    seconds = time.monotonic() - started
    log.info("pictures of %s: %d found in %d files in %.1f s, %d unreadable", name, count, len(new), seconds, failed)


def _looked_through(root: Path, files: Iterable[FileOfPictures], bar: tqdm) -> Iterator[FileOfPictures]:
    """Give each file with what was found in it; pictures of several files are decoded at once."""
    threads = min(os.cpu_count() or 1, 16)
    pictures: list[Picture] = []
    unreadable: list[tuple[str, str]] = []
    done, is_sure = 0, True
    for file, item, found in ahead(_look, _tasks(root, files), depth=threads * _DEPTH, threads=threads):
        if item is None:
            done += file.bytes
            bar.update(max(done - bar.n, 0))
            changed_ns = file.changed_ns if is_sure else _AT_EACH_START
            yield file._replace(changed_ns=changed_ns, pictures=pictures, unreadable=unreadable)
            pictures, unreadable, is_sure = [], [], True
        elif isinstance(found, Picture):
            pictures.append(found)
            if not file.name.lower().endswith(".parquet"):
                bar.update(item.place.length)
        elif found is not None:
            unreadable.append((_label(item.name), _reason(found)))
            is_sure = is_sure and getattr(found, "errno", None) is None


def _tasks(root: Path, files: Iterable[FileOfPictures]) -> Iterator[tuple[FileOfPictures, Item | None]]:
    """List each file's items; none after the last."""
    for file in files:
        for item in items_of(root / file.name):
            yield file, item
        yield file, None


def _look(
    task: tuple[FileOfPictures, Item | None],
) -> tuple[FileOfPictures, Item | None, Picture | Exception | None]:
    """Decode a picture; gives why it cannot be."""
    file, item = task
    if item is None:
        return file, None, None
    try:
        data = item.load()
        width, height = _decoded_size(data)
    except _UNREADABLE as error:
        return file, item, error
    return file, item, Picture(hashlib.sha256(data).hexdigest(), width, height, item.place)


def _decoded_size(data: bytes) -> tuple[int, int]:
    """Decode a picture all through, for its width and height."""
    with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as image:
        width, height = image.size
        if width * height > _MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels are more than {_MAX_PIXELS:,}")
        image.draft("RGB", (1, 1))  # a JPEG is read to its end, and computed at an eighth of its size
        image.convert("RGB")
    return width, height


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(PICTURE_FORMATS)}"
    return (str(error) or type(error).__name__).splitlines()[0][:_MAX_REASON]


def _label(name: str) -> str:
    """Make a name that came with the data fit for a log."""
    return name.encode("utf-8", "replace").decode()[:_MAX_REASON]


def _line(file: FileOfPictures) -> str:
    pictures = [[*picture[:3], *picture.place] for picture in file.pictures]
    return json.dumps([file.name, *file.version, pictures, file.unreadable], separators=(",", ":"))


def _read(index_dir: Path) -> dict[str, FileOfPictures]:
    """Read the index as far as it is whole: files by name."""
    try:
        header, *lines = (index_dir / INDEX).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return {}
    if header != _HEADER:
        return {}
    files = {}
    for line in lines:
        try:
            name, size, changed_ns, pictures, unreadable = json.loads(line)
            found = [Picture(sha256, width, height, Place(*place)) for sha256, width, height, *place in pictures]
        except (ValueError, TypeError):
            continue  # a killed process's last line: that file is looked through again
        files[name] = FileOfPictures(name, size, changed_ns, found, [tuple(one) for one in unreadable])
    return files
