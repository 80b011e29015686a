"""The frames of a video that can be trusted, in time order; what cannot is counted and left out.

Times are integers in the stream's time base, from the first frame on: no frame numbers, which variable frame rates and
damaged files make meaningless.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from storystream_builder.children import met_memory_limit
from storystream_builder.records import DecodeKey, EpisodeRecord
from storystream_builder.videos import OpenVideo, SourceError

_USUAL_RATE = 25
_OF_THIS_MACHINE = (av.error.MemoryError, av.error.BlockingIOError)
"""No memory, or none for the decoder's threads: they say nothing of the video."""


@dataclass
class Tally:
    """What was read so far; times in the stream's time base from its start."""

    frames: int = 0
    corrupt: int = 0
    first: int | None = None
    """What the file calls the time of the first frame."""
    end: int = 0
    decoder_seconds: float = 0.0


def frame_rate_of(video: OpenVideo) -> Fraction:
    """Give the average number of frames a second, or a usual one where the file claims none."""
    return Fraction(video.stream.average_rate or video.stream.guessed_rate or _USUAL_RATE)


def sound_frames(video: OpenVideo, tally: Tally, key: DecodeKey) -> Iterator[tuple[int, Any]]:
    """Yield (timestamp from the start, frame) for sound frames; corrupt ones are counted and left out.

    After a packet that cannot be decoded nothing is trusted until the next key frame.

    Raises:
        SourceError: a frame is larger, or the video is longer, than allowed.
    """
    duration, latest = _frame_duration(video), key.max_duration_s / Fraction(video.stream.time_base)
    last, trusted = -1, True
    for decoded in _decoded(video, tally):
        if decoded is None:
            trusted = False
            continue
        for frame in decoded:
            tally.frames += 1
            trusted = (trusted or frame.key_frame) and not frame.is_corrupt
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None:
                stamp = (tally.first or 0) + last + duration
            tally.first = stamp if tally.first is None else tally.first
            pts = stamp - tally.first
            _check_limits(frame, pts, latest, key)
            if not trusted or pts <= last:
                tally.corrupt += 1
                continue
            last, tally.end = pts, pts + duration
            yield pts, frame


def check_losses(video: OpenVideo, record: EpisodeRecord, tally: Tally, key: DecodeKey) -> None:
    """Fill the record's counts; refuse a video of which too much is corrupt or missing, note a smaller loss.

    Raises:
        SourceError: corrupt, truncated, or without a single sound frame.
        MemoryError: frames were lost for want of memory.
    """
    if tally.corrupt and met_memory_limit():
        raise MemoryError("the decoder got no more memory (build.decode.max_memory_gb)")
    decoded_s = float(tally.end * Fraction(video.stream.time_base))
    record.num_frames, record.num_corrupt = tally.frames, tally.corrupt
    record.duration_ms = round(1000 * decoded_s)
    corrupt = tally.corrupt / max(1, tally.frames)
    if tally.end == 0 or corrupt > key.max_corrupt_ratio:
        raise SourceError("corrupt", f"{tally.corrupt} of {tally.frames} frames cannot be trusted")
    late_s = max(0.0, float((tally.first or 0) * Fraction(video.stream.time_base)))
    claimed_s = max((video.duration_s or 0.0) - late_s, decoded_s)
    missing = 1 - decoded_s / claimed_s
    lost = f"{decoded_s:.1f} of {claimed_s:.1f} s could be decoded"
    if missing > key.max_corrupt_ratio:
        raise SourceError("truncated", lost)
    if missing > 0.02:
        record.note = f"truncated: {lost}; these are used"
    elif tally.corrupt:
        record.note = f"corrupt: {tally.corrupt} of {tally.frames} frames; the others are used"


def _decoded(video: OpenVideo, tally: Tally) -> Iterator[list[Any] | None]:
    """Yield the frames of each packet, none for one that cannot be decoded; a container that breaks off ends them."""
    packets = video.container.demux(video.stream)
    while True:
        started = time.perf_counter()
        try:
            packet = next(packets)
        except StopIteration:
            return
        except _OF_THIS_MACHINE:
            raise
        except av.error.FFmpegError:
            tally.corrupt += 1
            return
        try:
            frames = packet.decode()
        except _OF_THIS_MACHINE:
            raise
        except av.error.FFmpegError:
            tally.corrupt += 1
            tally.frames += 1
            frames = None
        tally.decoder_seconds += time.perf_counter() - started
        yield frames


def _check_limits(frame: Any, pts: int, latest: float, key: DecodeKey) -> None:  # noqa: ANN401 - PyAV has no types
    if frame.width * frame.height > key.max_pixels:
        raise SourceError("too large", f"a frame of {frame.width}x{frame.height}")
    if pts > latest:
        raise SourceError("too long", f"over {key.max_duration_s} s (build.decode.max_duration_s)")


def _frame_duration(video: OpenVideo) -> int:
    return max(1, round(1 / frame_rate_of(video) / Fraction(video.stream.time_base)))
