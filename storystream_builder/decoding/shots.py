"""Where one shot ends and the next begins: our own finder, PySceneDetect's detectors, or a network.

All are fed from our own single decode. Times are integers (presentation timestamps in the stream's time base), so
variable frame rates need no care.
"""

from fractions import Fraction
from typing import Any, Protocol

from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import ContentDetector, HashDetector, HistogramDetector, ThresholdDetector

from story_model.build_config import ShotsConfig
from storystream_builder.decoding.cuts import THRESHOLD, CutFinder
from storystream_builder.decoding.glimpses import Glimpse, as_picture

_PYSCENEDETECT = {"content": ContentDetector, "hash": HashDetector, "histogram": HistogramDetector}


class Detector(Protocol):
    """Tells, frame by frame, where cuts are."""

    @property
    def lag(self) -> int:
        """How many frames after a cut it is told at the latest; a fade may be told later."""

    def feed(self, glimpse: Glimpse, frame: Any) -> list[int]:  # noqa: ANN401 - PyAV has no types
        """Take the next frame; return the first timestamps of shots found to begin."""

    def finish(self) -> list[int]:
        """Return what was still held back when the video ended."""


class ShotDetector:
    """Tells where shots begin, none of them shorter than asked."""

    def __init__(self, config: ShotsConfig, *, time_base: Fraction, frame_rate: Fraction) -> None:
        """Take the stream's time base and its average frame rate.

        Raises:
            ValueError: a network is asked for that is not there.
        """
        self._detector = _detector(config, time_base=time_base, frame_rate=frame_rate)
        self._min_length = round(config.min_shot_s / time_base)
        self._last_cut: int | None = None

    @property
    def lag(self) -> int:
        """How many frames after a hard cut it is told at the latest."""
        return self._detector.lag

    def feed(self, glimpse: Glimpse, frame: Any) -> list[int]:  # noqa: ANN401 - PyAV has no types
        """Take the next frame; return the first timestamps of shots found to begin."""
        if self._last_cut is None:
            self._last_cut = glimpse.pts
        return self._accepted(self._detector.feed(glimpse, frame))

    def finish(self) -> list[int]:
        """Return the cuts that were still held back when the video ended."""
        return self._accepted(self._detector.finish())

    def _accepted(self, cuts: list[int]) -> list[int]:
        accepted = []
        for pts in sorted(cuts):
            if self._last_cut is not None and pts - self._last_cut >= self._min_length:
                self._last_cut = pts
                accepted.append(pts)
        return accepted


class AdaptiveDetector:
    """Our own: what changes more than its surroundings, and fades."""

    def __init__(self, threshold: float | None, frame_rate: Fraction) -> None:
        """Take what a cut has to reach; none: the usual."""
        self._cuts = CutFinder(THRESHOLD if threshold is None else threshold, frame_rate)
        self.lag = self._cuts.lag

    def feed(self, glimpse: Glimpse, frame: Any) -> list[int]:  # noqa: ANN401 - PyAV has no types
        """Take the next frame."""
        return self._cuts.feed(glimpse)

    def finish(self) -> list[int]:
        """Judge the last frames."""
        return self._cuts.finish()


class PySceneDetector:
    """One of PySceneDetect's detectors for hard cuts, and its detector for fades through black."""

    def __init__(self, config: ShotsConfig, *, time_base: Fraction, frame_rate: Fraction) -> None:
        """Take the stream's time base and its average frame rate."""
        given = {} if config.threshold is None else {"threshold": config.threshold}
        shortest = float(config.min_shot_s)
        self._detectors: list[Any] = [
            _PYSCENEDETECT[config.detector](min_scene_len=shortest, **given),
            ThresholdDetector(min_scene_len=shortest),
        ]
        self.lag = round(2 * shortest * frame_rate)
        self._time_base, self._frame_rate = time_base, frame_rate
        self._now = FrameTimecode(Timecode(0, time_base), frame_rate)

    def feed(self, glimpse: Glimpse, frame: Any) -> list[int]:  # noqa: ANN401 - PyAV has no types
        """Take the next frame."""
        self._now = FrameTimecode(Timecode(glimpse.pts, self._time_base), self._frame_rate)
        picture = as_picture(glimpse)
        return [self._pts(cut) for one in self._detectors for cut in one.process_frame(self._now, picture)]

    def finish(self) -> list[int]:
        """Return what the detectors held back."""
        return [self._pts(cut) for one in self._detectors for cut in one.post_process(self._now)]

    def _pts(self, cut: FrameTimecode) -> int:
        """Read a cut's timestamp; the fade detector counts frames instead."""
        return cut.pts if cut.time_base == self._time_base else round(Fraction(cut.seconds) / self._time_base)


def _detector(config: ShotsConfig, *, time_base: Fraction, frame_rate: Fraction) -> Detector:
    if config.detector == "adaptive":
        return AdaptiveDetector(config.threshold, frame_rate)
    if config.detector == "transnetv2":
        from storystream_builder.decoding.transnet import TransNetDetector

        return TransNetDetector(config.weights, config.threshold)
    return PySceneDetector(config, time_base=time_base, frame_rate=frame_rate)
