"""Numbers as pages write them: no more digits than their intervals bear, the interval small behind, a dash for none."""

import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluation.statistics import Estimate

PAGES = Path(__file__).parent / "pages"
DASH = Markup('<span class="none">&ndash;</span>')
_MAX_DIGITS = 4
_DIGITS = 2


def environment() -> Environment:
    """Open the folder of pages; whatever is put into one is text, not markup."""
    found = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters.update(number=number, percent=percent, measured=measured, measured_share=measured_share)
    found.filters.update(words=words, p_value=p_value, usd=usd)
    return found


def number(value: Estimate | float | None, digits: int = _DIGITS) -> Markup:
    """Write a number, its interval small behind it; a dash where there is none."""
    if value is None:
        return DASH
    if not isinstance(value, Estimate):
        return _plain(value, digits)
    if value.low is None or value.high is None:
        return _plain(value.value, digits)
    return _plain(value.value, digits) + _interval(value.low, value.high, digits)


def percent(value: Estimate | float | None, digits: int = 0) -> Markup:
    """Write a share in percent, as `number` does."""
    if value is None:
        return DASH
    if not isinstance(value, Estimate):
        return _plain(100 * value, digits) + " %"
    text = _plain(100 * value.value, digits) + " %"
    if value.low is None or value.high is None:
        return text
    return text + _interval(100 * value.low, 100 * value.high, digits)


def measured(value: Estimate | None) -> Markup:
    """Write a number with as many digits as its interval bears."""
    return number(value, digits_of(value))


def measured_share(value: Estimate | None) -> Markup:
    """Write a share in percent with as many digits as its interval bears."""
    return percent(value, max(0, digits_of(value) - 2))


def digits_of(value: Estimate | None) -> int:
    """Count the decimals that an interval bears: to its half width's first digit, the second where that is 1 or 2."""
    if value is None or value.low is None or value.high is None:
        return _DIGITS
    half = (value.high - value.low) / 2
    if not half > 0:
        return _DIGITS
    return min(_MAX_DIGITS, max(0, -math.floor(math.log10(half / 3))))


def p_value(p: float | None) -> Markup:
    """Write a p-value; small ones as below a bound."""
    if p is None:
        return DASH
    return Markup("&lt; 0.001") if p < 0.001 else Markup("{:.2g}").format(p)


def usd(amount: float) -> str:
    """Write dollars; cents count only in small sums."""
    return f"{amount:,.2f} USD" if amount >= 1 or amount == 0 else f"{amount:.4f} USD"


def words(name: str) -> str:
    """Write a name with spaces."""
    return name.replace("_", " ")


def _plain(value: float, digits: int) -> Markup:
    """Write a number with a true minus, and none before a zero."""
    return Markup(f"{value:z,.{digits}f}".replace("-", "&minus;"))


def _interval(low: float, high: float, digits: int) -> Markup:
    between = "to" if low < 0 else Markup("&ndash;")
    return Markup(' <span class="ci">{} {} {}</span>').format(_plain(low, digits), between, _plain(high, digits))
