"""What is seen of every frame at a glance: a thumbnail, its contrast, how much changed since the frame before.

This runs for each decoded frame, so it reads the decoder's own planes: no conversion, no full-size pass. A thumbnail
has one size whatever the frame's, so that frames compare when a film changes its size midway.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import ColorRange

from storystream_builder.decoding.pictures import Pixels, converted, is_full_range, samples_shift, view

LUMA_SIZE = (64, 36)
"""Width and height."""
CHROMA_SIZE = (32, 18)
_LIMITED = 255 / 219, 255 / 224
"""Most video keeps luma in 219 and colour differences in 224 of 255 steps."""
_NOTHING = 1.0
"""Variance that pictures without any structure still have, so that two of them are not compared by their noise."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One frame at a glance; all measures are on the scale of 0-255."""

    pts: int
    luma: Pixels
    """(36, 64)."""
    colour: tuple[Pixels, Pixels]
    """Blue and red difference, (18, 32) each."""
    scale: tuple[float, float]
    """What luma and colour are multiplied with to span 0-255."""
    contrast: float
    """Standard deviation of the luma."""
    luma_change: float
    """Mean absolute change of the luma since the frame before; 0 for the first."""
    change: float
    """The same for luma and both colour differences in sum."""


def glimpse(pts: int, frame: Any, before: Glimpse | None) -> Glimpse:  # noqa: ANN401 - PyAV has no types
    """Look at a frame."""
    scale = (1.0, 1.0) if is_full_range(frame) else _LIMITED
    shift = samples_shift(frame)
    if shift is None:
        frame, scale, shift = _converted(frame), _LIMITED, 0
    luma, blue, red = _planes(frame, shift)
    contrast = cv2.meanStdDev(luma)[1].item() * scale[0]
    seen = Glimpse(pts, luma, (blue, red), scale, contrast, 0.0, 0.0)
    if before is None:
        return seen
    lighter, change = _changes(before, seen)
    return Glimpse(pts, luma, (blue, red), scale, contrast, lighter, change)


def change_between(one: Glimpse, other: Glimpse) -> float:
    """Mean absolute difference of two frames: luma and both colour differences in sum (0-765)."""
    return _changes(one, other)[1]


def unlikeness(one: Glimpse, other: Glimpse) -> float:
    """Say how little two frames have in common: 0 the same picture in any light, 1 nothing, at most 2.

    One minus the correlation of luma and colour over the picture: a lamp or an encoder changes values, a cut changes
    what is where.
    """
    covariance = variance_one = variance_other = 0.0
    pairs = ((one.luma, other.luma), (one.colour[0], other.colour[0]), (one.colour[1], other.colour[1]))
    for pair in pairs:
        a, b = (values.ravel().astype(np.float32) for values in pair)
        a -= a.mean()
        b -= b.mean()
        covariance += float(a @ b) / a.size
        variance_one += float(a @ a) / a.size
        variance_other += float(b @ b) / a.size
    return 1 - covariance / math.sqrt((variance_one + _NOTHING) * (variance_other + _NOTHING))


def as_picture(seen: Glimpse) -> Pixels:
    """Make the thumbnail a picture: (36, 64, 3) blue, green, red."""
    luma = seen.luma.astype(np.float32)
    blue, red = (cv2.resize(colour, LUMA_SIZE).astype(np.float32) for colour in seen.colour)
    if seen.scale[0] != 1:
        luma = (luma - 16) * seen.scale[0]
        blue, red = ((colour - 128) * seen.scale[1] + 128 for colour in (blue, red))
    ycc = cv2.merge([luma, red, blue]).clip(0, 255).round().astype(np.uint8)
    return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2BGR), np.uint8)


def _changes(one: Glimpse, other: Glimpse) -> tuple[float, float]:
    """Give the mean absolute difference of the luma alone and of all three planes."""
    luma = cv2.norm(one.luma, other.luma, cv2.NORM_L1) / one.luma.size * other.scale[0]
    blue = cv2.norm(one.colour[0], other.colour[0], cv2.NORM_L1)
    red = cv2.norm(one.colour[1], other.colour[1], cv2.NORM_L1)
    return luma, luma + (blue + red) / one.colour[0].size * other.scale[1]


def _planes(frame: Any, shift: int) -> tuple[Pixels, Pixels, Pixels]:  # noqa: ANN401 - PyAV has no types
    """Shrink luma, blue and red difference."""
    planes = frame.planes
    name = frame.format.name
    luma = _small(view(planes[0], name), LUMA_SIZE, shift)
    if len(planes) == 1:
        grey = np.full(CHROMA_SIZE[::-1], 128, np.uint8)
        return luma, grey, grey
    if len(planes) == 2:
        pairs = view(planes[1], name, pairs=True)
        both = cv2.resize(pairs.reshape(pairs.shape[0], -1, 2), CHROMA_SIZE)
        return luma, *cv2.split(both)
    blue, red = (_small(view(one, name), CHROMA_SIZE, shift) for one in planes[1:3])
    return luma, blue, red


def _converted(frame: Any) -> Any:  # noqa: ANN401 - PyAV has no types
    width, height = LUMA_SIZE
    target = {"width": width, "height": height, "format": "yuv420p", "interpolation": "FAST_BILINEAR"}
    return converted(frame, **target, dst_color_range=ColorRange.MPEG)


def _small(values: Any, size: tuple[int, int], shift: int) -> Pixels:  # noqa: ANN401 - 8 or 16 bits
    small = cv2.resize(values, size)
    return np.asarray(small if shift == 0 else (small >> shift).astype(np.uint8), np.uint8)
