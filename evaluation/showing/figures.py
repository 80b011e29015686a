"""Figures: accuracy over the length of the story, and a contact sheet of the headline stories."""

import io
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from evaluation.measures.cartoon_world import ASPECTS, Aspect
from evaluation.pictures import Telling
from evaluation.scores import Scores
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


def accuracy_curves(scores: Scores, headline_policy: str) -> Figure | None:
    """Draw accuracy by index, one panel a mode and aspect, one line a policy; none where there is no accuracy."""
    modes = list(dict.fromkeys(system.mode for system in scores.systems.values() if system.accuracy))
    if not modes:
        return None
    figure = Figure(figsize=(10.5, 2.9 * len(modes)), layout="constrained")
    panels = figure.subplots(len(modes), len(ASPECTS), squeeze=False, sharey=True)
    for mode, row in zip(modes, panels, strict=True):
        for aspect, axes in zip(ASPECTS, row, strict=True):
            _draw_panel(axes, scores, mode, aspect, headline_policy)
    handles, labels = panels[0][0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


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


def _draw_panel(axes: Axes, scores: Scores, mode: str, aspect: Aspect, headline_policy: str) -> None:
    systems = {one.policy: one for one in scores.systems.values() if one.mode == mode and aspect in one.accuracy}
    for policy, system in systems.items():
        points = [(index, one) for index, one in enumerate(system.accuracy[aspect].curve, start=1) if one is not None]
        positions = [index for index, _ in points]
        is_headline = policy == headline_policy
        colour = COLOURS.get(policy, "#777777")
        axes.plot(
            positions,
            [one.value for _, one in points],
            color=colour,
            linewidth=2.6 if is_headline else 1.4,
            label=policy.replace("_", " "),
            zorder=3 if is_headline else 2,
        )
        bounds = [(one.low, one.high) for _, one in points if one.low is not None and one.high is not None]
        if is_headline and len(bounds) == len(points) > 0:
            low, high = zip(*bounds, strict=True)
            axes.fill_between(positions, low, high, color=colour, alpha=0.15, linewidth=0)
    chances = {policy: one.accuracy[aspect].chance_majority for policy, one in systems.items()}
    _draw_levels(axes, chances, scores, aspect)
    axes.set_title(f"{aspect}, {mode.replace('_', ' ')}", fontsize=10, color=INK, loc="left")
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("segment of the story", fontsize=9, color=INK)
    axes.set_ylabel("accuracy", fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)


def _draw_levels(axes: Axes, chances: Mapping[str, float | None], scores: Scores, aspect: Aspect) -> None:
    known = [chance for chance in chances.values() if chance is not None]
    if known:
        axes.axhline(max(known), color=INK, linestyle=":", linewidth=1, alpha=0.7, label="chance")
    if scores.probe is not None:
        ceiling = scores.probe[f"probe_{aspect}_accuracy"]
        axes.axhline(ceiling, color=INK, linestyle="--", linewidth=1, alpha=0.5, label="probe's ceiling")
