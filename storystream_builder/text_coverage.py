"""How much of a picture is lines of text: title cards and credits have much, a shop sign has little.

No recognition: strokes of letters are fine and of high contrast, and stand in rows. The gradient of the picture is
joined along the rows (the usual morphology for finding text); what comes out long, low and densely filled is a line.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_STROKES = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
_ROW = cv2.getStructuringElement(cv2.MORPH_RECT, (13, 1))
_MIN_EDGE = 48
"""Change of the luma across a letter's edge, at least."""
_MIN_HEIGHT, _MAX_HEIGHT = 5, 0.2
"""Of a line: pixels; share of the picture."""
_MIN_ASPECT = 2.0
_MIN_FILL = 0.4


def text_coverage(luma: NDArray[np.uint8]) -> float:
    """Give the share of a grey picture (at most 512 pixels wide or high) that lines of text cover."""
    gradient = cv2.morphologyEx(luma, cv2.MORPH_GRADIENT, _STROKES)
    _, edges = cv2.threshold(gradient, _MIN_EDGE, 255, cv2.THRESH_BINARY)
    rows = cv2.morphologyEx(edges, cv2.MORPH_CLOSE, _ROW)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(rows, connectivity=4)
    _, _, widths, heights, areas = boxes[1:].T
    lines = (
        (heights >= _MIN_HEIGHT)
        & (heights <= _MAX_HEIGHT * luma.shape[0])
        & (widths >= _MIN_ASPECT * heights)
        & (areas >= _MIN_FILL * widths * heights)
    )
    return float((widths * heights)[lines].sum() / luma.size)
