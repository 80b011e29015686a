"""Lines of text cover title cards and credits; drawings and figures do not."""

import cv2
import numpy as np
import pytest

from storystream_builder.decoding.text_coverage import text_coverage

SIZE = (288, 512)


def card(num_lines: int, *, height: int = 288, ink: int = 255, paper: int = 0) -> np.ndarray:
    picture = np.full((height, SIZE[1]), paper, np.uint8)
    for number in range(num_lines):
        at = (60, 40 + 30 * number)
        cv2.putText(picture, "THE TALE OF GEORGE", at, cv2.FONT_HERSHEY_SIMPLEX, 0.9, ink, 2, cv2.LINE_AA)
    return picture


def reference(luma: np.ndarray) -> float:
    """The same, measuring all joined pieces at once."""
    gradient = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    edges = cv2.threshold(gradient, 48, 255, cv2.THRESH_BINARY)[1]
    rows = cv2.morphologyEx(edges, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_RECT, (13, 1)))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(rows, connectivity=8)
    _, _, widths, heights, areas = boxes[1:].T
    is_line = (heights >= 5) & (heights <= 0.2 * luma.shape[0]) & (widths >= 2 * heights)
    return float((widths * heights)[is_line & (areas >= 0.4 * widths * heights)].sum() / luma.size)


def drawing(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = card(int(rng.integers(0, 8)))
    for _ in range(int(rng.integers(0, 40))):
        at = tuple(int(value) for value in rng.integers(0, 500, 2))
        cv2.ellipse(picture, at, (int(rng.integers(3, 90)), int(rng.integers(3, 60))), 0, 0, 360, 180, 2)
    return picture


@pytest.mark.parametrize(("ink", "paper"), [(255, 0), (0, 255), (220, 90)])
def test_more_lines_cover_more(ink, paper):
    covered = [text_coverage(card(number, ink=ink, paper=paper)) for number in range(0, 9, 2)]
    assert covered == sorted(covered)
    assert covered[0] == 0
    assert covered[-1] > 0.2


def test_large_shapes_are_no_text():
    picture = np.full(SIZE, 200, np.uint8)
    cv2.circle(picture, (250, 140), 100, 20, 3)
    cv2.rectangle(picture, (20, 20), (150, 250), 60, -1)
    assert text_coverage(picture) < 0.02


def test_text_within_a_frame_is_seen():
    picture = card(5)
    cv2.rectangle(picture, (10, 5), (500, 280), 255, 2)
    assert text_coverage(picture) == pytest.approx(text_coverage(card(5)), abs=0.02)


def test_an_empty_picture_holds_no_text():
    assert text_coverage(np.zeros((1, 1), np.uint8)) == 0


@pytest.mark.parametrize("seed", range(30))
def test_pieces_measured_one_by_one_are_those_measured_at_once(seed):
    assert text_coverage(drawing(seed)) == pytest.approx(reference(drawing(seed)), abs=1e-12)
