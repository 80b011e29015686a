"""What the cast looks like: each figure is drawn from behind to front with a pen, in the pose it is given.

All share a build (big head, small body, two legs, two arms) so that one pose suits them all; head, ears, tail and trunk
give each its own silhouette.
"""

import math
from collections.abc import Callable

from storystream_builder.cartoon.pen import INK, WHITE, Pen, Point
from storystream_builder.cartoon.poses import Pose
from storystream_builder.cartoon.world import Colour, character_named

CREAM: Colour = (255, 240, 214)
BLUSH: Colour = (255, 150, 140)
SHOULDER: Point = (0.17, -0.40)
HALF_WIDTHS = {"Pip": 0.37, "Luna": 0.37, "Bolt": 0.40, "Tiko": 0.42, "Rosa": 0.30, "Momo": 0.56}
"""Of each head from its middle to its side: how high it lies when a figure sleeps on its side."""
HIP: Point = (0.10, -0.16)


def draw_figure(pen: Pen, name: str, pose: Pose) -> None:
    """Draw one of the cast."""
    _FIGURES[name](pen, pose, character_named(name).colour)


def _fox(pen: Pen, pose: Pose, colour: Colour) -> None:
    dark = _shade(colour, 0.55)
    pen.blob([(-0.12, -0.10), (-0.34, -0.06), (-0.56, -0.24), (-0.58, -0.52), (-0.42, -0.44), (-0.34, -0.26)], colour)
    pen.blob([(-0.54, -0.30), (-0.58, -0.53), (-0.42, -0.44), (-0.45, -0.36)], WHITE)
    _legs(pen, pose, dark)
    _body(pen, colour, CREAM)
    _arms(pen, pose, colour, dark, raised=False)
    for side in (-1, 1):
        pen.shape([(side * 0.06, -0.84), (side * 0.30, -1.12), (side * 0.31, -0.70)], colour)
        pen.shape([(side * 0.14, -0.86), (side * 0.265, -1.01), (side * 0.265, -0.78)], dark, inked=False)
    pen.blob(_mirrored([(0, -0.90), (0.22, -0.83), (0.37, -0.58), (0.20, -0.47), (0, -0.41)]), colour)
    for side in (-1, 1):
        cheek = [(0.02, -0.58), (0.20, -0.62), (0.33, -0.58), (0.19, -0.49), (0, -0.44)]
        pen.blob(_on_side(side, cheek), CREAM, inked=False)
    _eyes(pen, pose, gap=0.125, height=-0.69)
    pen.oval((0, -0.565), (0.045, 0.035), INK, inked=False)
    _mouth(pen, pose, (0, -0.51))
    _arms(pen, pose, colour, dark, raised=True)


def _owl(pen: Pen, pose: Pose, colour: Colour) -> None:
    light, beak = (206, 170, 246), (255, 170, 30)
    for side, angle in zip((-1, 1), pose.legs, strict=True):
        foot = _end((side * 0.09, -0.12), 0.10, side * angle)
        pen.limb((side * 0.09, -0.14), foot, 0.06, beak)
        pen.oval((foot[0], foot[1] + 0.005), (0.085, 0.04), beak)
    for side in (-1, 1):
        pen.shape([(side * 0.05, -0.88), (side * 0.33, -1.10), (side * 0.33, -0.70)], colour)
    pen.blob(_mirrored([(0, -0.93), (0.26, -0.86), (0.35, -0.62), (0.33, -0.32), (0.18, -0.11), (0, -0.09)]), colour)
    pen.oval((0, -0.29), (0.20, 0.17), light, inked=False)
    for row, columns in ((-0.36, (-0.09, 0, 0.09)), (-0.28, (-0.045, 0.045))):
        for x in columns:
            pen.stroke([(x - 0.03, row), (x, row + 0.03), (x + 0.03, row)], colour, thickness=0.8)
    for side, angle in zip((-1, 1), pose.arms, strict=True):
        root = (side * 0.29, -0.50)
        middle = _end(root, 0.15, side * angle)
        pen.oval(middle, (0.095, 0.21), _shade(colour, 0.72), turn=-side * angle)
    for side in (-1, 1):
        pen.oval((side * 0.145, -0.68), (0.165, 0.165), CREAM)
    _eyes(pen, pose, gap=0.13, height=-0.68, size=1.35)
    if pose.mouth == "open":
        pen.shape([(-0.05, -0.555), (0.05, -0.555), (0, -0.44)], (170, 40, 60))
    pen.shape([(-0.06, -0.60), (0.06, -0.60), (0, -0.49)], beak)


