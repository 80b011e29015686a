"""The learned detector, with a tiny network of the same form: it compares each frame with the next one."""

import numpy as np
import pytest
from drawn_videos import Scene, draw_video

from story_model.build_config import ShotsConfig
from storystream_builder.decoding.transnet import CONTEXT, HEIGHT, WIDTH, WINDOW, TransNetDetector, weights_sha256

onnx = pytest.importorskip("onnx", reason="the drawn network is made with the package onnx")
pytest.importorskip("onnxruntime", reason="the extra transnetv2 is not installed")
from onnx import TensorProto, helper  # noqa: E402


def tiny_network(path, *, takes=TensorProto.FLOAT, gain: float = 0.5, bias: float = -10.0, with_sigmoid: bool = True):
    """Write a network that finds changes of the mean value: 1 at each frame before one of 20 and more."""
    shape = [1, WINDOW, HEIGHT, WIDTH, 3]
    constants = {
        "axes": np.array([2, 3, 4]),
        "one": np.array([1]),
        "last": np.array([WINDOW]),
        "zero": np.array([0]),
        "end": np.array([WINDOW - 1]),
        "gain": np.array(gain, np.float32),
        "bias": np.array(bias, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["input"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("Slice", ["means", "one", "last", "one"], ["later"]),
        helper.make_node("Slice", ["means", "zero", "end", "one"], ["earlier"]),
        helper.make_node("Sub", ["later", "earlier"], ["change"]),
        helper.make_node("Abs", ["change"], ["size"]),
        helper.make_node("Pad", ["size", "pads"], ["padded"]),
        helper.make_node("Mul", ["padded", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Sigmoid" if with_sigmoid else "Identity", ["logits"], ["chances"]),
        helper.make_node("Unsqueeze", ["chances", "two"], ["output"]),
    ]
    constants |= {"pads": np.array([0, 0, 0, 1]), "two": np.array([2])}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", takes, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, WINDOW, 1])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return str(path)


class Frames:
    """Frames of one grey each, as the detector gets them."""

    def __init__(self, levels):
        import av

        self.frames = [
            av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), level, np.uint8), "rgb24") for level in levels
        ]

    def cuts(self, weights: str, *, first_pts: int = 0, step: int = 10, threshold: float | None = None) -> list[int]:
        from storystream_builder.decoding.glimpses import glimpse

        detector = TransNetDetector(weights, threshold)
        found = []
        for number, frame in enumerate(self.frames):
            found += detector.feed(glimpse(first_pts + step * number, frame, None), frame)
        return found + detector.finish()


def levels_with_cuts(length: int, cuts: list[int]) -> list[int]:
    return [100 * (sum(cut <= number for cut in cuts) % 2) for number in range(length)]


@pytest.mark.parametrize("length", [1, 30, 49, 50, 51, 99, 100, 101, 260])
def test_windows_find_what_is_seen_in_the_whole(tmp_path, length):
    """Cuts at and around every border of windows and of what they are believed for."""
    network = tiny_network(tmp_path / "tiny.onnx")
    borders = (1, 24, 25, 26, 49, 50, 51, 74, 75, 76, 99, 100, 101, 125, 149, 151, 200, 226, 250, 251, 259)
    for cut in [border for border in borders if border < length]:
        assert Frames(levels_with_cuts(length, [cut])).cuts(network) == [10 * cut]


def test_several_cuts_are_told_in_order_and_once(tmp_path):
    cuts = list(range(7, 400, 13))
    network = tiny_network(tmp_path / "tiny.onnx")
    assert Frames(levels_with_cuts(411, cuts)).cuts(network) == [10 * cut for cut in cuts]


def test_a_dissolve_is_cut_in_its_middle_over_a_border_of_windows_too(tmp_path):
    levels = [0] * 46 + list(range(0, 250, 25)) + [250] * 60
    (cut,) = Frames(levels).cuts(tiny_network(tmp_path / "tiny.onnx"), step=1)
    assert abs(cut - 51) <= 1


def test_times_are_the_frames_own(tmp_path):
    network = tiny_network(tmp_path / "tiny.onnx")
    assert Frames(levels_with_cuts(60, [40])).cuts(network, first_pts=7000, step=512) == [7000 + 40 * 512]


def test_a_network_of_bytes_is_served_too(tmp_path):
    network = tiny_network(tmp_path / "tiny.onnx", takes=TensorProto.UINT8)
    assert Frames(levels_with_cuts(60, [40])).cuts(network) == [400]


def test_the_threshold_is_a_probability(tmp_path):
    network = tiny_network(tmp_path / "tiny.onnx", gain=0.02, bias=-2.0)  # a cut has probability 0.5
    frames = Frames(levels_with_cuts(60, [40]))
    assert (frames.cuts(network, threshold=0.4), frames.cuts(network, threshold=0.6)) == ([400], [])


def test_films_are_cut_by_the_network(tmp_path, decode):
    """Light drawn over dark: the network hears only the light."""
    video = draw_video(tmp_path / "x.mp4", [Scene(1, 3.0, 0.9), Scene(1, 9.0, 0.2), Scene(1, 3.0, 0.9)])
    shots = ShotsConfig(detector="transnetv2", weights=tiny_network(tmp_path / "tiny.onnx"))
    record, rows = decode(video, shots=shots)
    assert [shot.start_ms for shot in record.shots] == [0, 3000, 12000]
    assert {row["shot_id"] for row in rows} == {0, 1, 2}


def test_a_short_shot_that_is_told_late_still_has_candidates(tmp_path, decode):
    """The long shot before holds few frames; the shot after it is over before the network has told of it."""
    parts = [Scene(1, 30.0, 0.9), Scene(1, 2.0, 0.2), Scene(1, 2.0, 0.9)]
    shots = ShotsConfig(detector="transnetv2", weights=tiny_network(tmp_path / "tiny.onnx"))
    record, _ = decode(draw_video(tmp_path / "x.mp4", parts), shots=shots)
    assert [shot.start_ms for shot in record.shots] == [0, 30_000, 32_000]
    assert record.shots[1].num_candidates >= 2


def test_a_network_is_named_by_its_content(tmp_path):
    one, same = tiny_network(tmp_path / "a.onnx"), tiny_network(tmp_path / "b.onnx")
    other = tiny_network(tmp_path / "c.onnx", gain=0.1)
    assert weights_sha256(one) == weights_sha256(same) != weights_sha256(other)


def test_logits_are_refused_with_what_to_do(tmp_path):
    network = tiny_network(tmp_path / "tiny.onnx", with_sigmoid=False)
    with pytest.raises(ValueError, match="export it with its sigmoid"):
        Frames(levels_with_cuts(120, [40])).cuts(network)


def test_a_detector_without_its_network_says_what_to_set():
    with pytest.raises(ValueError, match=r"build\.shots\.weights"):
        TransNetDetector(None, None)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match="is no ONNX network"):
        TransNetDetector(str(tmp_path / "x.onnx"), None)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"\.\[transnetv2\]"):
        TransNetDetector(tiny_network(tmp_path / "tiny.onnx"), None)


def test_the_context_is_what_the_network_was_trained_with():
    assert (WINDOW, CONTEXT, WIDTH, HEIGHT) == (100, 25, 48, 27)
