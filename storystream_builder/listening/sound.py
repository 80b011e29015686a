"""The sound of a video, as a recognizer wants it: 16,000 mono samples a second, in blocks, never the whole of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt

from storystream_builder.decoding.containers import OpenContainer, open_container
from storystream_builder.listening.transcripts import short_code

SAMPLE_RATE = 16_000
_MAX_HOURS = 100
_MAX_GAP_S = 0.1
"""Where two frames of sound lie further apart a new piece begins, so that times stay true."""

_RATES = range(4_000, 768_001)
"""Samples a second that a recording may have: a broken file may claim one, and a minute would become gigabytes."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """A stretch of sound; samples (n,) from -1 to 1."""

    start_s: float
    """From the first picture of the video."""
    samples: Samples

    @property
    def end_s(self) -> float:
        """Where the next block begins, if it follows without a gap."""
        return self.start_s + len(self.samples) / SAMPLE_RATE


@dataclass
class Sound:
    """The sound of an open video. What was wrong with it stands in `notes` once it was read."""

    container: Any
    stream: Any
    language: str | None
    first_picture_s: float
    notes: list[str] = field(default_factory=list)

    def blocks(self) -> Iterator[Block]:
        """Decode the sound block by block; packets that are broken are counted and passed over."""
        resampler, shape, at_s = None, None, 0.0
        for frame in self._frames():
            shown_s = float(frame.pts * frame.time_base) - self.first_picture_s if frame.pts is not None else at_s
            as_before = shape == (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or not as_before or abs(shown_s - at_s) > _MAX_GAP_S:
                resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
                shape, at_s = (frame.format.name, frame.layout.name, frame.sample_rate), shown_s
            if at_s > _MAX_HOURS * 3600:
                self.notes.append(f"sound after {_MAX_HOURS} hours was left out")
                return
            frame.pts = None
            for piece in resampler.resample(frame):
                samples = np.nan_to_num(piece.to_ndarray().reshape(-1).astype(np.float32), posinf=0.0, neginf=0.0)
                block = Block(at_s, samples.clip(-1.0, 1.0))
                at_s = block.end_s
                yield block

    def _frames(self) -> Iterator[Any]:
        broken = 0
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
                sound = [frame for frame in frames if frame.sample_rate in _RATES]
                broken += len(sound) < len(frames)
                yield from sound
            except (StopIteration, av.error.EOFError):
                break
            except av.error.FFmpegError:
                broken += 1
        if broken:
            self.notes.append(f"{broken} broken packets of sound were left out")


@contextmanager
def open_sound(video: Path | BinaryIO, *, language: str | None = None) -> Iterator[Sound | None]:
    """Open the sound of a video: the stream in `language` where there is one, else the best; none without sound.

    Raises:
        ValueError: the video cannot be read.
    """
    with open_container(video) as opened:
        yield _sound(opened, language)


def _sound(opened: OpenContainer, language: str | None) -> Sound | None:
    container = opened.container
    wanted = (short_code(language) or "").split("-")[0]
    streams = [stream for stream in container.streams.audio if stream.codec_context]
    if not streams:
        return None
    spoken = {stream.index: short_code(stream.language) for stream in streams}
    in_language = [s for s in streams if wanted and (spoken[s.index] or "").split("-")[0] == wanted]
    best = container.streams.best("audio")
    chosen = in_language[0] if in_language else best if best in streams else streams[0]
    opened.read_only([chosen])
    chosen.thread_type = "AUTO"
    return Sound(container, chosen, spoken[chosen.index], opened.first_picture_s)
