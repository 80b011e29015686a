"""TransNetV2, a network that has learned what cuts and dissolves look like; its weights are the user's own ONNX file.

It sees 100 frames of 48 x 27 pixels at a time and is believed for the middle 50. The network takes (1, 100, 27, 48, 3)
RGB values of 0-255 and gives (1, 100, 1) probabilities that a shot ends; what else it gives is not read.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from story_model.manifest import sha256_of
from storystream_builder.decoding.glimpses import Glimpse
from storystream_builder.decoding.pictures import Pixels, converted

WINDOW, CONTEXT = 100, 25
"""Frames that the network sees at once; of these, on either side, only looked at."""
WIDTH, HEIGHT = 48, 27
THRESHOLD = 0.5
_OURS = WINDOW - 2 * CONTEXT
_SAMPLES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


class TransNetDetector:
    """Tells cuts and the middles of dissolves and fades, a window later."""

    lag = WINDOW

    def __init__(self, weights: str | None, threshold: float | None) -> None:
        """Load the network; `threshold` is the probability from which a frame ends a shot (none: 0.5).

        Raises:
            ValueError: there is no such file, it is no such network, or `onnxruntime` is not installed.
        """
        self._session = _session(_weights_file(weights))
        self._samples = _SAMPLES[self._session.get_inputs()[0].type]
        self._threshold = THRESHOLD if threshold is None else threshold
        self._waiting: list[Pixels] = []
        self._times: list[int] = []
        self._ending: list[int] = []

    def feed(self, glimpse: Glimpse, frame: Any) -> list[int]:  # noqa: ANN401 - PyAV has no types
        """Take the next frame; return the first timestamps of shots found to begin."""
        small = converted(frame, width=WIDTH, height=HEIGHT, format="rgb24", interpolation="AREA").to_ndarray()
        if not self._waiting:
            self._waiting = [small] * CONTEXT
        self._waiting.append(small)
        self._times.append(glimpse.pts)
        return self._predict() if len(self._waiting) == WINDOW else []

    def finish(self) -> list[int]:
        """Judge the last frames, the very last one repeated."""
        cuts: list[int] = []
        while self._times:
            self._waiting += [self._waiting[-1]] * (WINDOW - len(self._waiting))
            cuts += self._predict()
        return cuts

    def _predict(self) -> list[int]:
        chances = self._chances(np.stack(self._waiting))[CONTEXT : CONTEXT + _OURS]
        cuts: list[int] = []
        for pts, chance in zip(self._times[:_OURS], chances, strict=False):
            cuts += self._follow(pts, ends=bool(chance > self._threshold))
        self._waiting, self._times = self._waiting[_OURS:], self._times[_OURS:]
        return cuts

    def _follow(self, pts: int, *, ends: bool) -> list[int]:
        """Follow frames that end a shot: the next one begins after the middle of them."""
        if ends:
            self._ending.append(pts)
            return []
        ending, self._ending = [*self._ending, pts], []
        return [ending[(len(ending) - 2) // 2 + 1]] if len(ending) > 1 else []

    def _chances(self, frames: Pixels) -> NDArray[np.float32]:
        """Run the network: (100, 27, 48, 3) to (100,)."""
        name = self._session.get_inputs()[0].name
        found = np.asarray(self._session.run(None, {name: frames[None].astype(self._samples)})[0]).reshape(-1)
        if found.size != WINDOW or found.min() < 0 or found.max() > 1:
            raise ValueError(
                f"the network of build.shots.weights gives {found.size} values from {found.min():.2f} to "
                f"{found.max():.2f}; it must give {WINDOW} probabilities (export it with its sigmoid)"
            )
        return found.astype(np.float32)


def weights_sha256(weights: str | None) -> str:
    """Name a network by its content.

    Raises:
        ValueError: there is no such file, or `onnxruntime` is not installed.
    """
    path = _weights_file(weights)
    _onnxruntime()
    return sha256_of(path)


def _weights_file(weights: str | None) -> Path:
    if weights is None:
        raise ValueError(
            "build.shots.detector is transnetv2 without a network; name its ONNX file in build.shots.weights"
        )
    if not Path(weights).is_file():
        raise ValueError(f"build.shots.weights: there is no file {weights}")
    return Path(weights)


def _session(weights: Path) -> Any:  # noqa: ANN401 - onnxruntime has no types
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # episodes are decoded side by side
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(weights), sess_options=options, providers=["CPUExecutionProvider"])
    except (RuntimeError, ValueError, runtime.capi.onnxruntime_pybind11_state.InvalidProtobuf) as error:
        raise ValueError(f"build.shots.weights: {weights} is no ONNX network: {error}") from None
    takes = session.get_inputs()
    if len(takes) != 1 or takes[0].type not in _SAMPLES:
        found = ", ".join(f"{one.name} {one.type}" for one in takes)
        raise ValueError(f"build.shots.weights: {weights} takes {found}; TransNetV2 takes one float or uint8 tensor")
    return session


def _onnxruntime() -> Any:  # noqa: ANN401 - onnxruntime has no types
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(
            "build.shots.detector=transnetv2 needs onnxruntime; install it: pip install -e '.[transnetv2]'"
        ) from None
    return onnxruntime
