"""What is said in an episode, and when: timed lines of plain text, from subtitle files or elsewhere.

Subtitles arrive in whatever encoding and with whatever is wrong with them. What had to be guessed is noted, what cannot
be read is refused, and what was left out is counted.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Literal

import langcodes
from pydantic import TypeAdapter, ValidationError

from story_model.manifest import write_atomically
from storystream_builder.listening.subtitle_formats import MAX_CUES, Cue, read_cues
from storystream_builder.listening.text_encoding import decode_text

Source = Literal["", "file", "embedded", "speech"]

_MAX_BYTES = 16 << 20
_MAX_MS = 100 * 3600 * 1000
_FLAGS = frozenset({"forced", "sdh", "cc", "default", "full"})
"""What file names say after the language."""


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
    source: Source = ""
    """Where the lines come from; empty where nothing was looked at."""
    language: str | None = None
    """As a short code (`en`, `pt-BR`) where the source names it."""


_JSON = TypeAdapter(Transcript)


def read_transcript(path: Path, *, language: str | None = None) -> Transcript:
    """Read a subtitle file: SubRip, WebVTT or SubStation (`.srt`, `.vtt`, `.ass`, `.ssa`), in whatever encoding.

    `language` is a code such as `ru` or `rus`; without one it is taken from the name (`x.ru.srt`). It helps to guess an
    encoding.

    Raises:
        ValueError: the file cannot be read, cannot be decoded as text, or holds no timed line.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"the subtitle file is larger than {_MAX_BYTES >> 20} MB; it is not one")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the subtitle file cannot be read: {error.strerror}") from None
    language = short_code(language) or _language_in(path.stem)
    text, notes = decode_text(data, language=language)
    transcript = gather(read_cues(text), source="file", language=language, notes=notes)
    if not transcript.lines:
        raise ValueError("; ".join(["the subtitle file holds no timed line", *transcript.notes]))
    return transcript


def write_transcript(path: Path, transcript: Transcript) -> None:
    """Write a transcript as JSON, whole or not at all: how a process hands it to the one that started it."""
    write_atomically(path, _JSON.dump_json(transcript, indent=1))


def load_transcript(path: Path) -> Transcript:
    """Read a transcript that `write_transcript` wrote.

    Raises:
        ValueError: the file is missing, or is none.
    """
    try:
        return _JSON.validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ValueError(f"{path} is no transcript ({error.error_count()} faults); remove it and build again") from None


def gather(
    cues: Iterable[Cue], *, source: Source, language: str | None = None, notes: Iterable[str] = ()
) -> Transcript:
    """Make a transcript of cues: in time order, each line once; notes say how many were left out and why."""
    lines: dict[Line, None] = {}
    empty = senseless = repeated = 0
    for cue in cues:
        start, end = cue.start_ms, cue.end_ms
        if start is None or end is None or not 0 <= start <= _MAX_MS or not 0 <= end <= _MAX_MS:
            senseless += 1
        elif not cue.text or end <= start:
            empty += 1
        elif (line := Line(start, end, cue.text)) in lines:
            repeated += 1
        else:
            lines[line] = None
    counts = {
        "without text or with an end before their start were left out": empty,
        "with times that cannot be were left out": senseless,
        "that repeat another were left out": repeated,
    }
    told = [*notes, *(f"{count} lines {reason}" for reason, count in counts.items() if count)]
    if len(lines) + empty + senseless + repeated >= MAX_CUES:
        told.append(f"what follows the first {MAX_CUES} lines was left out")
    ordered = sorted(lines, key=lambda line: (line.start_ms, line.end_ms))
    return Transcript(tuple(ordered), tuple(told), source, language)


def line_for(lines: Sequence[Line], *, at_ms: int, start_ms: int, end_ms: int) -> str | None:
    """Say what is spoken over a frame: at its time, else the line that its shot shares the longest time with.

    The lines are in time order. Asked for every frame, so a tuple of lines is indexed once.
    """
    index = _index_of(_Same(lines)) if isinstance(lines, tuple) else _index(lines)
    at_once = [lines[i].text for i in index.within(at_ms, at_ms + 1)]
    if at_once:
        return " ".join(dict.fromkeys(at_once))
    inside = (lines[i] for i in index.within(start_ms, end_ms))
    longest = max(inside, key=lambda line: line.overlap_ms(start_ms, end_ms), default=None)
    return longest.text if longest and longest.overlap_ms(start_ms, end_ms) else None


def short_code(language: str | None) -> str | None:
    """Write a language code in its short form (`ger` and `deu` are `de`); none for what is none, or undetermined."""
    if not language or len(language) > 40:
        return None
    try:
        code = langcodes.standardize_tag(language)
        return code if langcodes.tag_is_valid(code) and not code.startswith(("und", "mul", "zxx", "mis")) else None
    except ValueError:
        return None


@dataclass(frozen=True)
class _Index:
    """For finding lines by time: their starts, and the latest end up to each of them. Both never fall."""

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    reach: tuple[int, ...]

    def within(self, start_ms: int, end_ms: int) -> list[int]:
        """List the lines that have any time in common with a stretch of film."""
        first, last = bisect_right(self.reach, start_ms), bisect_left(self.starts, end_ms)
        return [i for i in range(first, last) if self.ends[i] > start_ms]


class _Same:
    """Stands for an object by its identity, so that a cache does not compare ten thousand lines with one another."""

    def __init__(self, lines: tuple[Line, ...]) -> None:
        self.lines = lines

    def __hash__(self) -> int:
        return id(self.lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.lines is other.lines


@lru_cache(maxsize=16)
def _index_of(same: _Same) -> _Index:
    return _index(same.lines)


def _index(lines: Sequence[Line]) -> _Index:
    ends = tuple(line.end_ms for line in lines)
    return _Index(tuple(line.start_ms for line in lines), ends, tuple(accumulate(ends, max)))


def _language_in(stem: str) -> str | None:
    """Find the language in `x.en`, `x.pt-BR.forced` or `x.en.hi` (hearing impaired); a word of a title is none."""
    parts = [part for part in stem.split(".")[1:][-3:] if part.lower() not in _FLAGS]
    codes = [_code_in(part) for part in parts]
    if parts and parts[-1].lower() == "hi" and len(codes) > 1 and codes[-2]:
        return codes[-2]
    return codes[-1] if codes else None


def _code_in(part: str) -> str | None:
    code = short_code(part)
    base = part.replace("_", "-").split("-")[0]
    return code if code and len(code.split("-")[0]) == 2 and (base.islower() or base.isupper()) else None
