"""How a score is distributed over candidates, with the limit drawn in, as SVG that stands in a page."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_BINS = 48
_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE = 560, 150, 8, 34, 18
_TICKS = 5


@dataclass(frozen=True)
class Limit:
    """A limit on a score: below the least, or above the most, a candidate is dropped."""

    name: str
    """Of the setting."""
    value: float
    before: float
    """As it was."""
    is_least: bool

    def drops(self, score: float) -> bool:
        """Whether a candidate with this score is dropped."""
        return score < self.value if self.is_least else score > self.value


@dataclass(frozen=True)
class Histogram:
    """One score of all candidates."""

    score: str
    svg: str
    num_scored: int
    limits: tuple[tuple[Limit, int], ...]
    """Each with the number of candidates that it drops by itself."""


def histogram(score: str, values: Sequence[float], kept: Sequence[bool], limits: Sequence[Limit]) -> Histogram:
    """Draw a score of candidates; `kept` says which of them are kept.

    The axis of a score with a long tail is a square root's, and heights are logarithmic: what a limit should divide is
    seldom where most candidates are.
    """
    edge = max([*values, *(limit.value for limit in limits), *(limit.before for limit in limits)], default=1.0) or 1.0
    root = score == "sharpness"
    place: Callable[[float], float] = lambda value: _share(value, edge, root=root)  # noqa: E731
    parts = [*_bars(values, kept, place), *_axis(edge, root=root)]
    for limit in limits:
        parts += _limit(limit, place)
    svg = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Distribution of {score}">{"".join(parts)}</svg>'
    )
    dropped = tuple((limit, sum(limit.drops(value) for value in values)) for limit in limits)
    return Histogram(score, svg, len(values), dropped)


def _share(value: float, edge: float, *, root: bool) -> float:
    share = min(1.0, max(0.0, value / edge))
    return math.sqrt(share) if root else share


def _x(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - 2 * _LEFT), 1)


def _bars(values: Sequence[float], kept: Sequence[bool], place: Callable[[float], float]) -> Iterator[str]:
    every, good = [0] * _BINS, [0] * _BINS
    for value, is_kept in zip(values, kept, strict=True):
        index = min(_BINS - 1, int(place(value) * _BINS))
        every[index] += 1
        good[index] += is_kept
    tallest = math.log1p(max(every))
    for index in range(_BINS):
        for kind, number in (("dropped", every[index]), ("kept", good[index])):
            if number:
                yield _bar(index, kind, number, tallest)


def _bar(index: int, kind: str, number: int, tallest: float) -> str:
    room = _HEIGHT - _BELOW - _ABOVE
    height = round(room * math.log1p(number) / tallest, 1)
    left, right = _x(index / _BINS), _x((index + 1) / _BINS)
    return (
        f'<rect class="{kind}" x="{left}" y="{_HEIGHT - _BELOW - height:.1f}" width="{right - left - 1:.1f}" '
        f'height="{height}"><title>{number} {"kept" if kind == "kept" else "candidates"}</title></rect>'
    )


def _axis(edge: float, *, root: bool) -> Iterator[str]:
    base = _HEIGHT - _BELOW
    yield f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{base}" y2="{base}"/>'
    for tick in range(_TICKS):
        share = tick / (_TICKS - 1)
        value = edge * (share**2 if root else share)
        anchor = {0: "start", _TICKS - 1: "end"}.get(tick, "middle")
        yield f'<text x="{_x(share)}" y="{base + 14}" text-anchor="{anchor}">{_told(value)}</text>'


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _limit(limit: Limit, place: Callable[[float], float]) -> Iterator[str]:
    base = _HEIGHT - _BELOW
    if limit.value != limit.before:
        x = _x(place(limit.before))
        yield f'<line class="before" x1="{x}" x2="{x}" y1="{_ABOVE - 6}" y2="{base}"/>'
    x = _x(place(limit.value))
    yield f'<line class="limit" x1="{x}" x2="{x}" y1="{_ABOVE - 6}" y2="{base}"/>'
    anchor = "start" if place(limit.value) < 1 / 2 else "end"
    arrow = f"keeps ≥ {limit.value:g}" if limit.is_least else f"keeps ≤ {limit.value:g}"
    yield f'<text class="limit" x="{x}" y="{base + 28}" text-anchor="{anchor}">{arrow}</text>'
