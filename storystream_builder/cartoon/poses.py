"""What an action looks like at a moment: pure functions from the phase of a shot to the pose of a figure.

A phase is the share of the shot that has passed, 0 <= phase < 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pose:
    """A figure's pose; angles are degrees from hanging straight down, outwards positive, (left, right) on screen."""

    arms: tuple[float, float] = (25.0, 25.0)
    legs: tuple[float, float] = (8.0, 8.0)
    tilt: float = 0.0
    squash: float = 1.0
    lift: float = 0.0
    """Above the ground, in standing heights."""
    shift: float = 0.0
    """From the middle of the frame, in frame widths."""
    eyes: Literal["open", "closed", "happy"] = "open"
    mouth: Literal["smile", "open", "small"] = "smile"
    extra: Literal["", "dust", "notes", "cookie", "zzz"] = ""
    extra_phase: float = 0.0


def pose_at(action: str, phase: float) -> Pose:
    """Pose a figure for an action at a phase of its shot."""
    return _POSES[action](phase)


def _jumps(phase: float) -> Pose:
    """One high leap with its top in the middle of the shot."""
    height = max(0.0, math.sin(math.pi * (phase - 0.12) / 0.76))
    arm = 35 + 110 * min(1.0, height * 1.6)
    return Pose(
        arms=(arm, arm),
        legs=(8 + 26 * height, 8 + 26 * height),
        squash=0.88 + 0.15 * min(1.0, 2 * height),
        lift=0.18 * height,
        eyes="happy" if height > 0.5 else "open",
        mouth="open" if height > 0.0 else "smile",
    )


def _runs(phase: float) -> Pose:
    stride = math.sin(2 * math.pi * 3 * phase + 0.6)
    return Pose(
        arms=(40 + 45 * stride, 40 - 45 * stride),
        legs=(5 + 50 * stride, 5 - 50 * stride),
        tilt=15.0,
        lift=0.05 * abs(stride),
        shift=-0.15 + 0.3 * phase,
        mouth="open",
        extra="dust",
        extra_phase=(phase * 3) % 1.0,
    )


def _sleeps(phase: float) -> Pose:
    breath = math.sin(2 * math.pi * phase)
    return Pose(
        arms=(30.0, 30.0),
        legs=(12.0, 12.0),
        tilt=84.0,
        squash=1.0 + 0.025 * breath,
        eyes="closed",
        mouth="small",
        extra="zzz",
        extra_phase=phase,
    )


def _waves(phase: float) -> Pose:
    swing = math.cos(2 * math.pi * 3 * (phase - 0.5))
    return Pose(arms=(22.0, 122 + 30 * swing), tilt=-3.0, eyes="happy" if swing < -0.5 else "open", mouth="open")


def _dances(phase: float) -> Pose:
    sway = math.sin(2 * math.pi * phase + 0.5)
    return Pose(
        arms=(95 + 60 * sway, 95 - 60 * sway),
        legs=(10 + 24 * max(0.0, -sway), 10 + 24 * max(0.0, sway)),
        tilt=13 * sway,
        lift=0.05 * abs(sway),
        shift=0.04 * sway,
        eyes="happy",
        extra="notes",
        extra_phase=phase,
    )


def _eats(phase: float) -> Pose:
    bite = 0.5 - 0.5 * math.cos(2 * math.pi * 3 * phase)
    return Pose(
        arms=(-118 - 14 * bite, -118 - 14 * bite),
        legs=(74.0, 74.0),
        lift=-0.1,
        squash=1.0 - 0.02 * bite,
        mouth="open" if bite > 0.5 else "small",
        eyes="happy" if bite > 0.5 else "open",
        extra="cookie",
        extra_phase=bite,
    )


_POSES: dict[str, Callable[[float], Pose]] = {
    "jumps": _jumps,
    "runs": _runs,
    "sleeps": _sleeps,
    "waves": _waves,
    "dances": _dances,
    "eats": _eats,
}
