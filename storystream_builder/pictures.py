"""What is computed from one decoded frame: a thumbnail, scores, an upright picture, its JPEG and perceptual hash.

The thumbnail is cut from the decoder's own planes: a colour conversion of whole frames would cost as much as decoding.
"""

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from PIL import Image

from storystream_builder.text_coverage import text_coverage

Pixels = NDArray[np.uint8]

_THUMBNAIL_WIDTH = 128
_SCORE_SIDE = 512
_PLANAR_8_BIT = frozenset("yuv420p yuvj420p yuv422p yuvj422p yuv444p yuvj444p yuv440p yuv411p yuv410p".split())  # noqa: SIM905
_LUMA_FIRST = _PLANAR_8_BIT | {"nv12", "nv21"}
_TO_FULL_RANGE = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
"""Most video keeps luma in 16..235, where black is 16."""


@dataclass(frozen=True)
class Score:
    """How fit a frame is to be looked at."""

    sharpness: float
    """Variance of the luma's Laplacian, at most 512 pixels wide or high so that encodes compare."""
    luma: float
    """Mean, 0-255."""
    contrast: float
    """Standard deviation of the luma."""
    text: float
    """Share of the picture that lines of text cover."""


def thumbnail(frame: Any) -> Pixels:  # noqa: ANN401 - PyAV has no types
    """Shrink a frame to 128 pixels' width: (height, 128, 3) luma, red and blue difference."""
    size = (_THUMBNAIL_WIDTH, max(2, round(_THUMBNAIL_WIDTH * frame.height / frame.width)))
    full = _is_full_range(frame)
    if frame.format.name not in _PLANAR_8_BIT:
        frame = frame.reformat(width=size[0], height=size[1], format="yuv444p", interpolation="FAST_BILINEAR")
    luma, blue, red = (cv2.resize(_plane(frame, index), size) for index in range(3))
    return np.asarray(cv2.merge([luma if full else cv2.LUT(luma, _TO_FULL_RANGE), red, blue]), np.uint8)


def score(frame: Any) -> Score:  # noqa: ANN401 - PyAV has no types
    """Measure a frame on its luma."""
    full = _is_full_range(frame)
    luma = _plane(frame if frame.format.name in _LUMA_FIRST else frame.reformat(format="yuv420p"), 0)
    scale = _SCORE_SIDE / max(luma.shape)
    if scale < 1:
        luma = np.asarray(cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    if not full:
        luma = np.asarray(cv2.LUT(luma, _TO_FULL_RANGE), np.uint8)
    mean, deviation = cv2.meanStdDev(luma)
    sharpness = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_32F))[1].item() ** 2
    return Score(sharpness=sharpness, luma=mean.item(), contrast=deviation.item(), text=text_coverage(luma))


def upright(frame: Any, *, pixel_aspect: float, max_side: int) -> Image.Image:  # noqa: ANN401 - PyAV has no types
    """Turn a frame into the picture a viewer sees: square pixels, rotated as the file asks, at most `max_side` long."""
    width, height = frame.width * max(1.0, pixel_aspect), frame.height * max(1.0, 1 / pixel_aspect)
    scale = min(1.0, max_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1], interpolation="BICUBIC")
    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4)))


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Encode a picture with full colour resolution: flat drawings show the loss otherwise."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality, subsampling=0)
    return data.getvalue()


def perceptual_hash(picture: Image.Image) -> int:
    """Hash what a picture looks like: 64 bits, few of which differ between near-duplicates.

    The pHash of the library `imagehash`, bit for bit, without loading SciPy into every decoding process: the lowest
    8 x 8 frequencies of a 32 x 32 grey picture, each compared with their median.
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    low = cv2.dct(grey)[:8, :8]
    low[0] *= np.sqrt(2)
    low[:, 0] *= np.sqrt(2)
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


def _plane(frame: Any, index: int) -> Pixels:  # noqa: ANN401 - PyAV has no types
    plane = frame.planes[index]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _is_full_range(frame: Any) -> bool:  # noqa: ANN401 - PyAV has no types
    return frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
