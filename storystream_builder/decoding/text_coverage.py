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
    contours, hierarchy = cv2.findContours(rows, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return 0.0
    outer = np.flatnonzero(hierarchy[0, :, 3] < 0)  # the others are holes
    return sum(_line_area(contours[number], rows) for number in outer) / luma.size


def _line_area(contour: NDArray[np.int32], rows: NDArray[np.uint8]) -> int:
    """Give the area of the box around one joined piece, in pixels, if it looks like a line of text; 0 otherwise.

    Boxes come first, since few pieces have the shape of a line; measuring all at once (connected components with
    statistics) takes five times as long.
    """
    x, y, width, height = cv2.boundingRect(contour)
    if not _MIN_HEIGHT <= height <= _MAX_HEIGHT * rows.shape[0] or width < _MIN_ASPECT * height:
        return 0
    _, pieces = cv2.connectedComponents(rows[y : y + height, x : x + width], connectivity=8)
    own = pieces[contour[0, 0, 1] - y, contour[0, 0, 0] - x]
    return width * height if np.count_nonzero(pieces == own) >= _MIN_FILL * width * height else 0
