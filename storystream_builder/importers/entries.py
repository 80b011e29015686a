"""What is read from foreign archives and folders: a file with its content or its fault, within limits."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from story_model.section import Section

Progress = Callable[[int], None]
"""Told how many bytes of the source have been read so far."""
Wanted = Callable[[str], bool]
"""Whether a file's content is wanted; the others are told by name only."""


class Limits(Section):
    """What is read at most; beyond it, a file or an archive is taken for an attack or an accident."""

    picture_bytes: int = Field(32 << 20, ge=1)
    """Size of one picture's file."""
    picture_pixels: int = Field(50_000_000, ge=1)
    line_bytes: int = Field(16 << 20, ge=1)
    """Length of one line of stories."""
    text_bytes: int = Field(8 << 30, ge=1)
    """All files of stories together, unpacked."""
    files: int = Field(5_000_000, ge=1)
    """Files in one archive."""
    ratio: float = Field(100.0, ge=1)
    """Unpacked over packed size; pictures reach 1, stories 10."""
    ratio_free_bytes: int = Field(64 << 20, ge=0)
    """The ratio counts from this unpacked size on."""


@dataclass(frozen=True)
class Fault:
    """Why something cannot be used: the kind of it, and the particulars."""

    code: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """A file of an archive: its content where that is wanted, or why it cannot be used."""

    name: str
    """As the source writes it: it may be no UTF-8, absolute, or lead out of the archive."""
    data: bytes | None = None
    fault: Fault | None = None


def too_large(size: int, limits: Limits) -> Fault:
    """Say that a picture's file is beyond the limit."""
    return Fault("too large", f"{size} bytes; the most is {limits.picture_bytes}")
