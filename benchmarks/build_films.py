"""Drawn films with known cuts for `build.py`: flat colours, outlines, held drawings, and what deceives a detector.

A film is a list of shots of one kind each (what happens in it) joined by transitions of one kind each (how it begins).
Everything follows from a seed, so that the truth needs no file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

FPS = 24
HELD = "held on twos", "held on threes", "still"
MOVING = "pan", "fast pan", "zoom", "shake", "jump", "close pass", "flash", "lightning", "lamp"
SHOTS = HELD + MOVING
TRANSITIONS = "cut", "fade through black", "fade through white", "reframe", "dissolve"
"""`reframe` is a cut to the same place seen nearer; a dissolve has no frame of its own at which it happens."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Shot:
    """What happens between two transitions; `begins` is how it comes about, except for the first."""

    kind: str
    begins: str
    seed: int
    num_frames: int


@dataclass(frozen=True)
class Transition:
    """A change of shot: frames `first` to `last` may be named as its place, in milliseconds."""

    kind: str
    first_ms: float
    last_ms: float


@dataclass(frozen=True)
class Film:
    """A drawn film and all that is true of it."""

    shots: tuple[Shot, ...]
    fade_frames: int = 10

    def transitions(self) -> list[Transition]:
        """List the changes of shot in time order."""
        found, start = [], 0
        for before, shot in zip(self.shots, self.shots[1:], strict=False):
            start += before.num_frames
            spread = self.fade_frames if shot.begins in ("fade through black", "fade through white", "dissolve") else 0
            first, last = start - spread, start + spread
            found.append(Transition(shot.begins, 1000 * first / FPS, 1000 * last / FPS))
        return found

    def kind_at(self, at_ms: float) -> str:
        """Say what happens at a time."""
        frame = at_ms * FPS / 1000
        for shot in self.shots:
            if frame < shot.num_frames:
                return shot.kind
            frame -= shot.num_frames
        return self.shots[-1].kind

    def frames(self, width: int, height: int) -> Iterator[Picture]:
        """Draw the film: RGB pictures."""
        for number, shot in enumerate(self.shots):
            after = self.shots[number + 1] if number + 1 < len(self.shots) else None
            for step in range(shot.num_frames):
                yield self._frame(number, step, after, (width, height))

    def _frame(self, number: int, step: int, after: Shot | None, size: tuple[int, int]) -> Picture:
        shot, fade = self.shots[number], self.fade_frames
        picture, left = draw(shot, step, size), shot.num_frames - step
        leaves, comes = after is not None and left <= fade, number > 0 and step < fade
        if leaves and after is not None and after.begins.startswith("fade"):
            return _blend(picture, _colour(after.begins, size), 1 - (left - 1) / fade)
        if comes and shot.begins.startswith("fade"):
            return _blend(picture, _colour(shot.begins, size), 1 - step / fade)
        if leaves and after is not None and after.begins == "dissolve":
            return _blend(picture, draw(after, 0, size), 0.5 * (1 - left / fade))
        if comes and shot.begins == "dissolve":
            before = self.shots[number - 1]
            return _blend(picture, draw(before, before.num_frames - 1, size), 0.5 * (1 - step / fade))
        return picture


def make_film(seed: int, num_shots: int = 24) -> Film:
    """Make up a film: every kind of shot comes in turn, transitions by chance, half of them hard cuts."""
    rng = np.random.default_rng(seed)
    shots: list[Shot] = []
    for number in range(num_shots):
        begins = "cut" if number == 0 or rng.random() < 0.5 else str(rng.choice(TRANSITIONS))
        scene = shots[-1].seed if begins == "reframe" else 1000 * seed + number
        shots.append(Shot(SHOTS[(number + seed) % len(SHOTS)], begins, scene, int(rng.integers(30, 66))))
    return Film(tuple(shots))


def draw(shot: Shot, step: int, size: tuple[int, int]) -> Picture:
    """Draw one frame of a shot: (height, width, 3) RGB."""
    hold = {"held on threes": 3, "jump": 3, "still": 10_000}.get(shot.kind, 2)
    drawing = step // hold
    world = _world(shot.seed, size)
    x, y, scale = _camera(shot, step)
    _draw_figure(world, shot, drawing, size)
    picture = _through_camera(world, x, y, scale, size)
    return _lit(picture, shot, step)


