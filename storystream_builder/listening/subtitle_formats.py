"""SubRip, WebVTT and SubStation text -> timed cues; their markup -> plain words.

Written here and not left to a library, for two reasons: one broken field must cost one line and not the file, and every
pattern must be linear, for a file may hold anything. All three formats are told apart by what they hold: a `.srt` file
is often none.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

MAX_CUES = 100_000
"""More are not spoken in any film; the rest of the file is left unread."""
_MAX_MARKUP = 4000
"""Longest cue in characters before its markup is stripped; what is longer is a drawing or junk."""
_ROLL_GAP_MS = 100
_MAX_ROLLED = 4
_TIME = r"(-?)(?:(\d{1,9}):)?(\d{1,2}):(\d{1,2})(?:[.,:](\d{1,6}))?"
_TIMING = re.compile(
    rf"^[ \t]*(?:\d{{1,9}}[ \t]+)?{_TIME}[ \t]*(?:--?[ \t]?>|\u2192)[ \t]*{_TIME}(?![\d:.,])[^\n]*$", re.MULTILINE
)
_ONE_TIME = re.compile(rf"\s*{_TIME}\s*\Z")
_EVENT = re.compile(
    r"^[ \t]*(?:\[([^\]\n]{1,40})\]|(format|dialogue)[ \t]*:[ \t]*([^\n]*))", re.MULTILINE | re.IGNORECASE
)
_IS_SUBSTATION = re.compile(
    r"^[ \t]*(?:\[(?:script info|events)\][ \t]*$|dialogue[ \t]*:[^,\n]{0,20},[ \t]*\d+:\d)",
    re.MULTILINE | re.IGNORECASE,
)
_NUMBER_ABOVE_TIMING = re.compile(r"\n[ \t]*\d{1,9}[ \t]*\n\Z")
_SUBSTATION_FIELDS = "layer, start, end, style, name, marginl, marginr, marginv, effect, text".split(", ")  # noqa: SIM905
_EFFECTS = ("fx", "code", "template")
"""Karaoke tools mark by these what they made of a line: a syllable a row."""

_TAGS = re.compile(r"<rt[^<>]*>[^<]*</rt>|<[^<>]*>")
_OVERRIDES = re.compile(r"(\{[^{}]*\})")
_DRAWING = re.compile(r"\\p(\d{1,3})")
_ESCAPES = re.compile(r"\\[Nnh]")
_SUBRIP_BRACES = re.compile(r"\{(?:\\|[a-zA-Z]:)")
_UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\uffff]")


@dataclass(frozen=True)
class Cue:
    """What a subtitle file says about one line; times as they stand, in milliseconds, and words without markup."""

    start_ms: int | None
    """None where it cannot be read."""
    end_ms: int | None
    text: str


@dataclass(frozen=True)
class _Block:
    """What is on the screen at once, line by line."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def read_cues(text: str) -> Iterator[Cue]:
    """Read the cues of a subtitle file in the order in which they stand, whichever of the three formats it has."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _IS_SUBSTATION.search(text[: 1 << 16]):
        return _substation(text)
    return _timed_blocks(text, is_vtt=text[:100].lstrip("\ufeff \t\n").startswith("WEBVTT"))


def plain(markup: str, *, is_substation: bool = False) -> str:
    """Strip markup, drawings and what cannot be seen, and put the words on one line; nothing is left of junk."""
    if len(markup) > _MAX_MARKUP:
        return ""
    words = _ESCAPES.sub(" ", _without_braces(markup, is_substation))
    words = _UNSEEN.sub("", html.unescape(_TAGS.sub("", words)))
    return unicodedata.normalize("NFC", " ".join(words.split()))


def substation_words(fields: Sequence[str]) -> str:
    """Find the words among a SubStation event's effect and text; none where it is an effect's by-product."""
    effect, markup = fields
    return "" if effect.strip().lower().startswith(_EFFECTS) else plain(markup, is_substation=True)


def _without_braces(markup: str, is_substation: bool) -> str:
    """Drop override blocks, and what is drawn instead of written; SubRip's own braces stay, they are words there."""
    kept, is_drawing = [], False
    for part in _OVERRIDES.split(markup):
        if not (part.startswith("{") and part.endswith("}")):
            kept.append("" if is_drawing else part)
        elif is_substation or _SUBRIP_BRACES.match(part):
            scales = _DRAWING.findall(part)
            is_drawing = int(scales[-1]) > 0 if scales else is_drawing
        else:
            kept.append(part)
    return "".join(kept)


