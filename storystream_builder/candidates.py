"""Frames that might stand for a shot: held while it runs, scored and made into pictures when it ends.

Only the current shot's candidates are in memory: a few frames, evenly spaced; when there are too many, every second one
is let go. So a shot of an hour costs no more than one of a second, and no frame is decoded twice. All of them are
stored with their scores: which are kept is decided later (`keyframes.py`), and again with other limits.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from story_model.build_config import CandidatesConfig
from storystream_builder.pictures import Score, jpeg, perceptual_hash, score, upright

_NOTHING = 4.0
"""Contrast (standard deviation of the luma) of a frame that shows nothing; two of those are no fade."""


@dataclass
class Candidates:
    """Evenly spaced frames of the shot that runs now, at most twice `wanted`; (timestamp, decoded frame)."""

    wanted: int
    _held: list[tuple[int, Any]] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def offer(self, pts: int, frame: Any) -> None:  # noqa: ANN401 - PyAV has no types
        """Hold a frame if its turn has come."""
        if self._seen % self._stride == 0:
            self._held.append((pts, frame))
            if len(self._held) > 2 * self.wanted:
                self._held = self._held[::2]
                self._stride *= 2
        self._seen += 1

    def close(self, cut: int, *, start: int, margin: int, stretches: int = 1) -> list[tuple[int, Any]]:
        """Hand out the frames of the shot [start, cut) away from both its ends; what is later begins the next shot.

        At least one a stretch, as far as there are so many.
        """
        shot = [held for held in self._held if held[0] < cut]
        self._held = [held for held in self._held if held[0] >= cut]
        self._stride, self._seen = 1, 0
        inside = [held for held in shot if start + margin <= held[0] <= cut - margin]
        if shot and not inside:
            inside = [min(shot, key=lambda held: abs(2 * held[0] - start - cut))]
        count = min(max(self.wanted, stretches), len(inside))
        picks = np.linspace(0, len(inside) - 1, count).round().astype(int)
        return [inside[index] for index in picks]


@dataclass(frozen=True)
class Candidate:
    """A scored frame as a picture."""

    shot_number: int
    stretch: int
    """Which part of its shot it lies in; one frame of each may be kept."""
    pts: int
    score: Score
    fade: float
    phash: int
    image: bytes
    width: int
    height: int


@dataclass
class Contrasts:
    """The contrast of each frame of the shot that runs now, to tell fades."""

    _pts: list[int] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)

    def add(self, pts: int, contrast: float) -> None:
        """Take the next frame's standard deviation of the luma."""
        self._pts.append(pts)
        self._values.append(contrast)

    def fade_at(self, pts: int, reach: int, *, start: int, cut: int) -> float:
        """Tell how much of the contrast comes or goes within `reach` of a time, inside the shot: 0 none, 1 all."""
        first = bisect_left(self._pts, max(start, pts - reach))
        last = bisect_left(self._pts, min(cut, pts + reach + 1)) - 1
        if last <= first:
            return 0.0
        before, after = self._values[first], self._values[last]
        return abs(after - before) / max(before, after, _NOTHING)

    def forget(self, cut: int) -> None:
        """Let go what lies before a cut."""
        at = bisect_left(self._pts, cut)
        del self._pts[:at], self._values[:at]


def as_candidates(
    frames: Sequence[tuple[int, Any]],
    fades: Sequence[float],
    *,
    shot_number: int,
    stretches: int,
    pixel_aspect: float,
    config: CandidatesConfig,
) -> list[Candidate]:
    """Score a shot's frames and make pictures of them."""
    parts = np.array_split(np.arange(len(frames)), min(stretches, max(len(frames), 1)))
    stretch_of = {int(index): number for number, part in enumerate(parts) for index in part}
    made = []
    for index, ((pts, frame), fade) in enumerate(zip(frames, fades, strict=True)):
        picture = upright(frame, pixel_aspect=pixel_aspect, max_side=config.max_side)
        made.append(
            Candidate(
                shot_number=shot_number,
                stretch=stretch_of[index],
                pts=pts,
                score=score(frame),
                fade=fade,
                phash=perceptual_hash(picture),
                image=jpeg(picture, config.jpeg_quality),
                width=picture.width,
                height=picture.height,
            )
        )
    return made
