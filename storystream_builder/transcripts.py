"""Subtitle files -> timed lines of plain text.

Subtitles arrive in whatever encoding and with whatever is wrong with them. What had to be guessed is noted, what cannot
be read is refused, and what was left out is counted.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_MAX_BYTES = 16 << 20
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}.*$", re.MULTILINE)
_TAGS = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Line:
    """One line as it is spoken or shown; milliseconds from the start of the video."""

    start_ms: int
    end_ms: int
    text: str

    def overlap_ms(self, start_ms: int, end_ms: int) -> int:
        """Length of what this line and a stretch of film have in common."""
        return max(0, min(self.end_ms, end_ms) - max(self.start_ms, start_ms))


@dataclass(frozen=True)
class Transcript:
    """The lines of one episode in time order, and what had to be guessed or left out."""

    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()


def read_transcript(path: Path) -> Transcript:
    """Read an `.srt` or `.vtt` file.

    Raises:
        ValueError: the file cannot be read, cannot be decoded as text, or holds no timed line.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"the subtitle file is larger than {_MAX_BYTES >> 20} MB; it is not one")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the subtitle file cannot be read: {error.strerror}") from None
    text, notes = _decode(data)
    lines, dropped = _parse(text)
    if not lines:
        raise ValueError("the subtitle file holds no timed line")
    if dropped:
        notes.append(f"{dropped} subtitle lines without text or with an end before their start were left out")
    return Transcript(tuple(lines), tuple(notes))


def line_for(lines: Sequence[Line], *, at_ms: int, start_ms: int, end_ms: int) -> str | None:
    """Say what is spoken over a frame: at its time, else the line that its shot shares the longest time with."""
    at_once = [line.text for line in lines if line.start_ms <= at_ms < line.end_ms]
    if at_once:
        return " ".join(dict.fromkeys(at_once))
    longest = max(lines, key=lambda line: line.overlap_ms(start_ms, end_ms), default=None)
    return longest.text if longest and longest.overlap_ms(start_ms, end_ms) else None


def _decode(data: bytes) -> tuple[str, list[str]]:
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    for encoding in [marked] if marked else ["utf-8", "cp1252"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(_CONTROLS.findall(text)) > len(text) // 100:
            continue
        guessed = encoding == "cp1252"
        return text, ["the subtitles are not UTF-8; they were read as Windows-1252"] if guessed else []
    raise ValueError("the subtitle file's encoding is unknown; save it as UTF-8")


def _parse(text: str) -> tuple[list[Line], int]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    timings = list(_TIMING.finditer(text))
    lines, dropped = [], 0
    for timing, following in pairwise([*timings, None]):
        assert timing is not None
        body = text[timing.end() : following.start() if following else len(text)].lstrip("\n")
        words = _plain(body.split("\n\n")[0])
        start, end = _milliseconds(timing.groups()[:4]), _milliseconds(timing.groups()[4:])
        if words and end > start:
            lines.append(Line(start, end, words))
        else:
            dropped += 1
    return sorted(lines, key=lambda line: (line.start_ms, line.end_ms)), dropped


def _plain(body: str) -> str:
    """Strip markup and control characters, and put the text on one line."""
    text = _CONTROLS.sub("", html.unescape(_TAGS.sub("", body)))
    return " ".join(text.split())


def _milliseconds(groups: Sequence[str | None]) -> int:
    hours, minutes, seconds, fraction = (group or "0" for group in groups)
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))
