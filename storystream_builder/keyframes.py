"""Which frame stands for a shot: candidates are held while the shot runs, scored when it ends, one is kept.

Only the current shot's candidates are in memory: a few frames, evenly spaced; when there are too many, every second one
is let go. So a shot of an hour costs no more than one of a second, and no frame is decoded twice.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from story_model.config import KeyframesConfig
from storystream_builder.pictures import Score, jpeg, perceptual_hash, score, upright

KEPT = "kept"


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
class ScoredFrame:
    """A candidate and what became of it; only kept ones carry a picture."""

    shot_number: int
    pts: int
    status: str
    score: Score
    phash: int | None = None
    image: bytes | None = None
    width: int | None = None
    height: int | None = None


class KeyframePicker:
    """Chooses a frame for each shot of one episode and remembers what it chose, to tell near-duplicates."""

    def __init__(self, config: KeyframesConfig, *, pixel_aspect: float) -> None:
        """Take the episode's pixel aspect ratio (width over height of one pixel)."""
        self._config = config
        self._pixel_aspect = pixel_aspect
        self._hashes: list[int] = []

    def pick(self, shot_number: int, candidates: list[tuple[int, Any]], *, stretches: int = 1) -> list[ScoredFrame]:
        """Score a shot's candidates and keep the sharpest fit one of each of its stretches."""
        parts = np.array_split(np.arange(len(candidates)), min(stretches, max(len(candidates), 1)))
        return [kept for part in parts for kept in self._pick_one(shot_number, [candidates[index] for index in part])]

    def _pick_one(self, shot_number: int, candidates: list[tuple[int, Any]]) -> list[ScoredFrame]:
        """Keep the sharpest fit one, unless the episode has its like already."""
        scores = [score(frame) for _, frame in candidates]
        faults = [unfit(one, self._config) for one in scores]
        fit = [index for index, fault in enumerate(faults) if fault is None]
        best = max(fit, key=lambda index: scores[index].sharpness, default=None)
        frames = []
        for index, (pts, frame) in enumerate(candidates):
            if index == best:
                frames.append(self._keep(shot_number, pts, frame, scores[index]))
            else:
                frames.append(ScoredFrame(shot_number, pts, faults[index] or "a sharper one is kept", scores[index]))
        return frames

    def _keep(self, shot_number: int, pts: int, frame: Any, marks: Score) -> ScoredFrame:  # noqa: ANN401
        picture = upright(frame, pixel_aspect=self._pixel_aspect, max_side=self._config.max_side)
        phash = perceptual_hash(picture)
        if any((phash ^ known).bit_count() <= self._config.duplicate_distance for known in self._hashes):
            return ScoredFrame(shot_number, pts, "near-duplicate", marks, phash)
        self._hashes.append(phash)
        data = jpeg(picture, self._config.jpeg_quality)
        return ScoredFrame(shot_number, pts, KEPT, marks, phash, data, picture.width, picture.height)


def unfit(marks: Score, config: KeyframesConfig) -> str | None:
    """Say why a frame cannot stand for its shot; none where it can."""
    if marks.luma < config.min_luma:
        return "black"
    if marks.luma > config.max_luma:
        return "white"
    if marks.contrast < config.min_contrast:
        return "flat"
    if marks.sharpness < config.min_sharpness:
        return "blurred"
    return None
