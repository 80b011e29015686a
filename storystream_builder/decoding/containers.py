"""Open a video for what lies beside its pictures: subtitles and sound, on the clock that the pictures set."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.stream import Discard, Disposition

from storystream_builder.videos import CONTAINERS

_MAX_LOOKED_AT = 200
"""Packets of pictures among which there is one that says its time; else the clock starts at zero."""


@dataclass(frozen=True)
class OpenContainer:
    """An opened container of which nothing was read yet."""

    container: Any
    first_picture_s: float
    """When the first picture is shown, by the container's own clock; zero in a file without pictures."""

    def read_only(self, streams: list[Any]) -> None:
        """Skip the packets of all other streams unread."""
        wanted = {stream.index for stream in streams}
        for stream in self.container.streams:
            stream.discard = Discard.default if stream.index in wanted else Discard.all


@contextmanager
def open_container(video: Path | BinaryIO) -> Iterator[OpenContainer]:
    """Open a video's container; an open file is read from its start. The container must be one of those we read.

    Raises:
        ValueError: the file cannot be read, or is no video.
    """
    if isinstance(video, Path):
        try:
            file = video.open("rb")
        except OSError as error:
            raise ValueError(f"the video cannot be read: {error.strerror}") from None
        with file, open_container(file) as opened:
            yield opened
        return
    try:
        with _open(video) as container:
            first_picture_s = _first_picture_s(container)
        container = _open(video)
    except av.error.FFmpegError as error:
        raise ValueError(f"the video cannot be read: {error.strerror or 'not a video'}") from None
    with container:
        yield OpenContainer(container, first_picture_s)


def _open(file: BinaryIO) -> Any:  # noqa: ANN401 - PyAV has no types
    file.seek(0)
    return av.open(file, metadata_errors="replace", container_options={"format_whitelist": CONTAINERS})


def _first_picture_s(container: Any) -> float:  # noqa: ANN401 - PyAV has no types
    """Ask the first packet: what a stream says of its start is the container's start in some formats."""
    best = container.streams.best("video") if container.streams.video else None
    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not films:
        return 0.0
    film: Any = best if best in films else films[0]
    for stream in container.streams:
        stream.discard = Discard.default if stream.index == film.index else Discard.all
    for number, packet in enumerate(container.demux(film)):
        if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
            return float(packet.pts * packet.time_base)
        if number >= _MAX_LOOKED_AT:
            break
    return 0.0