def _robot(pen: Pen, pose: Pose, colour: Colour) -> None:
    steel = (150, 160, 176)
    for side, angle in zip((-1, 1), pose.legs, strict=True):
        foot = _end((side * 0.11, -0.16), 0.13, side * angle)
        pen.limb((side * 0.11, -0.18), foot, 0.07, steel)
        pen.box((foot[0] + side * 0.02, foot[1]), (0.10, 0.05), _shade(colour, 0.7))
    pen.box((0, -0.29), (0.20, 0.15), colour)
    pen.box((0, -0.29), (0.12, 0.075), (70, 84, 110))
    pen.oval((-0.05, -0.29), (0.03, 0.03), (255, 80, 70), inked=False)
    pen.oval((0.05, -0.29), (0.03, 0.03), (90, 240, 130), inked=False)
    _arms(pen, pose, steel, colour, width=0.08, raised=False)
    pen.stroke([(0, -0.9), (0, -1.04)], INK, thickness=2.0)
    pen.oval((0, -1.07), (0.06, 0.06), (255, 70, 60))
    for side in (-1, 1):
        pen.box((side * 0.37, -0.68), (0.05, 0.085), steel)
    pen.box((0, -0.68), (0.35, 0.24), colour)
    pen.box((0, -0.68), (0.28, 0.175), (238, 248, 255))
    _eyes(pen, pose, gap=0.125, height=-0.72)
    _mouth(pen, pose, (0, -0.59), wide=1.2)
    _arms(pen, pose, steel, colour, width=0.08, raised=True)


def _frog(pen: Pen, pose: Pose, colour: Colour) -> None:
    dark = _shade(colour, 0.75)
    for side, angle in zip((-1, 1), pose.legs, strict=True):
        pen.oval((side * 0.23, -0.17), (0.13, 0.14), dark, turn=side * 20)
        foot = _end((side * 0.20, -0.12), 0.10, side * angle)
        pen.oval((foot[0] + side * 0.05, foot[1] - 0.01), (0.14, 0.045), colour)
    _body(pen, colour, (226, 246, 160))
    _arms(pen, pose, colour, dark, raised=False)
    for side in (-1, 1):
        pen.oval((side * 0.22, -0.82), (0.145, 0.145), colour)
    pen.oval((0, -0.62), (0.43, 0.23), colour)
    pen.oval((0, -0.55), (0.34, 0.13), (226, 246, 160), inked=False)
    for side in (-1, 1):
        pen.oval((side * 0.22, -0.83), (0.10, 0.10), WHITE)
        pen.oval((side * 0.33, -0.60), (0.05, 0.035), BLUSH, inked=False)
    _eyes(pen, pose, gap=0.22, height=-0.83, size=0.95)
    _mouth(pen, pose, (0, -0.59), wide=3.2)
    _arms(pen, pose, colour, dark, raised=True)


def _rabbit(pen: Pen, pose: Pose, colour: Colour) -> None:
    inner = (255, 205, 226)
    pen.oval((-0.21, -0.16), (0.085, 0.085), WHITE)
    _legs(pen, pose, colour)
    _body(pen, colour, WHITE)
    _arms(pen, pose, colour, colour, raised=False)
    for side in (-1, 1):
        pen.oval((side * 0.13, -0.98), (0.092, 0.24), colour, turn=side * 10)
        pen.oval((side * 0.132, -0.99), (0.045, 0.165), inner, turn=side * 10, inked=False)
    pen.oval((0, -0.65), (0.29, 0.235), colour)
    for side in (-1, 1):
        pen.oval((side * 0.065, -0.555), (0.085, 0.065), WHITE, inked=False)
        pen.oval((side * 0.215, -0.60), (0.05, 0.035), (236, 60, 120), inked=False)
    _eyes(pen, pose, gap=0.12, height=-0.69)
    pen.shape([(-0.035, -0.61), (0.035, -0.61), (0, -0.575)], (200, 40, 100))
    _mouth(pen, pose, (0, -0.545))
    if pose.mouth == "smile":
        pen.box((0, -0.505), (0.028, 0.03), WHITE)
    _arms(pen, pose, colour, colour, raised=True)


