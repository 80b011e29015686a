"""Lines out of a zip archive, a folder, or a single file: bounded in length, from members that pass their checksum."""

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from storystream_builder.importers.archives import files_below, open_plain
from storystream_builder.importers.entries import Fault, Limits

_BLOCK = 1 << 18


@dataclass(frozen=True)
class TextFile:
    """A file of lines: how to read them, or why it cannot be used."""

    name: str
    lines: Callable[[], Iterator[bytes | None]]
    """Gives each line without its end; none for one that is too long."""
    fault: Fault | None = None


def read_texts(source: Path, *, limits: Limits) -> Iterator[TextFile]:
    """List the files of a zip archive or of a folder, or a single file, each to be read before the next is asked for.

    Raises:
        ValueError: there is nothing, or a zip archive that lacks its end.
    """
    if source.is_dir():
        return _folder_texts(source, limits)
    if not source.is_file():
        raise ValueError(
            f"{source} does not exist; name a zip archive of JSONL files, a folder of them, or one of them"
        )
    return _zip_texts(source, limits) if zipfile.is_zipfile(source) else _single_text(source, limits)


def _single_text(path: Path, limits: Limits) -> Iterator[TextFile]:
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise ValueError(f"{path} is a zip archive without its end; download it again")
        file.seek(0)
        yield TextFile(path.name, lambda: _lines(file, limits))


def _folder_texts(root: Path, limits: Limits) -> Iterator[TextFile]:
    for path in files_below(root):
        name = path.relative_to(root).as_posix()
        if not stat.S_ISREG(path.lstat().st_mode):
            yield TextFile(name, lambda: iter(()), Fault("link", "a link or no plain file"))
            continue
        with open_plain(path) as file:
            yield TextFile(name, lambda file=file: _lines(file, limits))  # type: ignore[misc]


def _zip_texts(path: Path, limits: Limits) -> Iterator[TextFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} cannot be read as a zip archive ({error}); download it again") from None
    with archive:
        budget = limits.text_bytes
        for info in archive.infolist():
            if info.filename.endswith("/"):
                continue
            fault = _zip_fault(info, budget, limits) or _damage(archive, info)
            if fault:
                yield TextFile(info.filename, lambda: iter(()), fault)
                continue
            budget -= info.file_size
            with archive.open(info) as file:
                yield TextFile(info.filename, lambda file=file: _lines(file, limits))  # type: ignore[misc]


def _zip_fault(info: zipfile.ZipInfo, budget: int, limits: Limits) -> Fault | None:
    """Say what forbids to read a member; its size is binding, since no more of it is unpacked."""
    if stat.S_ISLNK(info.external_attr >> 16):
        return Fault("link", "a symbolic link")
    if info.flag_bits & 1:
        return Fault("encrypted", "it asks for a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Fault("unreadable", f"packed by method {info.compress_type}; only `deflate` is read")
    if info.file_size > budget:
        return Fault("too large", f"{info.file_size} bytes; {budget} of {limits.text_bytes} are left")
    if info.file_size > max(limits.ratio_free_bytes, limits.ratio * info.compress_size):
        return Fault(
            "too large", f"{info.file_size} bytes, packed {info.compress_size}: more than {limits.ratio:g} fold"
        )
    return None


def _damage(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Fault | None:
    """Read a member to its end, where its checksum is: no line of one that fails is to be trusted."""
    try:
        with archive.open(info) as file:
            while file.read(_BLOCK):
                pass
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error, NotImplementedError, ValueError) as error:
        return Fault("damaged file", f"it fails its checksum ({error}); download it again")
    return None


def _lines(file: IO[bytes], limits: Limits) -> Iterator[bytes | None]:
    is_first = True
    while line := file.readline(limits.line_bytes + 2):
        if len(line.rstrip(b"\r\n")) > limits.line_bytes:
            while line and not line.endswith(b"\n"):
                line = file.readline(_BLOCK)
            yield None
        else:
            yield line.rstrip(b"\r\n").removeprefix(b"\xef\xbb\xbf" if is_first else b"")
        is_first = False
