"""A tar archive as a stream, packed with gzip or not: one pass, nothing kept but the file that is read."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from storystream_builder.importers.entries import Entry, Fault, Limits, Progress, Wanted, too_large


class _DamagedError(Exception):
    """The archive cannot be read on."""


class _Header(tarfile.TarInfo):
    """A member's header. What tarfile takes for a quiet end of the archive, or reads without bound, is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        if len(buf) < tarfile.BLOCKSIZE:
            raise EOFError("the archive ends without its end mark")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise _DamagedError(f"a file's header is damaged ({error})") from None

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Refuse what has no end, then go on: tarfile names this method as the place to extend."""
        is_about_another = self.type in _ABOUT_ANOTHER
        if self.size < 0 or (is_about_another and self.size > _MOST_HEADER_BYTES):
            raise _DamagedError(f"a file's header says {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


_ABOUT_ANOTHER = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MOST_HEADER_BYTES = 1 << 20
_BLOCK = 1 << 18


class _Unpacked:
    """The bytes of an archive that may be packed with gzip; it tells how far it got and stops where it swells."""

    def __init__(self, file: io.BufferedReader, limits: Limits, progress: Progress) -> None:
        self._file, self._limits, self._progress = file, limits, progress
        is_packed = file.peek(2)[:2] == b"\x1f\x8b"
        self._stream: io.BufferedReader | gzip.GzipFile = gzip.GzipFile(fileobj=file) if is_packed else file
        self._given = 0
        self._error: Exception | None = None

    def read(self, size: int) -> bytes:
        """Give the next bytes, to the last one before an error."""
        data = self._up_to_an_error(size)
        self._given += len(data)
        packed = self._file.tell()
        self._progress(packed)
        if self._given > self._limits.ratio_free_bytes and self._given > self._limits.ratio * packed:
            raise _DamagedError(f"it unpacks to more than {self._limits.ratio:g} times its size")
        return data

    def _up_to_an_error(self, size: int) -> bytes:
        parts: list[bytes] = []
        try:
            while not self._error and size > 0 and (part := self._stream.read1(size)):
                parts.append(part)
                size -= len(part)
        except (EOFError, OSError, zlib.error) as error:
            self._error = error
        if self._error and not parts:
            raise self._error
        return b"".join(parts)


def tar_entries(path: Path, wanted: Wanted, limits: Limits, progress: Progress) -> Iterator[Entry]:
    """List an archive's files; a fault of the archive itself is the last entry."""
    with path.open("rb") as file:
        unpacked = _Unpacked(file, limits, progress)
        try:
            with tarfile.open(fileobj=unpacked, mode="r|", bufsize=_BLOCK, tarinfo=_Header) as archive:  # type: ignore[call-overload]
                yield from _members(archive, wanted, limits)
            while unpacked.read(_BLOCK):  # the checksum of the whole comes after the last file
                pass
        except EOFError as error:
            yield Entry(path.name, fault=Fault("truncated archive", f"it ends early ({error})"))
        except (OSError, zlib.error, tarfile.TarError, _DamagedError, ValueError, OverflowError) as error:
            is_end = "unexpected end of data" in str(error)
            code, what = ("truncated archive", "it ends early") if is_end else ("damaged archive", "it is damaged")
            yield Entry(path.name, fault=Fault(code, f"{what} ({error}); what came before is used"))


def _members(archive: tarfile.TarFile, wanted: Wanted, limits: Limits) -> Iterator[Entry]:
    number = 0
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
        if member.isdir():
            continue
        number += 1
        if number > limits.files:
            raise _DamagedError(f"it holds more than {limits.files} files")
        yield _member(archive, member, wanted, limits)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: Wanted, limits: Limits) -> Entry:
    if member.issym() or member.islnk():
        return Entry(member.name, fault=Fault("link", f"a link to {member.linkname!r}"))
    if not member.isreg() or member.issparse():
        return Entry(member.name, fault=Fault("special file", "neither a plain file nor a folder"))
    if not wanted(member.name):
        return Entry(member.name)
    if member.size > limits.picture_bytes:
        return Entry(member.name, fault=too_large(member.size, limits))
    content = archive.extractfile(member)
    assert content is not None, "a plain file has content"
    data = content.read()
    if len(data) < member.size:
        raise EOFError(f"within {member.name!r}")
    return Entry(member.name, data)
