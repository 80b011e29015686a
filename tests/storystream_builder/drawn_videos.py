"""Small videos made on the spot: scenes of coloured blocks with hard cuts, and whatever is to be wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

FPS = 10
WIDTH, HEIGHT = 160, 96


@dataclass(frozen=True)
class Scene:
    """A second (unless said otherwise) of one picture in which a small square moves."""

    seed: int
    seconds: float = 1.0
    light: float = 1.0
    """Factor on all pixels: 0 is black."""


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A sharp picture that looks like no other seed's."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (3, 5, 3), dtype=np.uint8), (20, 12), interpolation=cv2.INTER_NEAREST)
    fine = rng.integers(-25, 26, (12, 20, 3))
    blocks = np.clip(coarse.astype(int) + fine, 20, 235).astype(np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


def scenes(*seeds: int) -> list[Scene]:
    return [Scene(seed) for seed in seeds]


def draw_video(
    path: Path,
    parts: Sequence[Scene],
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    gap_after: dict[int, int] | None = None,
    sample_aspect: Fraction | None = None,
) -> Path:
    """Write a video; `gap_after` holds frame numbers after which so many ticks (of 1/FPS s) pass without a frame."""
    with path.open("wb") as file, av.open(file, "w", format=_format(path), options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=FPS, options=options or {"crf": "12", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        if sample_aspect:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        number = pts = 0
        for part in parts:
            still = picture(part.seed, *size)
            for step in range(round(part.seconds * FPS)):
                pixels = (still * part.light).astype(np.uint8)
                if part.light == 1.0:
                    pixels[4:12, 4 + 2 * step : 12 + 2 * step] = 255
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = pts, Fraction(1, FPS)
                out.mux(stream.encode(frame))
                pts += 1 + (gap_after or {}).get(number, 0)
                number += 1
        out.mux(stream.encode())
    return path


def draw_sound(path: Path) -> Path:
    """An MP4 with a second of silence and no picture."""
    with path.open("wb") as file, av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        for number in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 16000, 1000 * number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def write_srt(path: Path, lines: Sequence[tuple[float, float, str]], encoding: str = "utf-8") -> Path:
    """Write subtitles: (start, end, text), in seconds."""
    blocks = [f"{i}\n{_stamp(start)} --> {_stamp(end)}\n{text}\n" for i, (start, end, text) in enumerate(lines, 1)]
    path.write_bytes("\n".join(blocks).encode(encoding))
    return path


def _stamp(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{round(1000 * (seconds - whole)):03d}"


def _format(path: Path) -> str:
    return {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm", ".mov": "mov", ".avi": "avi"}[path.suffix]
