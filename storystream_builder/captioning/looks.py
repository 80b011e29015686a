"""What can be said of a picture by measuring it: its light, its colours by name, how much moves, when it comes.

The captions of last resort: true of the frame, but they know no names and see no objects.
"""

import io

import cv2
import numpy as np
from PIL import Image

_SIDE = 48
_MIN_SHARE = 0.12
_MAX_COLOURS = 3
_HUES = ((8, "red"), (22, "orange"), (34, "yellow"), (80, "green"), (97, "teal"), (128, "blue"), (150, "purple"))
"""Upper bounds in OpenCV's hue of 0-179; what lies above is pink, then red again."""
_PINK_ENDS = 172
_LIGHTS = ((50.0, "dark"), (100.0, "dim"), (170.0, "clear"))
_MOTIONS = ((8.0, "no movement"), (60.0, "little movement"), (200.0, "movement"))


def describe(image: bytes, *, luma: float, motion: float, at_ms: int) -> str:
    """Describe a frame in one sentence; `luma` is 0-255, `motion` as shots record it."""
    light = next((name for bound, name in _LIGHTS if luma < bound), "bright")
    movement = next((name for bound, name in _MOTIONS if motion < bound), "fast movement")
    minutes, seconds = divmod(at_ms // 1000, 60)
    mostly = _listed(dominant_colours(image))
    return f"A {light} picture, mostly {mostly}, with {movement}, {minutes}:{seconds:02d} into the episode."


def dominant_colours(image: bytes) -> list[str]:
    """Name the colours that cover most of a picture, the largest first."""
    with Image.open(io.BytesIO(image)) as picture:
        picture.draft("RGB", (_SIDE, _SIDE))
        pixels = np.asarray(picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX))
    names, counts = np.unique(_names(pixels), return_counts=True)
    order = sorted(zip(-counts, names, strict=True))
    large = [str(name) for count, name in order if -count >= _MIN_SHARE * _SIDE * _SIDE]
    return (large or [str(order[0][1])])[:_MAX_COLOURS]


def _names(pixels: np.ndarray) -> np.ndarray:
    """Name each pixel's colour: (height, width, 3) RGB to (height, width) words."""
    hue, saturation, value = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV).astype(int), -1, 0)
    hues = [hue <= bound for bound, _ in _HUES] + [hue <= _PINK_ENDS]
    named = np.select(hues, [name for _, name in _HUES] + ["pink"], "red")
    named = np.where((named == "orange") & (value < 150), "brown", named)
    grey = np.select([value < 60, value > 200], ["black", "white"], "grey")
    return np.where((saturation < 45) | (value < 45), grey, named)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
