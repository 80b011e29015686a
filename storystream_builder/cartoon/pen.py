"""A pen that draws rounded, outlined shapes in a figure's own units, tilted and squashed as its pose asks.

Units: the figure's standing height is 1; (0, 0) is the ground between its feet, x grows to the right and y downwards,
so that the top of a head lies near y = -1. Angles are in degrees.
"""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from storystream_builder.cartoon.world import Colour

INK: Colour = (38, 26, 44)
WHITE: Colour = (255, 255, 255)
Point = tuple[float, float]


class Pen:
    """Draws on one RGBA image; `tilt` turns the figure clockwise around `pivot`, `squash` > 1 makes it taller."""

    def __init__(
        self,
        image: Image.Image,
        *,
        origin: Point,
        unit: float,
        tilt: float = 0.0,
        squash: float = 1.0,
        pivot: Point = (0.0, 0.0),
    ) -> None:
        self.unit = unit
        self.line_px = max(1, round(unit * 0.026))
        self._draw = ImageDraw.Draw(image)
        self._origin = origin
        self._pivot = pivot
        self._squash = squash
        self._cos, self._sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))

    def oval(self, centre: Point, radii: Point, fill: Colour, *, turn: float = 0.0, inked: bool = True) -> None:
        """Draw an ellipse, itself turned clockwise by `turn`."""
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        outline = []
        for index in range(36):
            angle = 2 * math.pi * index / 36
            x, y = radii[0] * math.cos(angle), radii[1] * math.sin(angle)
            outline.append((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos))
        self.shape(outline, fill, inked=inked)

    def blob(self, points: Sequence[Point], fill: Colour, *, inked: bool = True) -> None:
        """Draw a closed smooth curve through the points (Catmull-Rom)."""
        self.shape(_smooth(points), fill, inked=inked)

    def shape(self, points: Sequence[Point], fill: Colour, *, inked: bool = True) -> None:
        """Draw a closed polygon."""
        pixels = [self._to_px(point) for point in points]
        self._draw.polygon(pixels, fill=(*fill, 255))
        if inked:
            self._draw.line([*pixels, *pixels[:2]], fill=(*INK, 255), width=self.line_px, joint="curve")

    def box(self, centre: Point, half: Point, fill: Colour, *, inked: bool = True) -> None:
        """Draw a rectangle with softly rounded corners."""
        (x, y), (w, h) = centre, half
        r = min(w, h) * 0.35
        corners = [(x + w - r, y + h - r), (x - w + r, y + h - r), (x - w + r, y - h + r), (x + w - r, y - h + r)]
        outline = []
        for number, (cx, cy) in enumerate(corners):
            for step in range(7):
                angle = math.radians(90 * number + 15 * step)
                outline.append((cx + r * math.cos(angle), cy + r * math.sin(angle)))
        self.shape(outline, fill, inked=inked)

    def limb(self, start: Point, end: Point, width: float, fill: Colour) -> None:
        """Draw a stroke with round ends, `width` units thick."""
        ends = [self._to_px(start), self._to_px(end)]
        thick = width * self.unit
        for colour, size in ((INK, thick + self.line_px), (fill, thick - self.line_px)):
            self._draw.line(ends, fill=(*colour, 255), width=round(size))
            for x, y in ends:
                self._draw.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), fill=(*colour, 255))

    def stroke(self, points: Sequence[Point], colour: Colour = INK, *, thickness: float = 1.0) -> None:
        """Draw an open line through the points, `thickness` outline widths thick."""
        pixels = [self._to_px(point) for point in points]
        self._draw.line(pixels, fill=(*colour, 255), width=max(1, round(self.line_px * thickness)), joint="curve")

    def _to_px(self, point: Point) -> Point:
        x = point[0] / self._squash - self._pivot[0]
        y = point[1] * self._squash - self._pivot[1]
        turned_x = x * self._cos - y * self._sin + self._pivot[0]
        turned_y = x * self._sin + y * self._cos + self._pivot[1]
        return (self._origin[0] + turned_x * self.unit, self._origin[1] + turned_y * self.unit)


def _smooth(points: Sequence[Point], *, steps: int = 8) -> list[Point]:
    curve = []
    count = len(points)
    for index in range(count):
        p0, p1, p2, p3 = (points[(index + offset) % count] for offset in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            curve.append(
                (
                    _catmull_rom(p0[0], p1[0], p2[0], p3[0], t),
                    _catmull_rom(p0[1], p1[1], p2[1], p3[1], t),
                )
            )
    return curve


def _catmull_rom(p0: float, p1: float, p2: float, p3: float, t: float) -> float:
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * (p1 - p2) + p3 - p0) * t**3)
