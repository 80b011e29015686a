"""Frames that might stand for a shot: held while it runs, scored and made into pictures when it ends.

Only the current shot's candidates are in memory: a few frames, evenly spaced; when there are too many, every second one
is let go. So a shot of an hour costs no more than one of a second, and no frame is decoded twice. All of them are
stored with their scores: which are kept is decided later (`keyframes.py`), and again with other limits.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from story_model.build_config import CandidatesConfig
from storystream_builder.decoding.pictures import (
    Score,
    compress,
    measured_luma,
    perceptual_hash,
    score,
    turned,
    upright,
)

_MOST_RECENT = 16
"""Frames held for a cut that is told late."""
_NOTHING = 4.0
"""Contrast (standard deviation of the luma) of a frame that shows nothing; two of those are no fade."""


class Candidates:
    """Evenly spaced frames of the shot that runs now, at most twice `wanted`; (timestamp, decoded frame).

    A cut may be told `lag` frames late: a few frames of that reach are held besides, for the next shot to begin with.
    """

    def __init__(self, wanted: int, lag: int = 0) -> None:
        """Take how many a shot should have, and how many frames late its end is known."""
        self._wanted = wanted
        self._recent_stride = max(1, -(-lag // _MOST_RECENT))
        self._recent: deque[tuple[int, Any]] = deque(maxlen=-(-lag // self._recent_stride))
        self._held: list[tuple[int, Any]] = []
        self._stride, self._seen, self._seen_in_all = 1, 0, 0

    def __len__(self) -> int:
        """Count the frames in memory."""
        return len({pts for pts, _ in (*self._held, *self._recent)})

    def offer(self, pts: int, frame: Any) -> None:  # noqa: ANN401 - PyAV has no types
        """Hold a frame if its turn has come."""
        if self._seen % self._stride == 0:
            self._held.append((pts, frame))
            if len(self._held) > 2 * self._wanted:
                self._held = self._held[::2]
                self._stride *= 2
        if self._seen_in_all % self._recent_stride == 0:
            self._recent.append((pts, frame))
        self._seen += 1
        self._seen_in_all += 1

    def close(self, cut: int, *, start: int, margin: int, stretches: int = 1) -> list[tuple[int, Any]]:
        """Hand out the frames of the shot [start, cut) away from both its ends; what is later begins the next shot.

        At least one a stretch, as far as there are so many.
        """
        shot = [held for held in self._held if held[0] < cut]
        later = {held[0]: held for held in (*self._held, *self._recent) if held[0] >= cut}
        self._held = [later[pts] for pts in sorted(later)]
        self._stride, self._seen = 1, 0
        inside = [held for held in shot if start + margin <= held[0] <= cut - margin]
        if shot and not inside:
            inside = [min(shot, key=lambda held: abs(2 * held[0] - start - cut))]
        count = min(max(self._wanted, stretches), len(inside))
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
        luma = measured_luma(frame)
        picture = upright(frame, pixel_aspect=pixel_aspect, max_side=config.max_side)
        made.append(
            Candidate(
                shot_number=shot_number,
                stretch=stretch_of[index],
                pts=pts,
                score=score(luma),
                fade=fade,
                phash=perceptual_hash(turned(luma, frame.rotation)),
                image=compress(picture, config.jpeg_quality),
                width=picture.shape[1],
                height=picture.shape[0],
            )
        )
    return made
