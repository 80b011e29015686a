"""Files out of archives and folders that nobody vouches for: read one after another, nothing is unpacked to the disk.

A fault of one file is told with it and the next one follows; a fault of the archive itself ends it and is told last.
Names are never opened as paths, links are never followed, and what a file may weigh is bounded before it is read.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from storystream_builder.importers.entries import Entry, Fault, Limits, Progress, Wanted, too_large
from storystream_builder.importers.tar_stream import tar_entries


def read_pictures(source: Path, *, wanted: Wanted, limits: Limits, progress: Progress) -> Iterator[Entry]:
    """List the files of a tar archive (packed with gzip or not) or of a folder, those that are wanted with content.

    Raises:
        ValueError: it is neither.
    """
    if source.is_dir():
        return _folder_entries(source, wanted, limits, progress)
    if not source.is_file():
        raise ValueError(f"{source} does not exist; name a tar archive of pictures or a folder of them")
    return tar_entries(source, wanted, limits, progress)


def source_bytes(source: Path) -> int:
    """Say how many bytes there are to read: of the archive, or of the files of a folder."""
    if source.is_dir():
        return sum(path.lstat().st_size for path in files_below(source))
    return source.stat().st_size


def _folder_entries(root: Path, wanted: Wanted, limits: Limits, progress: Progress) -> Iterator[Entry]:
    done = 0
    for path in files_below(root):
        entry = _file(path, path.relative_to(root).as_posix(), wanted, limits)
        done += path.lstat().st_size
        progress(done)
        yield entry


def _file(path: Path, name: str, wanted: Wanted, limits: Limits) -> Entry:
    kind = path.lstat()
    if stat.S_ISLNK(kind.st_mode):
        return Entry(name, fault=Fault("link", "a symbolic link"))
    if not stat.S_ISREG(kind.st_mode):
        return Entry(name, fault=Fault("special file", "neither a plain file nor a folder"))
    if not wanted(name):
        return Entry(name)
    if kind.st_size > limits.picture_bytes:
        return Entry(name, fault=too_large(kind.st_size, limits))
    try:
        with open_plain(path) as file:
            return Entry(name, file.read(limits.picture_bytes))
    except OSError as error:
        return Entry(name, fault=Fault("unreadable", str(error)))


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading, unless it has become a link meanwhile.

    Raises:
        OSError: it is one, or cannot be read.
    """
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def files_below(root: Path) -> Iterator[Path]:
    """List what is in a folder and is no folder, in the order of the names; links to folders are not entered."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(files + links):
            yield Path(folder, name)
