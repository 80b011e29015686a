"""Find videos, name them by their content, open them within limits.

An episode's identity is the sha256 of its file, never its name: two folders may both hold `01.mp4`. User paths reach
ffmpeg only as open file objects, so that no file name is too strange; ffmpeg is told which containers it may read, so
that a playlist dressed up as a video cannot make it open other files.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import quote

import av
from av.stream import Disposition

from story_model.manifest import sha256_of

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .m2ts .mts .wmv .flv .ogv .3gp".split()  # noqa: SIM905
)
SUBTITLE_SUFFIXES = (".srt", ".vtt", ".ass", ".ssa")
CONTAINERS = "mov,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"

Fault = Literal[
    "unreadable", "truncated", "empty", "no video stream", "too large", "too long", "corrupt", "crashed", "timed out"
]


class SourceError(ValueError):
    """A video that cannot be used; `fault` says in which way."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(f"{fault}: {reason}")
        self.fault = fault


@dataclass(frozen=True)
class OpenVideo:
    """An opened container and the video stream that is read from it."""

    container: Any
    stream: Any

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return str(self.stream.codec_context.name)

    @property
    def duration_s(self) -> float | None:
        """Length that the file claims for the video, in seconds; none where it claims nothing."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        if self.container.duration:
            return float(self.container.duration / av.time_base)
        return None


def find_videos(videos: Path) -> list[Path]:
    """List the videos under a folder in a stable order; a single file stands for itself.

    A link that leads nowhere is listed too, so that it is told of and not overlooked.

    Raises:
        ValueError: there is no such place, or no video in it.
    """
    if videos.is_file():
        return [videos]
    if not videos.is_dir():
        raise ValueError(f"{videos} does not exist; name a video or a folder of videos")
    named = (path for path in videos.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    found = [path for path in named if path.is_file() or (path.is_symlink() and not path.exists())]
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(videos).parts)]
    if not visible:
        raise ValueError(f"no video in {videos}; looked for files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")
    return sorted(visible, key=os.fsencode)


def subtitles_of(video: Path, *, language: str | None = None) -> Path | None:
    """Find the subtitle file beside a video: `x.<language>.srt` where one is wanted, `x.srt`, else another language's.

    Of several kinds the first of `SUBTITLE_SUFFIXES` is taken; none without any.
    """
    beside = [path for path in video.parent.iterdir() if path.suffix.lower() in SUBTITLE_SUFFIXES and path.is_file()]
    others = [path.stem for path in video.parent.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    longer = [stem for stem in others if stem.startswith(f"{video.stem}.")]
    ours = [path for path in beside if _is_named_like(path, video.stem)]
    named = [path for path in ours if not any(_is_named_like(path, one) for one in longer)]

    def rank(path: Path) -> tuple[bool, bool, int, bytes]:
        parts = path.stem.removeprefix(video.stem).lower().split(".")
        kind = SUBTITLE_SUFFIXES.index(path.suffix.lower())
        return language is None or language.lower() not in parts, path.stem != video.stem, kind, os.fsencode(path)

    return min(named, key=rank, default=None)


def _is_named_like(path: Path, stem: str) -> bool:
    return path.stem == stem or path.stem.startswith(f"{stem}.")


def printable(name: str) -> str:
    """Write a file name as text: unchanged where it is UTF-8, else percent-encoded byte by byte."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return quote(os.fsencode(name), safe="/")
    return name


def content_id(video: Path) -> tuple[str, str]:
    """Name a video by its content: (episode id, sha256 of the file).

    Raises:
        SourceError: the file cannot be read, or is empty.
    """
    try:
        if video.stat().st_size == 0:
            raise SourceError("empty", "the file has no bytes")
        digest = sha256_of(video)
    except OSError as error:
        raise SourceError("unreadable", error.strerror or type(error).__name__) from None
    return f"e{digest[:12]}", digest


@contextmanager
def open_video(file: BinaryIO, *, threads: int, max_pixels: int, max_duration_s: float) -> Iterator[OpenVideo]:
    """Open a video for reading frame by frame.

    Raises:
        SourceError: not a video, cut short before its index, without moving pictures, or over a limit.
    """
    options = {"format_whitelist": CONTAINERS}
    try:
        container = av.open(file, metadata_errors="replace", container_options=options)
    except av.error.FFmpegError as error:
        file.seek(0)
        if file.read(12)[4:8] == b"ftyp":
            raise SourceError("truncated", "an MP4 without its index; the file was cut short") from None
        raise SourceError("unreadable", error.strerror or "not a video") from None
    with container:
        video = OpenVideo(container, _film(container))
        context = video.stream.codec_context
        if context is None:
            raise SourceError("unreadable", "its pictures are in a codec that nothing here decodes")
        if context.width * context.height > max_pixels:
            raise SourceError("too large", f"{context.width}x{context.height}; build.decode.max_pixels is {max_pixels}")
        if (video.duration_s or 0) > max_duration_s:
            raise SourceError("too long", f"{video.duration_s:.0f} s; build.decode.max_duration_s is {max_duration_s}")
        context.thread_type = "AUTO"
        context.thread_count = threads
        yield video


def _film(container: Any) -> Any:  # noqa: ANN401 - PyAV has no types
    """Choose the stream that ffmpeg thinks best; a cover picture is no film."""
    best = container.streams.best("video")
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not films:
        raise SourceError("no video stream", "the file holds sound or still pictures only")
    return best if best in films else films[0]
