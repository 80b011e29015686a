"""One frame of the cartoon: a place, someone in it, and what they do at a moment.

The picture is a pure function of its arguments. Backdrops and figures are kept once drawn, since a film shows the same
pose in many places; phases are rounded down to `NUM_PHASES` steps so that there are few of them.
"""

from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageChops, ImageFilter, ImageOps

from storystream_builder.cartoon.figures import CREAM, HALF_WIDTHS, draw_figure
from storystream_builder.cartoon.pen import INK, WHITE, Pen
from storystream_builder.cartoon.poses import Pose, pose_at
from storystream_builder.cartoon.scenery import draw_place
from storystream_builder.cartoon.world import action_named, character_named, place_named

NUM_PHASES = 24
SUPERSAMPLE = 2
FIGURE_HEIGHT = 0.75
"""Of a standing figure without its ears, in frame heights."""
GROUND = 0.91
"""Where feet stand, in frame heights from the top."""
CANVAS = (2.2, 1.75)
"""Room for a figure in any pose, in standing heights: wide, high."""
FEET = (1.1, 1.50)
"""Where on the canvas the feet stand, in standing heights."""


@dataclass(frozen=True)
class Jitter:
    """What differs between two shots of the same thing."""

    shift: float = 0.0
    """Of the figure to the right, in frame widths."""
    drift: float = 0.0
    """Of the clouds, 0 to 1."""
    reverse: bool = False
    """Whether the scenery is mirrored, as if seen from the other side."""


def draw_frame(
    *, character: str, place: str, action: str, phase: float, jitter: Jitter | None = None, width: int, height: int
) -> Image.Image:
    """Draw a frame of width x height pixels in RGB; `phase` is the share of the shot that has passed, 0 <= phase < 1.

    ValueError where the world has no such character, place or action, or the phase lies outside its range.
    """
    character_named(character), place_named(place), action_named(action)
    if not 0 <= phase < 1:
        raise ValueError(f"a phase is a share of the shot, 0 <= phase < 1, not {phase}")
    jitter = jitter or Jitter()
    step = int(phase * NUM_PHASES)
    pose = pose_at(action, step / NUM_PHASES)
    frame = _backdrop(place, width, height, round(jitter.drift, 2), jitter.reverse).copy()
    figure, (left, top) = _figure(character, action, step, height)
    x = (0.5 + pose.shift + jitter.shift) * width + left
    y = (GROUND - pose.lift * FIGURE_HEIGHT) * height + top
    frame.paste(figure, (round(x), round(y)), figure)
    return frame


@lru_cache(maxsize=64)
def _backdrop(place: str, width: int, height: int, drift: float, reverse: bool) -> Image.Image:
    if reverse:
        return ImageOps.mirror(_backdrop(place, width, height, drift, False))
    return draw_place(place, width=width, height=height, drift=drift)


@lru_cache(maxsize=2048)
def _figure(character: str, action: str, step: int, height: int) -> tuple[Image.Image, tuple[float, float]]:
    """Draw a figure with a white rim, as a sticker that shows on every backdrop.

    Returns the RGBA sticker, cut close, and where its upper left corner lies as seen from the feet (pixels).
    """
    pose = pose_at(action, step / NUM_PHASES)
    unit = FIGURE_HEIGHT * height * SUPERSAMPLE
    canvas = Image.new("RGBA", (round(CANVAS[0] * unit), round(CANVAS[1] * unit)), (*INK, 0))
    origin = (FEET[0] * unit, FEET[1] * unit)
    if action == "sleeps":
        origin = ((FEET[0] - 0.45) * unit, (FEET[1] - HALF_WIDTHS[character] + 0.06) * unit)
    pen = Pen(canvas, origin=origin, unit=unit, tilt=pose.tilt, squash=pose.squash)
    draw_figure(pen, character, pose)
    _draw_extra(Pen(canvas, origin=(FEET[0] * unit, FEET[1] * unit), unit=unit), pose)
    small = (canvas.width // SUPERSAMPLE, canvas.height // SUPERSAMPLE)
    sticker = _rimmed(canvas, unit).resize(small, Image.Resampling.BOX)
    box = sticker.getbbox()
    assert box is not None, f"{character} {action} is invisible"
    corner = (box[0] - FEET[0] * unit / SUPERSAMPLE, box[1] - FEET[1] * unit / SUPERSAMPLE)
    return sticker.crop(box), corner


def _draw_extra(pen: Pen, pose: Pose) -> None:
    """Draw what belongs to the action rather than to the figure."""
    at = pose.extra_phase
    if pose.extra == "cookie":
        centre = (0.0, -0.40 - 0.06 * at)
        pen.oval(centre, (0.135, 0.135), (214, 148, 72))
        for dx, dy in ((-0.05, -0.04), (0.05, -0.05), (0.0, 0.02), (-0.055, 0.06), (0.06, 0.05)):
            pen.oval((centre[0] + dx, centre[1] + dy), (0.024, 0.024), (84, 44, 24), inked=False)
    elif pose.extra == "dust":
        for number in range(3):
            age = (at + number / 3) % 1
            radius = 0.13 - 0.07 * age
            pen.oval((-0.42 - 0.6 * age, -0.08 - 0.12 * age), (radius, radius * 0.85), CREAM)
    elif pose.extra == "zzz":
        for number in range(3):
            age = (at + number / 3) % 1
            _draw_z(pen, 0.15 + 0.65 * age, -0.95 - 0.35 * age, 0.035 + 0.075 * age)
    elif pose.extra == "notes":
        for side, start in ((-1, 0.0), (1, 0.5)):
            age = (at + start) % 1
            _draw_note(pen, side * (0.62 + 0.12 * age), -0.45 - 0.55 * age)


def _draw_z(pen: Pen, x: float, y: float, size: float) -> None:
    points = [(x - size, y - size), (x + size, y - size), (x - size, y + size), (x + size, y + size)]
    pen.stroke(points, INK, thickness=4.2)
    pen.stroke(points, WHITE, thickness=2.2)


def _draw_note(pen: Pen, x: float, y: float) -> None:
    pen.oval((x, y), (0.075, 0.055), INK, turn=-20)
    pen.stroke([(x + 0.06, y), (x + 0.06, y - 0.22), (x + 0.15, y - 0.15)], INK, thickness=1.8)


def _rimmed(canvas: Image.Image, unit: float) -> Image.Image:
    reach = max(1, round(unit * 0.022))
    alpha = canvas.getchannel("A")
    wide = alpha.filter(ImageFilter.BoxBlur(reach)).point([min(255, value * 6) for value in range(256)])
    rim = Image.new("RGBA", canvas.size, (*WHITE, 0))
    rim.putalpha(ImageChops.lighter(alpha, wide))
    rim.alpha_composite(canvas)
    return rim
