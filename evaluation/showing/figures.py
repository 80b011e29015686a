"""Figures: how drawings are written, the colours of systems in them, and a contact sheet of the headline stories."""

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from evaluation.pictures import Telling
from evaluation.systems import CAPTIONS_ALONE
from story_model.config import Transform
from story_model.pixels import Square

COLOURS = {
    "dense": "#8b8fa3",
    "window": "#e0912f",
    "attention_sink": "#3f8fd2",
    "multimodal_sink": "#d1447b",
    CAPTIONS_ALONE: "#4f9d69",
}
INK = "#010203"
"""Of axes and letters; in the page it becomes the text's own colour, in light and dark."""
_SHEET_SIDE = 96
_GAP = 3


def as_svg(figure: Figure) -> str:
    """Write a figure as an SVG element for a page: letters stay letters, ink takes the page's colour."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "storystream"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")


def as_png(figure: Figure) -> bytes:
    """Write a figure as PNG on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def contact_sheet(tellings: Sequence[Telling], *, stories: int, transform: Transform) -> Image.Image:
    """Lay out stories as pairs of rows, the dataset's pictures above the told ones, the opening at the left.

    The dataset's become square tiles as the told ones became squares (`transform`), so that a column can be compared.
    """
    square = Square(_SHEET_SIDE, transform, Image.Resampling.BICUBIC)
    shown = tellings[:stories]
    columns = 1 + max(len(telling.told) for telling in shown)
    step = _SHEET_SIDE + _GAP
    block = 2 * step + 3 * _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, len(shown) * block + _GAP), "white")
    for number, telling in enumerate(shown):
        rows = ((telling.opening, *telling.reference), (telling.opening, *telling.told))
        for line, pairs in enumerate(rows):
            for pair in pairs:
                if pair.source is not None:
                    sheet.paste(pair.squared(square), (_GAP + pair.index * step, _GAP + number * block + line * step))
    return sheet