def _elephant(pen: Pen, pose: Pose, colour: Colour) -> None:
    light = (150, 196, 255)
    _legs(pen, pose, _shade(colour, 0.8), width=0.17)
    pen.oval((0, -0.30), (0.27, 0.21), colour)
    pen.oval((0, -0.27), (0.17, 0.14), light, inked=False)
    _arms(pen, pose, colour, colour, width=0.13, raised=False)
    for side in (-1, 1):
        ear = [(0.18, -0.88), (0.40, -0.98), (0.58, -0.80), (0.54, -0.56), (0.36, -0.44), (0.20, -0.54)]
        inside = [(0.26, -0.84), (0.40, -0.89), (0.50, -0.77), (0.47, -0.61), (0.36, -0.53), (0.26, -0.60)]
        pen.blob(_on_side(side, ear), colour)
        pen.blob(_on_side(side, inside), light, inked=False)
    pen.oval((0, -0.70), (0.28, 0.245), colour)
    _eyes(pen, pose, gap=0.135, height=-0.75)
    _mouth(pen, pose, (0.10, -0.54))
    trunk = [(-0.075, -0.70), (0.075, -0.70), (0.085, -0.54), (0.10, -0.42), (0.20, -0.40), (0.22, -0.33)]
    pen.blob([*trunk, (0.08, -0.29), (-0.04, -0.36), (-0.085, -0.54)], colour)
    for y in (-0.57, -0.50, -0.43):
        pen.stroke([(-0.05, y), (0.05, y + 0.01)], _shade(colour, 0.6), thickness=0.8)
    _arms(pen, pose, colour, colour, width=0.13, raised=True)


def _body(pen: Pen, colour: Colour, belly: Colour) -> None:
    pen.oval((0, -0.29), (0.21, 0.20), colour)
    pen.oval((0, -0.26), (0.13, 0.135), belly, inked=False)


def _legs(pen: Pen, pose: Pose, colour: Colour, *, width: float = 0.13) -> None:
    for side, angle in zip((-1, 1), pose.legs, strict=True):
        hip = (side * HIP[0], HIP[1])
        foot = _end(hip, 0.13, side * angle)
        pen.limb(hip, foot, width, colour)
        pen.oval((foot[0] + side * 0.025, foot[1] + 0.01), (0.09, 0.055), colour)


def _arms(pen: Pen, pose: Pose, colour: Colour, paw: Colour, *, raised: bool, width: float = 0.105) -> None:
    """Draw the arms that are raised, in front of the head, or those that hang, behind it."""
    for side, angle in zip((-1, 1), pose.arms, strict=True):
        if (angle > 70) != raised:
            continue
        shoulder = (side * SHOULDER[0], SHOULDER[1])
        hand = _end(shoulder, 0.34 if raised else 0.26, side * angle)
        pen.limb(shoulder, hand, width, colour)
        pen.oval(hand, (0.066, 0.066), paw)


def _eyes(pen: Pen, pose: Pose, *, gap: float, height: float, size: float = 1.0) -> None:
    for x in (-gap, gap):
        if pose.eyes == "open":
            pen.oval((x, height), (0.052 * size, 0.068 * size), INK, inked=False)
            pen.oval((x + 0.018 * size, height - 0.026 * size), (0.021 * size, 0.024 * size), WHITE, inked=False)
        else:
            bend = -0.045 if pose.eyes == "happy" else 0.045
            pen.stroke(_arch((x, height), half=0.065 * size, bend=bend), thickness=1.7)


def _mouth(pen: Pen, pose: Pose, centre: Point, *, wide: float = 1.0) -> None:
    x, y = centre
    if pose.mouth == "open":
        pen.blob([(x - 0.06 * wide, y - 0.01), (x + 0.06 * wide, y - 0.01), (x, y + 0.085)], (170, 40, 60))
    elif pose.mouth == "smile":
        pen.stroke(_arch(centre, half=0.07 * wide, bend=0.032), thickness=1.2)
    else:
        pen.oval((x, y + 0.02), (0.025, 0.022), INK, inked=False)


def _on_side(side: int, points: list[Point]) -> list[Point]:
    return [(side * x, y) for x, y in points]


def _mirrored(half: list[Point]) -> list[Point]:
    """Complete an outline from its right half, whose first and last points lie in the middle."""
    return [*half, *_on_side(-1, half[-2:0:-1])]


def _arch(centre: Point, *, half: float, bend: float) -> list[Point]:
    """Lay out a curve `half` to either side, lowest (bend > 0) or highest in its middle."""
    return [(centre[0] + half * at, centre[1] + bend * (1 - at**2)) for at in (-1, -0.5, 0, 0.5, 1)]


def _end(start: Point, length: float, angle: float) -> Point:
    return (start[0] + length * math.sin(math.radians(angle)), start[1] + length * math.cos(math.radians(angle)))


def _shade(colour: Colour, factor: float) -> Colour:
    return (round(colour[0] * factor), round(colour[1] * factor), round(colour[2] * factor))


_FIGURES: dict[str, Callable[[Pen, Pose, Colour], None]] = {
    "Pip": _fox,
    "Luna": _owl,
    "Bolt": _robot,
    "Tiko": _frog,
    "Rosa": _rabbit,
    "Momo": _elephant,
}
