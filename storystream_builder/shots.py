"""Where one shot ends and the next begins: PySceneDetect's detectors, fed from our own single decode.

Times are integers (presentation timestamps in the stream's time base), so variable frame rates need no care. A second
detector listens for fades through black, which those for hard cuts do not hear.
"""

from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from story_model.build_config import ShotsConfig
from storystream_builder.pictures import Pixels

_DETECTORS = {
    "adaptive": (AdaptiveDetector, "adaptive_threshold"),
    "content": (ContentDetector, "threshold"),
    "hash": (HashDetector, "threshold"),
    "histogram": (HistogramDetector, "threshold"),
}


class ShotDetector:
    """Tells, frame by frame, where cuts are; a cut may be told some frames after it happened."""

    def __init__(self, config: ShotsConfig, *, time_base: Fraction, frame_rate: Fraction) -> None:
        """Take the stream's time base and its average frame rate."""
        kind, threshold = _DETECTORS[config.detector]
        given = {} if config.threshold is None else {threshold: config.threshold}
        self._detectors: list[Any] = [
            kind(min_scene_len=float(config.min_shot_s), **given),
            ThresholdDetector(min_scene_len=float(config.min_shot_s)),
        ]
        self._time_base = time_base
        self._frame_rate = frame_rate
        self._min_length = round(config.min_shot_s / time_base)
        self._last_cut: int | None = None
        self._now = FrameTimecode(Timecode(0, time_base), frame_rate)

    def feed(self, pts: int, thumbnail: Pixels) -> list[int]:
        """Take the next frame (luma, red and blue difference); return the first timestamps of shots found to begin."""
        if self._last_cut is None:
            self._last_cut = pts
        self._now = FrameTimecode(Timecode(pts, self._time_base), self._frame_rate)
        picture = cv2.cvtColor(thumbnail, cv2.COLOR_YCrCb2BGR)
        return self._accepted([cut for d in self._detectors for cut in d.process_frame(self._now, picture)])

    def finish(self) -> list[int]:
        """Return the cuts that were still held back when the video ended."""
        return self._accepted([cut for d in self._detectors for cut in d.post_process(self._now)])

    def _accepted(self, cuts: list[FrameTimecode]) -> list[int]:
        accepted = []
        for pts in sorted(self._pts(cut) for cut in cuts):
            if self._last_cut is not None and pts - self._last_cut >= self._min_length:
                self._last_cut = pts
                accepted.append(pts)
        return accepted

    def _pts(self, cut: FrameTimecode) -> int:
        """Read a cut's timestamp; the fade detector counts frames instead."""
        return cut.pts if cut.time_base == self._time_base else round(Fraction(cut.seconds) / self._time_base)


def luma_change(before: Pixels | None, thumbnail: Pixels) -> float:
    """Mean absolute change of the luma (0-255) between two thumbnails; 0 before the first or where the size changes."""
    if before is None or before.shape != thumbnail.shape:
        return 0.0
    return float(np.mean(cv2.absdiff(before[..., 0], thumbnail[..., 0])))
