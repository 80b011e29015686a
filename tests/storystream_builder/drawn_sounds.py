"""Small files with sound in them, made on the spot."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 8000


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> np.ndarray:
    """A tone at half of full loudness: (samples,)."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(
    path: Path,
    pieces: Mapping[float, np.ndarray],
    *,
    rate: int = RATE,
    language: str | None = None,
    film_from_s: float = -1,
) -> Path:
    """Write pieces of sound, each from its second on, into a Matroska file, beside a picture where asked for."""
    with path.open("wb") as file, av.open(file, "w", format="matroska") as out:
        film = out.add_stream("libx264", rate=10) if film_from_s >= 0 else None
        stream = out.add_stream("pcm_s16le", rate=rate, layout="mono")
        if language:
            stream.metadata["language"] = language
        if film:
            film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            frame.pts, frame.time_base = round(10 * film_from_s), Fraction(1, 10)
            out.mux([*film.encode(frame), *film.encode()])
        for start_s, samples in pieces.items():
            for at in range(0, len(samples), rate // 10):
                part = (samples[at : at + rate // 10] * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(part[None], "s16", "mono")
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(start_s * rate) + at
                out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
