"""Subtitle streams inside a video -> timed lines.

Only the container is read: packets of text are text already, so no decoder runs, and the pictures are skipped. For the
same reason pictures of subtitles (Blu-ray, DVD) are named in a note and not read.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from storystream_builder.decoding.containers import OpenContainer, open_container
from storystream_builder.listening.subtitle_formats import MAX_CUES, Cue, plain, substation_words
from storystream_builder.listening.text_encoding import decode_text
from storystream_builder.listening.transcripts import Transcript, gather, short_code

_SUBSTATION = frozenset({"ass", "ssa"})
_TEXT = frozenset({"srt", "subrip", "webvtt", "text", "mov_text"}) | _SUBSTATION
_MAX_BYTES = 16 << 20
_ASIDE = Disposition.forced | Disposition.comment
"""Streams that hold only signs, or what the makers say about the film."""
_SIXTEEN_BIT_MARKS = (b"\xfe\xff", b"\xff\xfe")


@dataclass
class _Track:
    """A text stream and what was read of it: (start ms, end ms, words as bytes)."""

    stream: Any
    codec: str
    language: str | None
    events: list[tuple[int, int, bytes]] = field(default_factory=list)

    def rank(self, wanted: str | None) -> tuple[bool, bool, bool, bool, bool]:
        """Order tracks, false first: in the wanted language, whole, the default, not for the hard of hearing."""
        marks = self.stream.disposition
        return (
            wanted is not None and self.language != wanted,
            wanted is not None and _primary(self.language) != _primary(wanted),
            bool(marks & _ASIDE),
            not marks & Disposition.default,
            bool(marks & Disposition.hearing_impaired),
        )


def read_embedded(video: Path | BinaryIO, *, language: str | None = None) -> Transcript | None:
    """Read the text subtitles inside a video; none where it holds no subtitle stream.

    The stream is the one in `language` (a code such as `de` or `ger`), else the default one, else the first; one
    without lines is passed over. Whatever is broken becomes a note, and what was read until then is kept.
    """
    try:
        with open_container(video) as opened:
            return _read(opened, short_code(language)) if opened.container.streams.subtitles else None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return Transcript(notes=(f"the video's own subtitles: {_reason(error)}",), source="embedded")


def _read(opened: OpenContainer, wanted: str | None) -> Transcript:
    tracks, notes = _tracks(opened.container)
    notes += _collect(opened, tracks)
    tracks.sort(key=lambda track: track.rank(wanted))
    found = next((track for track in tracks if track.events), None)
    if found is None:
        notes += ["the video's subtitle streams hold no text"] if tracks else []
        return Transcript(notes=tuple(notes), source="embedded")
    if wanted and _primary(found.language) != _primary(wanted):
        notes.append(
            f"the video has no subtitles in {wanted!r}; those in {found.language or 'no named language'!r} are read"
        )
    try:
        cues, more = _cues(found)
    except ValueError as error:
        return Transcript(notes=(*notes, f"the video's own subtitles: {error}"), source="embedded")
    return gather(cues, source="embedded", language=found.language, notes=[*notes, *more])


def _tracks(container: Any) -> tuple[list[_Track], list[str]]:  # noqa: ANN401 - PyAV has no types
    """List the text streams, and name the others in notes."""
    tracks, others = [], []
    for stream in container.streams.subtitles:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        if codec in _TEXT:
            tracks.append(_Track(stream, codec, short_code(stream.language)))
        else:
            others.append(codec)
    notes = [
        f"{others.count(codec)} subtitle streams of kind {codec} are no text; they were not read"
        for codec in sorted({*others})
    ]
    return tracks, notes


def _collect(opened: OpenContainer, tracks: Iterable[_Track]) -> list[str]:
    """Read all packets of the text streams in one pass; return notes on what stopped it."""
    by_index = {track.stream.index: track for track in tracks}
    if not by_index:
        return []
    streams = [track.stream for track in by_index.values()]
    opened.read_only(streams)
    start_ms, num_bytes = 1000 * opened.first_picture_s, 0
    try:
        for packet in opened.container.demux(streams):
            track = by_index[packet.stream.index]
            num_bytes += packet.size
            if num_bytes > _MAX_BYTES:
                return [f"subtitles after the first {_MAX_BYTES >> 20} MB were left out"]
            if packet.size and packet.pts is not None and len(track.events) < MAX_CUES:
                track.events += _event(packet, track.codec, start_ms)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return [f"the video's own subtitles break off: {_reason(error)}"]
    return []


def _event(packet: Any, codec: str, start_ms: float) -> list[tuple[int, int, bytes]]:  # noqa: ANN401 - PyAV has no types
    """Take a packet's times and words; MP4 fills the time between two lines with packets that have none."""
    words = bytes(packet)
    if codec == "mov_text":
        words = words[2 : 2 + int.from_bytes(words[:2], "big")]
    if not words.strip(b"\x00\r\n\t "):
        return []
    if words.startswith(_SIXTEEN_BIT_MARKS):
        words = words.decode("utf-16", "replace").encode("utf-8", "replace")
    start = 1000 * packet.pts * packet.time_base - start_ms
    return [(round(start), round(start + 1000 * (packet.duration or 0) * packet.time_base), words)]


def _cues(track: _Track) -> tuple[list[Cue], list[str]]:
    """Decode a track as one text, for a single line is too short to guess its encoding from.

    Raises:
        ValueError: the encoding is unknown.
    """
    packed = b"\n".join(b" ".join(words.replace(b"\x00", b"").splitlines()) for *_, words in track.events)
    text, notes = decode_text(packed, language=track.language)
    decoded = text.split("\n")
    if len(decoded) != len(track.events):
        raise ValueError("lines are broken in the middle of a letter")
    cues = [
        Cue(start, end, _words(words, track.codec))
        for (start, end, _), words in zip(track.events, decoded, strict=True)
    ]
    return cues, notes


def _words(markup: str, codec: str) -> str:
    """Strip markup; a SubStation packet has eight fields before its text, the last of them the effect."""
    if codec not in _SUBSTATION:
        return plain(markup)
    fields = markup.split(",", 8)
    return substation_words(fields[7:]) if len(fields) == 9 else ""


def _primary(language: str | None) -> str:
    return (language or "").split("-")[0]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