def _camera(shot: Shot, step: int) -> tuple[float, float, float]:
    """Say where the camera looks: left and top as shares of the picture's size, and how near it is."""
    near = 1.7 if shot.begins == "reframe" else 1.0
    rng = np.random.default_rng(step)
    moves = {
        "pan": (0.008 * step, 0.0, 1.0),
        "fast pan": (0.035 * min(step, 28), 0.0, 1.0),
        "zoom": (0.1, 0.1, 1.0 + 0.012 * step),
        "shake": (0.1 + 0.02 * rng.random(), 0.1 + 0.02 * rng.random(), 1.0),
    }
    x, y, scale = moves.get(shot.kind, (0.1, 0.1, 1.0))
    return x, y, near * scale


def _through_camera(world: Picture, x: float, y: float, scale: float, size: tuple[int, int]) -> Picture:
    width, height = size
    wide, high = round(width / scale), round(height / scale)
    left = min(round(x * width), world.shape[1] - wide)
    top = min(round(y * height) + (height - high) // 3, world.shape[0] - high)
    seen = world[top : top + high, left : left + wide]
    return np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _lit(picture: Picture, shot: Shot, step: int) -> Picture:
    middle = shot.num_frames // 2
    if shot.kind == "flash" and middle <= step < middle + 2:
        return _blend(picture, np.full_like(picture, 255), 0.9)
    if shot.kind == "lightning" and step in (middle, middle + 3):
        return 255 - picture
    if shot.kind == "lamp" and step >= middle:
        return (picture * 0.6).astype(np.uint8)
    return picture


def _world(seed: int, size: tuple[int, int]) -> Picture:
    """Paint a place twice as wide as the picture: sky, ground, and outlined shapes in a few colours."""
    rng, (width, height) = np.random.default_rng(seed), size
    wide, high = 2 * width, round(1.3 * height)
    world = np.empty((high, wide, 3), np.uint8)
    palette = rng.integers(30, 236, (6, 3))
    horizon = int(high * rng.uniform(0.4, 0.7))
    world[:horizon], world[horizon:] = palette[0], palette[1]
    for _ in range(int(rng.integers(8, 16))):
        colour = palette[rng.integers(2, 6)].tolist()
        x, y = int(rng.integers(0, wide)), int(rng.integers(0, high))
        w, h = int(width * rng.uniform(0.05, 0.25)), int(height * rng.uniform(0.1, 0.4))
        if rng.random() < 0.5:
            cv2.rectangle(world, (x, y), (x + w, y + h), colour, -1)
            cv2.rectangle(world, (x, y), (x + w, y + h), (20, 20, 20), max(1, width // 160))
        else:
            cv2.ellipse(world, (x, y), (w // 2 + 1, h // 2 + 1), 0, 0, 360, colour, -1)
            cv2.ellipse(world, (x, y), (w // 2 + 1, h // 2 + 1), 0, 0, 360, (20, 20, 20), max(1, width // 160))
    return world


def _draw_figure(world: Picture, shot: Shot, drawing: int, size: tuple[int, int]) -> None:
    """Draw who acts: a head on a body that walks, jumps from place to place, or passes right before the camera."""
    width, height = size
    rng = np.random.default_rng((shot.seed, drawing))
    colour = np.random.default_rng(shot.seed + 7).integers(60, 256, 3).tolist()
    x, y, tall = 0.25 + 0.015 * drawing, 0.7 + 0.02 * (drawing % 2), 0.3
    if shot.kind == "jump":
        x, y, tall = 0.2 + 0.8 * rng.random(), 0.4 + 0.5 * rng.random(), 0.4
    if shot.kind == "close pass":
        x, y, tall = -0.4 + 0.12 * drawing, 0.7, 1.1
    at, thick = (int(x * width), int(y * height)), max(1, width // 160)
    body, head = (int(0.16 * tall * width), int(0.5 * tall * height)), int(0.22 * tall * height)
    for fill, line in ((colour, -1), ((15, 15, 15), thick)):
        cv2.ellipse(world, at, body, 0, 0, 360, fill, line)
        cv2.circle(world, (at[0], at[1] - body[1]), head, fill, line)


def _colour(kind: str, size: tuple[int, int]) -> Picture:
    return np.full((size[1], size[0], 3), 255 if kind.endswith("white") else 0, np.uint8)


def _blend(one: Picture, other: Picture, share: float) -> Picture:
    return np.asarray(cv2.addWeighted(one, 1 - share, other, share, 0), np.uint8)


def encode(
    path: Path, frames: Iterator[Picture] | Sequence[Picture], *, codec: str = "libx264", fps: int = FPS
) -> Path:
    """Write pictures as a video."""
    options = {"libx264": {"preset": "veryfast", "crf": "23"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options=options.get(codec, {}))
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p"
                stream.bit_rate = 800_000
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
