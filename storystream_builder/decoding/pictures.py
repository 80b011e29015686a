"""What is computed from a frame that may stand for its shot: scores, an upright picture, its JPEG and perceptual hash.

Measured on the decoder's own planes where they hold luma: a colour conversion of whole frames would cost as much as
decoding.
"""

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from storystream_builder.decoding.text_coverage import text_coverage

Pixels = NDArray[np.uint8]

_SCORE_SIDE = 512
_MOST_CONVERTERS = 16
_LUMA_FIRST = frozenset(
    (
        *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuva420p", "yuva422p", "yuva444p"),
        *("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuvj411p", "nv12", "nv16", "nv24", "gray"),
    )
)
_LUMA_FIRST_16 = {
    f"{layout}{bits}le": bits - 8
    for layout in ("yuv420p", "yuv422p", "yuv444p", "yuva420p", "yuva422p", "yuva444p", "gray")
    for bits in (9, 10, 12, 14, 16)
}
"""Formats with more than eight bits a sample, and by how many."""
_TO_FULL_RANGE = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
"""Most video keeps luma in 16..235, where black is 16."""


@dataclass(frozen=True)
class Score:
    """How fit a frame is to be looked at."""

    sharpness: float
    """Variance of the luma's Laplacian."""
    luma: float
    """Mean, 0-255."""
    contrast: float
    """Standard deviation of the luma."""
    text: float
    """Share of the picture that lines of text cover."""


def measured_luma(frame: Any) -> Pixels:  # noqa: ANN401 - PyAV has no types
    """Give a frame's luma on the scale of 0-255, at most 512 pixels wide or high so that encodes compare."""
    full = is_full_range(frame)
    if samples_shift(frame) != 0:
        frame, full = converted(frame, format="yuv420p", dst_color_range=ColorRange.MPEG), False
    luma = _at_most(view(frame.planes[0], frame.format.name), _SCORE_SIDE)
    return luma if full else np.asarray(cv2.LUT(luma, _TO_FULL_RANGE), np.uint8)


def score(luma: Pixels) -> Score:
    """Measure a frame by its luma."""
    mean, deviation = cv2.meanStdDev(luma)
    edges = cv2.Laplacian(luma, cv2.CV_16S)
    sharpness = cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - cv2.mean(edges)[0] ** 2
    return Score(sharpness=sharpness, luma=mean.item(), contrast=deviation.item(), text=text_coverage(luma))


def upright(frame: Any, *, pixel_aspect: float, max_side: int) -> Pixels:  # noqa: ANN401 - PyAV has no types
    """Turn a frame into the picture a viewer sees: square pixels, rotated as the file asks, at most `max_side` long.

    Returns:
        (height, width, 3) blue, green, red.
    """
    width, height = frame.width * max(1.0, pixel_aspect), frame.height * max(1.0, 1 / pixel_aspect)
    scale = min(1.0, max_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size != (frame.width, frame.height) and samples_shift(frame) == 0:  # planes are smaller than colours
        shown = converted(frame, width=size[0], height=size[1], format=frame.format.name, interpolation="BICUBIC")
    else:
        shown = frame
    pixels = converted(shown, width=size[0], height=size[1], format="bgr24", interpolation="BICUBIC").to_ndarray()
    return turned(pixels, frame.rotation)


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Turn a picture counter-clockwise as its file asks, by right angles."""
    return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90) % 4))


def compress(picture: Pixels, quality: int) -> bytes:
    """Encode a picture (blue, green, red) as JPEG in full colour resolution: flat drawings show the loss otherwise."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])
    assert done, "OpenCV wrote no JPEG"
    return bytes(data.data)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """Encode a picture of Pillow's likewise."""
    return compress(cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR), quality)


def perceptual_hash(grey: Pixels) -> int:
    """Hash what a grey picture looks like: 64 bits, few of which differ between near-duplicates.

    The pHash of the library `imagehash` without loading SciPy into every decoding process: the lowest 8 x 8 frequencies
    of a 32 x 32 picture, each compared with their median. Large pictures are averaged to about a hundred pixels first,
    which takes a tenth of the time and moves a bit or two.
    """
    small = Image.fromarray(grey).resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=3.0)
    low = cv2.dct(np.asarray(small, np.float64))[:8, :8]
    low[0] *= np.sqrt(2)
    low[:, 0] *= np.sqrt(2)
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes(), "big")


class _Converters(threading.local):
    """This thread's ffmpeg converters by what they make; preparing one takes longer than converting a frame."""

    def __init__(self) -> None:
        self.by_target: dict[tuple[tuple[str, object], ...], VideoReformatter] = {}


_converters = _Converters()


def converted(frame: Any, **target: Any) -> Any:  # noqa: ANN401 - PyAV has no types
    """Convert a frame: `format`, `width`, `height`, as PyAV's `reformat` takes them.

    In this thread: starting ffmpeg's own takes ten times as long as converting one frame.
    """
    known = _converters.by_target
    key = tuple(target.items())
    if key not in known:
        if len(known) >= _MOST_CONVERTERS:  # a film whose frames change their size without end
            known.clear()
        known[key] = VideoReformatter()
    return known[key].reformat(frame, **target, threads=1)


def samples_shift(frame: Any) -> int | None:  # noqa: ANN401 - PyAV has no types
    """Tell by how many bits a frame's samples exceed eight; none where its planes cannot be read as they lie."""
    name = frame.format.name
    shift = 0 if name in _LUMA_FIRST else _LUMA_FIRST_16.get(name)
    is_upside_down = shift is not None and frame.planes[0].line_size < 0
    return None if is_upside_down else shift


def view(plane: Any, name: str, *, pairs: bool = False) -> NDArray[Any]:  # noqa: ANN401 - PyAV has no types
    """View one plane of a frame of the format `name` without copying; the format must be one `samples_shift` knows.

    Returns:
        (height, width) of 8 or 16 bits; of `pairs` of colours (height, 2 width).
    """
    samples = np.frombuffer(plane, np.uint16 if name in _LUMA_FIRST_16 else np.uint8)
    rows = samples.reshape(-1, plane.line_size // samples.itemsize)
    return rows[: plane.height, : plane.width * (2 if pairs else 1)]


def is_full_range(frame: Any) -> bool:  # noqa: ANN401 - PyAV has no types
    """Tell whether a frame's luma spans 0-255, not 16-235."""
    return frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG


def _at_most(luma: Pixels, side: int) -> Pixels:
    """Shrink a picture to at most `side` pixels wide and high, without leaving any pixel out."""
    while max(luma.shape) >= 2 * side:
        luma = np.asarray(cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    scale = side / max(luma.shape)
    return np.asarray(cv2.resize(luma, None, fx=scale, fy=scale), np.uint8) if scale < 1 else luma
