"""The page of a comparison: verdict first, then what it rests on, the stories side by side, and where all is from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jinja2 import Environment
from markupsafe import Markup

from evaluation.comparing.comparison import Comparison, Row
from evaluation.comparing.pictured import Tellings
from evaluation.judging.comparisons import POOLED, PairTable
from evaluation.judging.questions import Dimension
from evaluation.showing.numbers import DASH, digits_of, environment, number, words
from evaluation.showing.strips import Strip, strips
from evaluation.statistics import Estimate
from story_model.config import RunConfig

_TEMPLATE = "comparison.html"
_TONES = {"better": "good", "worse": "bad", "improved": "good", "regressed": "bad", "differs": "other"}
_SHORT = {"no significant difference": "undecided"}


@dataclass(frozen=True)
class Bar:
    """An interval as the page draws it, in percent of the width; zero lies at 50."""

    left: float
    width: float
    at: float


@dataclass(frozen=True)
class TooFew:
    """Too few stories for so many measures."""

    stories: int
    least_p: float
    """Of an exact test over so many stories."""
    measures: int


def render_comparison(comparison: Comparison, tellings: Mapping[str, Tellings], *, config: RunConfig) -> str:
    """Write the page as HTML; `tellings` by mode, of both runs."""
    left, right = names_of(comparison)
    modes = sorted(tellings, key=lambda mode: mode != comparison.headline_mode)
    shown = {mode: _strips(tellings[mode], (left, right), config) for mode in modes}
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            found=comparison,
            left=left,
            right=right,
            primary=sorted((row for row in comparison.rows if row.primary), key=lambda row: row.p_value is None),
            absent=[name for name in comparison.primary if name not in {row.name for row in comparison.rows}],
            decisive=_decisive(comparison.rows),
            too_few=_too_few(comparison),
            judges=_judges(comparison),
            groups=_groups(comparison.rows),
            strips={mode: found for mode, found in shown.items() if found},
        )
    )


def names_of(comparison: Comparison) -> tuple[str, str]:
    """Name both runs so that they can be told apart, even where they have one name in two workspaces."""
    left, right = comparison.left.run, comparison.right.run
    return (left, right) if left != right else (f"{left} (older)", f"{right} (newer)")


def bar_of(difference: Estimate | None) -> Bar | None:
    """Lay an interval out around zero; none where there is no interval, or it has no width and lies at zero."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    reach = 1.08 * max(abs(difference.low), abs(difference.high), abs(difference.value))
    if reach == 0:
        return None
    left, at, end = (50 + 50 * value / reach for value in (difference.low, difference.value, difference.high))
    return Bar(left=round(left, 2), width=round(end - left, 2), at=round(at, 2))


def _decisive(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Gather the primary rows that are worse, then those that are better."""
    found = {
        finding: [row for row in rows if row.primary and row.finding == finding] for finding in ("worse", "better")
    }
    return {finding: own for finding, own in found.items() if own}


def _judges(comparison: Comparison) -> dict[str, dict[Dimension, PairTable]]:
    """Leave the majority of one judge out."""
    tables = comparison.judge.tables
    return {name: own for name, own in tables.items() if name != POOLED or len(tables) > 2}


def _too_few(comparison: Comparison) -> TooFew | None:
    """Tell whether so few stories can show anything among the measures that are not primary."""
    others = [row for row in comparison.rows if row.p_value is not None and not row.primary]
    if not others:
        return None
    stories = max(row.stories for row in others)
    found = TooFew(stories=stories, least_p=min(1.0, 2.0 ** (1 - stories)), measures=len(others))
    return found if found.least_p * found.measures >= comparison.level else None


def _title(row: Row) -> str:
    """Name a row's measure for readers."""
    network = row.measure.removeprefix("frechet_")
    return words(row.measure if network == row.measure else f"Fréchet distance, {network}")


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Gather rows by mode, in the order in which modes appear."""
    return {mode: [row for row in rows if row.mode == mode] for mode in dict.fromkeys(row.mode for row in rows)}


def _strips(tellings: Tellings, names: tuple[str, str], config: RunConfig) -> list[Strip]:
    """Set up the first shared stories; the strips name systems by their mode, which here is the run's name."""
    sides = {
        name: [replace(telling, mode=name, policy="") for telling in side]
        for name, side in zip(names, tellings, strict=True)
    }
    stories = config.evaluate.report_stories
    return strips(sides, {}, stories=stories, transform=config.model.detokenizer.transform)


def _environment() -> Environment:
    found = environment()
    found.filters.update(
        plain=lambda value: number(value.value, digits_of(value)) if value else DASH,
        change=_change,
        significant="{:.2g}".format,
        tone=lambda finding: _TONES.get(finding, "mute"),
        short=lambda finding: _SHORT.get(finding, finding),
        capitalize_first=lambda text: text[:1].upper() + text[1:],
        bar=bar_of,
        title_of=_title,
    )
    return found


def _change(difference: Estimate | None) -> Markup:
    """Write a difference with its sign, its interval small behind it."""
    if difference is None:
        return DASH
    digits = digits_of(difference)
    text = _signed(difference.value, digits)
    if difference.low is None or difference.high is None:
        return text
    low, high = _signed(difference.low, digits), _signed(difference.high, digits)
    return text + Markup(' <span class="ci">{} to {}</span>').format(low, high)


def _signed(value: float, digits: int) -> Markup:
    """Write a number with its sign, a zero without."""
    text = f"{value:+z,.{digits}f}"
    return Markup("&minus;") + text[1:] if text[0] == "-" else Markup(text if text.strip("+0.,") else text[1:])