def _timed_blocks(text: str, *, is_vtt: bool) -> Iterator[Cue]:
    """Read SubRip or WebVTT: a timing, and the words until a blank line (WebVTT) or the next number (SubRip)."""
    timings = list(islice(_TIMING.finditer(text), MAX_CUES + 1))
    blocks = []
    for timing, following in pairwise([*timings, None]):
        assert timing is not None
        end = following.start() if following else len(text)
        body = text[timing.end() : min(end, timing.end() + 2 * _MAX_MARKUP)]
        body = body.split("\n\n", 1)[0] if is_vtt else _NUMBER_ABOVE_TIMING.sub("\n", body)
        shown = [plain(line) for line in body.split("\n")] if len(body) <= _MAX_MARKUP else []
        start_ms, end_ms = _milliseconds(timing.groups()[:5]), _milliseconds(timing.groups()[5:])
        blocks.append(_Block(start_ms, end_ms, tuple(line for line in shown if line)))
    return _unrolled(blocks[:MAX_CUES])


def _unrolled(blocks: Sequence[_Block]) -> Iterator[Cue]:
    """Say each line of rolling captions once; live and automatic ones show a line again above the next one.

    Only where most of a file does so: elsewhere a line that is repeated is spoken twice. What says nothing new is
    given as the cue before it once more, so that it is counted as a repetition.
    """
    known = [_num_shown_before(before, after) for before, after in pairwise([_Block(0, 0, ()), *blocks])]
    is_rolling = len(blocks) > 2 and 2 * sum(map(bool, known)) > len(blocks)
    said: Cue | None = None
    for block, num_known in zip(blocks, known, strict=True):
        lines = block.lines[num_known:] if is_rolling else block.lines
        if lines or said is None or not num_known:
            said = Cue(block.start_ms, block.end_ms, " ".join(lines))
        yield said


def _num_shown_before(before: _Block, after: _Block) -> int:
    """Count the first lines of a block that the one before it, which it follows at once, ended with."""
    if not before.start_ms <= after.start_ms <= before.end_ms + _ROLL_GAP_MS:
        return 0
    counts = range(min(len(before.lines), len(after.lines), _MAX_ROLLED), 0, -1)
    return next((n for n in counts if before.lines[-n:] == after.lines[:n]), 0)


def _substation(text: str) -> Iterator[Cue]:
    """Read the dialogue of a SubStation file; `Format` says in which order an event's fields stand."""
    fields, section = _SUBSTATION_FIELDS, "events"
    events = 0
    for found in _EVENT.finditer(text):
        heading, kind, rest = found.groups()
        if heading:
            section = heading.strip().lower()
        elif section == "events" and kind.lower() == "format":
            named = [name.strip().lower() for name in rest[:1000].split(",")]
            fields = named if {"start", "end", "text"} <= set(named) else _SUBSTATION_FIELDS
        elif section == "events" and events < MAX_CUES:
            events += 1
            yield _substation_event(fields, rest)


def _substation_event(fields: Sequence[str], rest: str) -> Cue:
    values = dict(zip(fields, rest[: 2 * _MAX_MARKUP].split(",", len(fields) - 1), strict=False))
    start, end = (_ONE_TIME.match(values.get(name, "")[:40]) for name in ("start", "end"))
    return Cue(
        _milliseconds(start.groups()) if start else None,
        _milliseconds(end.groups()) if end else None,
        substation_words([values.get("effect", ""), values.get("text", "")]),
    )


def _milliseconds(groups: Sequence[str | None]) -> int:
    sign, *numbers = groups
    hours, minutes, seconds, fraction = (number or "0" for number in numbers)
    total = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0")[:3])
    return -total if sign else total
