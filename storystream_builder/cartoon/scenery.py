"""The places of the cartoon as pictures: two-tone backdrops with one or two big props and a clear ground line.

Units: both axes run from 0 to 1 over the frame; `drift` (0 to 1) moves what may move, the clouds or the moon.
"""

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from storystream_builder.cartoon.world import Colour

SUPERSAMPLE = 2
Point = tuple[float, float]


def draw_place(name: str, *, width: int, height: int, drift: float = 0.0) -> Image.Image:
    """Draw a place without anyone in it, as an RGB image of width x height pixels."""
    big = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE))
    _PLACES[name](_Brush(big), drift)
    return big.resize((width, height), Image.Resampling.BOX)


class _Brush:
    """Flat shapes in shares of the frame."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image)
        self._width, self._height = image.size

    def band(self, top: float, bottom: float, colour: Colour) -> None:
        self.box(0, top, 1, bottom, colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, *, round_by: float = 0) -> None:
        area = (left * self._width, top * self._height, right * self._width, bottom * self._height)
        self._draw.rounded_rectangle(area, radius=round_by * self._height, fill=colour)

    def oval(self, centre: Point, radius: float, colour: Colour, *, wide: float = 1.0) -> None:
        """Draw an oval `radius` frame heights high, and `wide` times as wide as that."""
        x, y, r = centre[0] * self._width, centre[1] * self._height, radius * self._height
        self._draw.ellipse((x - r * wide, y - r, x + r * wide, y + r), fill=colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([(x * self._width, y * self._height) for x, y in points], fill=colour)

    def line(self, points: Sequence[Point], thickness: float, colour: Colour) -> None:
        pixels = [(x * self._width, y * self._height) for x, y in points]
        self._draw.line(pixels, fill=colour, width=round(thickness * self._height), joint="curve")

    def hill(self, start: float, end: float, top: float, colour: Colour) -> None:
        """Draw a hump that stands on the bottom of the frame."""
        curve = [(start + (end - start) * i / 40, 1 - (1 - top) * math.sin(math.pi * i / 40)) for i in range(41)]
        self.shape(curve, colour)

    def cloud(self, x: float, y: float, colour: Colour) -> None:
        for dx, dy, radius in ((-0.06, 0.01, 0.055), (0, -0.025, 0.08), (0.06, 0.01, 0.06)):
            self.oval((x + dx, y + dy), radius, colour)
        self.box(x - 0.09, y + 0.005, x + 0.09, y + 0.068, colour, round_by=0.03)


def _meadow(brush: _Brush, drift: float) -> None:
    brush.band(0, 1, (150, 216, 250))
    brush.band(0, 0.3, (128, 204, 248))
    brush.oval((0.88, 0.17), 0.12, (255, 226, 92))
    brush.cloud(0.36 + 0.3 * drift, 0.2, (255, 255, 255))
    brush.cloud(0.56 + 0.16 * drift, 0.11, (255, 255, 255))
    brush.hill(-0.3, 0.6, 0.48, (160, 222, 120))
    brush.hill(0.35, 1.4, 0.42, (146, 212, 108))
    brush.box(0.115, 0.40, 0.155, 0.74, (150, 96, 56))
    for x, y, radius in ((0.06, 0.34, 0.14), (0.21, 0.34, 0.14), (0.135, 0.22, 0.17), (0.135, 0.36, 0.12)):
        brush.oval((x, y), radius, (74, 170, 66))
    for x, y in ((0.05, 0.32), (0.13, 0.20), (0.21, 0.36), (0.15, 0.40), (0.20, 0.24)):
        brush.oval((x, y), 0.024, (236, 50, 50))
    brush.band(0.68, 1, (178, 232, 84))
    brush.band(0.68, 0.70, (140, 204, 70))
    for i, colour in enumerate(((255, 90, 110), (255, 255, 255), (255, 200, 40), (200, 120, 255)) * 4):
        x, y = (0.04 + i * 0.381) % 1.0, 0.75 + 0.07 * (i % 4)
        brush.line([(x, y), (x, y + 0.05)], 0.012, (70, 150, 50))
        for dx, dy in ((-0.012, 0), (0.012, 0), (0, -0.02), (0, 0.02)):
            brush.oval((x + dx, y + dy), 0.017, colour)
        brush.oval((x, y), 0.014, (255, 240, 150))


def _beach(brush: _Brush, drift: float) -> None:
    brush.band(0, 1, (255, 236, 196))
    brush.band(0, 0.2, (255, 226, 176))
    brush.oval((0.20, 0.40), 0.17, (255, 150, 90))
    brush.cloud(0.35 + 0.3 * drift, 0.13, (255, 248, 236))
    brush.band(0.42, 0.72, (20, 190, 196))
    brush.band(0.42, 0.50, (12, 160, 180))
    for i in range(9):
        brush.box(0.02 + (i * 0.37) % 0.9, 0.53 + 0.02 * i, 0.12 + (i * 0.37) % 0.9, 0.542 + 0.02 * i, (180, 244, 240))
    brush.band(0.70, 0.73, (240, 255, 250))
    brush.band(0.73, 1, (248, 214, 132))
    for i in range(14):
        brush.oval(((0.07 + i * 0.277) % 1, 0.80 + 0.05 * (i % 4)), 0.009, (222, 180, 100))
    trunk = [(0.90, 0.86), (0.885, 0.6), (0.86, 0.38), (0.82, 0.22)]
    brush.line(trunk, 0.06, (150, 94, 50))
    for angle in (200, 160, 240, 300, 340, 20):
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        tip = (0.82 + 0.17 * cos, 0.22 + 0.24 * sin + 0.1)
        middle = (0.82 + 0.09 * cos, 0.22 + 0.24 * sin * 0.6 - 0.06)
        low = (0.82 + 0.08 * cos, 0.22 + 0.2 * sin * 0.6 + 0.05)
        brush.shape([(0.82, 0.2), middle, tip, low], (30, 150, 80))
    brush.oval((0.82, 0.25), 0.035, (110, 66, 34))
    brush.oval((0.11, 0.88), 0.075, (236, 70, 80))
    brush.shape([(0.11, 0.88), (0.07, 0.86), (0.085, 0.82)], (255, 255, 255))
    brush.shape([(0.11, 0.88), (0.15, 0.86), (0.135, 0.93)], (255, 255, 255))


def _forest(brush: _Brush, drift: float) -> None:
    brush.band(0, 1, (28, 96, 84))
    brush.band(0, 0.3, (20, 78, 70))
    for i in range(9):
        x = -0.02 + i * 0.13 + 0.02 * drift
        brush.box(x, 0, x + 0.03, 0.75, (22, 80, 62))
    for x, thick in ((0.06, 0.085), (0.80, 0.10), (0.97, 0.06)):
        brush.box(x - thick / 2, 0, x + thick / 2, 0.80, (112, 70, 44))
        brush.box(x - thick / 2, 0, x - thick / 5, 0.80, (88, 54, 36))
    dark, light = (18, 120, 62), (40, 150, 76)
    for x, y, radius in ((0.02, 0.08, 0.2), (0.16, 0.02, 0.17), (0.74, 0.05, 0.19), (0.88, 0.06, 0.2), (1, 0.1, 0.16)):
        brush.oval((x, y), radius, dark, wide=1.3)
    for x, y, radius in ((0.08, 0.02, 0.14), (0.80, 0.0, 0.15), (0.94, 0.04, 0.12)):
        brush.oval((x, y), radius, light, wide=1.3)
    brush.band(0.72, 1, (92, 72, 44))
    brush.band(0.72, 0.755, (52, 140, 66))
    for x, size in ((0.17, 1.0), (0.90, 1.2)):
        brush.box(x - 0.016 * size, 0.78, x + 0.016 * size, 0.90, (250, 240, 220), round_by=0.01)
        brush.oval((x, 0.79), 0.05 * size, (228, 48, 52), wide=1.4)
        for dx, dy in ((-0.02, -0.01), (0.018, -0.02), (0.005, 0.02)):
            brush.oval((x + dx * size, 0.79 + dy), 0.011, (255, 255, 255))


def _mountain(brush: _Brush, drift: float) -> None:
    brush.band(0, 1, (206, 208, 240))
    brush.band(0, 0.28, (188, 192, 232))
    for peak, base, top in ((0.24, 0.20, 0.44), (0.52, 0.24, 0.32), (0.82, 0.40, 0.05)):
        brush.shape([(peak - base, 0.74), (peak, top), (peak + base, 0.74)], (120, 124, 166))
        brush.shape([(peak, top), (peak + base, 0.74), (peak + 0.05, 0.74)], (98, 102, 148))
        cut, drop = base * 0.4, (0.74 - top) * 0.4
        zigzag = [(peak - cut, top + drop), (peak - cut * 0.4, top + drop * 0.75), (peak, top + drop * 1.05)]
        zigzag += [(peak + cut * 0.4, top + drop * 0.75), (peak + cut, top + drop)]
        brush.shape([(peak, top), *zigzag[::-1]], (255, 255, 255))
    brush.band(0.70, 1, (246, 250, 255))
    brush.band(0.70, 0.725, (210, 220, 244))
    brush.box(0.05, 0.54, 0.23, 0.80, (150, 92, 52))
    for y in (0.60, 0.66, 0.72):
        brush.box(0.05, y, 0.23, y + 0.008, (120, 70, 40))
    brush.box(0.09, 0.62, 0.13, 0.80, (96, 54, 32))
    brush.box(0.16, 0.62, 0.205, 0.70, (255, 222, 110))
    brush.shape([(0.02, 0.56), (0.14, 0.36), (0.26, 0.56)], (255, 255, 255))
    brush.shape([(0.05, 0.56), (0.14, 0.42), (0.23, 0.56)], (176, 60, 56))
    x, y, size = 0.92, 0.88, 1.1
    for level in range(3):
        top = y - (0.42 - 0.12 * level) * size
        half, tall = (0.035 + 0.018 * level) * size, 0.17 * size
        for share, colour in ((1.0, (40, 96, 96)), (0.5, (255, 255, 255))):
            brush.shape(
                [(x - half * share, top + tall * share), (x, top), (x + half * share, top + tall * share)], colour
            )
    for i in range(26):
        brush.oval(((0.03 + i * 0.387 + drift) % 1, (0.05 + i * 0.231) % 0.95), 0.012, (255, 255, 255))


def _city(brush: _Brush, drift: float) -> None:
    brush.band(0, 1, (34, 30, 84))
    brush.band(0, 0.3, (26, 22, 68))
    for i in range(20):
        brush.oval(((0.05 + i * 0.618) % 1, (0.03 + i * 0.173) % 0.4), 0.007, (255, 250, 210))
    brush.oval((0.40 + 0.2 * drift, 0.16), 0.11, (255, 244, 200))
    brush.oval((0.425 + 0.2 * drift, 0.14), 0.09, (34, 28, 78))
    towers = (
        (0, 0.13, 0.2),
        (0.14, 0.26, 0.36),
        (0.27, 0.4, 0.48),
        (0.56, 0.7, 0.44),
        (0.71, 0.84, 0.16),
        (0.85, 1, 0.3),
    )
    for i, (left, right, top) in enumerate(towers):
        brush.box(left, top, right, 0.74, ((62, 56, 128), (50, 46, 110))[i % 2])
        for row in range(int((0.70 - top) / 0.09)):
            for column in range(3):
                x, y = left + 0.02 + column * (right - left - 0.02) / 3, top + 0.04 + row * 0.09
                lit = (i * 7 + row * 3 + column * 5) % 4 != 0
                brush.box(x, y, x + 0.022, y + 0.045, (255, 216, 96) if lit else (40, 36, 92))
    brush.band(0.72, 1, (86, 86, 104))
    brush.band(0.72, 0.76, (150, 150, 164))
    for i in range(6):
        brush.box(0.02 + i * 0.18, 0.93, 0.12 + i * 0.18, 0.955, (240, 236, 200))
    brush.box(0.925, 0.34, 0.938, 0.80, (20, 18, 40))
    brush.oval((0.931, 0.32), 0.06, (255, 240, 170))


def _kitchen(brush: _Brush, drift: float) -> None:
    brush.band(0, 1, (206, 142, 98))
    for row in range(8):
        brush.box(0, row * 0.09, 1, row * 0.09 + 0.008, (186, 122, 80))
        for column in range(9):
            x = column * 0.13 + (row % 2) * 0.065
            brush.box(x, row * 0.09, x + 0.004, row * 0.09 + 0.09, (186, 122, 80))
    brush.box(0.36, 0.06, 0.64, 0.36, (250, 244, 230), round_by=0.02)
    brush.box(0.375, 0.085, 0.625, 0.335, (170, 226, 250))
    brush.oval((0.45 + 0.1 * drift, 0.20), 0.05, (255, 255, 255), wide=1.5)
    brush.box(0.495, 0.07, 0.505, 0.35, (250, 244, 230))
    brush.box(0.0, 0.16, 0.19, 0.76, (244, 246, 246), round_by=0.03)
    brush.box(0.0, 0.38, 0.19, 0.395, (186, 196, 200))
    for top in (0.24, 0.46):
        brush.box(0.155, top, 0.17, top + 0.10, (120, 132, 140))
    brush.box(0.78, 0.46, 1.0, 0.78, (88, 92, 104))
    brush.box(0.77, 0.43, 1.0, 0.475, (240, 240, 236))
    brush.box(0.81, 0.54, 0.97, 0.71, (255, 176, 70), round_by=0.02)
    brush.box(0.81, 0.50, 0.97, 0.515, (230, 230, 230))
    brush.box(0.83, 0.33, 0.93, 0.43, (210, 54, 60), round_by=0.02)
    brush.box(0.825, 0.315, 0.935, 0.34, (240, 90, 90))
    brush.band(0.74, 1, (150, 44, 44))
    brush.band(0.74, 0.76, (104, 30, 34))
    for row, (top, bottom) in enumerate(((0.76, 0.83), (0.83, 0.91), (0.91, 1.0))):
        for column in range(6):
            near, far = 0.5 + 0.11 * row, 0.5 + 0.11 * (row + 1)
            left = (column - 3) * 0.36 + (row % 2) * 0.18
            edge = left + 0.18
            quad = [(0.5 + left * near * 1.2, top), (0.5 + edge * near * 1.2, top)]
            quad += [(0.5 + edge * far * 1.2, bottom), (0.5 + left * far * 1.2, bottom)]
            brush.shape(quad, (250, 232, 214))


_PLACES: dict[str, Callable[[_Brush, float], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "forest": _forest,
    "mountain": _mountain,
    "city": _city,
    "kitchen": _kitchen,
}
