"""Where a shot ends: hard cuts against what moves around them, and fades through a blank picture.

A cut changes much more than the frames around it do, and leaves little of the picture where it was; the product of both
decides. Measured on luma and colour differences, not on hues, which in dark or grey pictures are the encoder's noise.
A flash changes as much as a cut, but the picture from before comes back. A fade has no such frame at all: its place is
the middle of the blank pictures between what was and what comes.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from storystream_builder.decoding.glimpses import Glimpse, change_between, unlikeness

THRESHOLD = 1.1
"""Change over the largest one nearby, times unlikeness. Drawn films of known cuts lie at 1.2 and more; a figure that
jumps over half the picture or a camera that whips round lie below 1.03."""
_MIN_CHANGE = 8.0
_MIN_UNLIKENESS = 0.25
_FLOOR = 1.0
"""Change that still pictures are taken to have, so that a film of stills is not compared with zero."""
_AROUND_S, _MIN_AROUND = 0.125, 3
"""What counts as nearby; at least three frames, since drawings are held for as long."""
_FLASH_S = 0.25
_BACK_CHANGE = 0.4
"""Share of a flash's change in which the pictures before and after it may differ."""
_BLANK = 4.0
"""Contrast below which a picture shows nothing."""


@dataclass
class _BlankRun:
    """Blank pictures in a row."""

    before: Glimpse | None
    """The last picture that showed something; none at the film's start."""
    begins_hard: bool
    times: list[int] = field(default_factory=list)


class CutFinder:
    """Tells cuts and fades, each as the time of the first frame after it; what comes `lag` frames later decides too."""

    def __init__(self, threshold: float, frame_rate: Fraction) -> None:
        """Take what a cut has to reach, and the film's average frame rate."""
        self._threshold = threshold
        self._around = max(_MIN_AROUND, round(_AROUND_S * frame_rate))
        self.lag = max(self._around, round(_FLASH_S * frame_rate))
        self._seen: deque[Glimpse] = deque(maxlen=2 * self.lag + 1)
        self._judged = 0
        self._num_seen = 0
        self._blank: _BlankRun | None = None
        self._shown: Glimpse | None = None

    def feed(self, glimpse: Glimpse) -> list[int]:
        """Take the next frame; return the times of cuts that are certain by now."""
        self._seen.append(glimpse)
        self._num_seen += 1
        return self._judge() if self._num_seen - self._judged > self.lag else []

    def finish(self) -> list[int]:
        """Judge the last frames without what would have come later."""
        cuts: list[int] = []
        while self._judged < self._num_seen:
            cuts += self._judge()
        return cuts

    def _judge(self) -> list[int]:
        """Judge the oldest frame that waits."""
        at = len(self._seen) - (self._num_seen - self._judged)
        self._judged += 1
        glimpse = self._seen[at]
        is_cut = glimpse.change >= _MIN_CHANGE and self._is_cut(list(self._seen), at)
        faded = self._faded(glimpse, is_cut=is_cut)
        return [glimpse.pts] if is_cut else faded

    def _is_cut(self, seen: Sequence[Glimpse], at: int) -> bool:
        if at == 0:
            return False
        nearby = [*seen[max(0, at - self._around) : at], *seen[at + 1 : at + 1 + self._around]]
        ratio = seen[at].change / max(_FLOOR, *(one.change for one in nearby), 0.0)
        if 2 * ratio < self._threshold:
            return False
        unlike = unlikeness(seen[at - 1], seen[at])
        if unlike < _MIN_UNLIKENESS or ratio * unlike < self._threshold:
            return False
        return not self._is_flash(seen, at)

    def _is_flash(self, seen: Sequence[Glimpse], at: int) -> bool:
        """Tell whether what was before a frame comes back soon after it, or what it begins was there just before."""
        limit = _BACK_CHANGE * seen[at].change
        later = seen[at + 1 : at + 1 + self.lag]
        earlier = seen[max(0, at - self.lag) : at - 1]
        return any(_is_same(seen[at - 1], one, limit) for one in later) or any(
            _is_same(seen[at], one, limit) for one in earlier
        )

    def _faded(self, glimpse: Glimpse, *, is_cut: bool) -> list[int]:
        """Follow blank pictures; where they end, tell their middle.

        Unless a hard cut stands at one of their ends, or the picture from before them comes back.
        """
        if glimpse.contrast < _BLANK:
            if self._blank is None or is_cut:
                self._blank = _BlankRun(self._shown, is_cut)
            self._blank.times.append(glimpse.pts)
            return []
        run, self._blank, self._shown = self._blank, None, glimpse
        if run is None or run.before is None or run.begins_hard or is_cut:
            return []
        is_back = unlikeness(run.before, glimpse) < _MIN_UNLIKENESS
        return [] if is_back else [run.times[len(run.times) // 2]]


def _is_same(one: Glimpse, other: Glimpse, limit: float) -> bool:
    return change_between(one, other) < limit and unlikeness(one, other) < _MIN_UNLIKENESS
