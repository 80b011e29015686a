"""What a long story loses on its way: small drawings of measures over the segments, one line a system."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.showing.figures import COLOURS, INK, as_svg
from evaluation.statistics import Estimate

_OTHERS = ("#8a5fbf", "#b5753c", "#2a9d9d", "#a33b3b", "#6b7f2a")
"""Colours of systems that are no policy of ours, in their order."""
_DASHES = ("solid", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (1, 1)))
_FEWEST_POINTS = 3
_COLUMNS = 3
_GENERATED_ID = re.compile(r' id="[A-Za-z0-9]+_\d+"')
"""Ids that matplotlib counts up in every drawing; nothing refers to them, and a page holds many drawings."""


@dataclass(frozen=True)
class Line:
    """A system's values along the story."""

    label: str
    colour: str
    dash: int
    points: tuple[Estimate | None, ...]
    """Of segments 1, 2, ...; none where there is no value."""
    is_headline: bool = False
    is_reference: bool = False
    """The dataset's own level."""


@dataclass(frozen=True)
class Panel:
    """One measure in one mode."""

    title: str
    mode: str
    meaning: str
    lines: tuple[Line, ...]
    levels: tuple[tuple[str, float], ...] = ()
    """Constant levels to read it against, by name: chance, say."""


def line_of(
    label: str,
    points: Sequence[Estimate | None],
    number: int,
    *,
    is_headline: bool = False,
    is_reference: bool = False,
) -> Line:
    """Give a system's line its colour (by the policy's name, else its number) and its dash; the headline's is whole."""
    name = label.replace(" ", "_")
    colour = INK if is_reference else COLOURS.get(name, _OTHERS[number % len(_OTHERS)])
    dash = 0 if is_headline or is_reference else 1 + number % (len(_DASHES) - 1)
    return Line(label, colour, dash, tuple(points), is_headline, is_reference)


def has_course(lines: Sequence[Line]) -> bool:
    """Tell whether some system has values along the story, and not all of them are the same."""
    found = [[point.value for point in line.points if point is not None] for line in lines]
    is_long = any(len(values) >= _FEWEST_POINTS for values in found)
    return is_long and len({value for values in found for value in values}) > 1


def panel_svg(panel: Panel) -> str:
    """Draw one panel as an SVG element; the legend is the page's."""
    figure = Figure(figsize=(4.4, 2.7), layout="constrained")
    _draw(figure.subplots(), panel, title=False)
    return _GENERATED_ID.sub("", as_svg(figure))


def curves_figure(panels: Sequence[Panel]) -> Figure | None:
    """Draw all panels on one sheet; none where there is none."""
    if not panels:
        return None
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(13, 3.1 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for place, panel in zip(axes, panels, strict=False):
        _draw(place, panel, title=True)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    found = {label: line for place in axes for line, label in zip(*place.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    return figure


def css_dash(line: Line) -> str:
    """Name the line's dashes as SVG writes them, for the legend."""
    dash = _DASHES[line.dash]
    return "none" if isinstance(dash, str) else " ".join(f"{2 * part:g}" for part in dash[1])


def _draw(axes: Axes, panel: Panel, *, title: bool) -> None:
    for line in panel.lines:
        _draw_line(axes, line)
    for number, (name, level) in enumerate(panel.levels):
        axes.axhline(level, color=INK, linestyle=(":", "--")[number % 2], linewidth=1, alpha=0.6, label=name)
    if title:
        axes.set_title(f"{panel.title}, {panel.mode.replace('_', ' ')}", fontsize=10, color=INK, loc="left")
    axes.set_xlabel("segment of the story", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)


def _draw_line(axes: Axes, line: Line) -> None:
    points = [(index, one) for index, one in enumerate(line.points, start=1) if one is not None]
    if not points:
        return
    positions = [index for index, _ in points]
    axes.plot(
        positions,
        [one.value for _, one in points],
        color=line.colour,
        linewidth=2.6 if line.is_headline else 1.5,
        linestyle=_DASHES[line.dash],
        alpha=0.55 if line.is_reference else 1,
        label=line.label,
        zorder=3 if line.is_headline else 2,
        marker="o" if len(points) == 1 else None,
    )
    bounds = [(index, one.low, one.high) for index, one in points if one.low is not None and one.high is not None]
    if bounds and (line.is_headline or line.is_reference):
        at, low, high = zip(*bounds, strict=True)
        axes.fill_between(at, low, high, color=line.colour, alpha=0.16 if line.is_headline else 0.09, linewidth=0)
