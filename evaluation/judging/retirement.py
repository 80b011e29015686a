"""Whether a judge's model is about to be shut down, as far as its server says: numbers of a retired judge end there."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from story_model.asking.replies import one_line

_ENDS = ("shutdown_date", "shutdown_at", "retirement_date", "retires_at", "sunset_date", "sunset_at", "sunset")
"""When the model stops answering."""
_AGES = ("deprecation_date", "deprecated_at", "deprecation", "deprecated")
"""When it is no longer recommended, or whether."""
_SOON = timedelta(days=90)
_MILLISECONDS = 1e11
"""Unix times beyond this many seconds (the year 5138) are in milliseconds."""


def retirement(model: Mapping[str, object], now: datetime) -> tuple[bool, str]:
    """Read a model's row of `GET /models`: whether it is retired, and what there is to say; empty where nothing is.

    Dates are Unix times or ISO dates; one that cannot be read is told as it stands.
    """
    for field in _ENDS:
        said = model.get(field)
        if not said:
            continue
        at = _time(said)
        if at is None:
            return False, f"its server says {field} {one_line(str(said))!r}"
        if at <= now:
            return True, f"was shut down on {at:%Y-%m-%d}"
        if at - now <= _SOON:
            days = math.ceil((at - now) / timedelta(days=1))
            return False, f"will be shut down on {at:%Y-%m-%d}, in {days} days: judge a new one beside it before"
    return False, _ageing(model, now)


def _ageing(model: Mapping[str, object], now: datetime) -> str:
    for field in _AGES:
        said = model.get(field)
        if not said:
            continue
        at = None if said is True else _time(said)
        if at is None:
            return f"its server says {field} {one_line(str(said))!r}"
        if at <= now:
            return f"is deprecated since {at:%Y-%m-%d}"
        if at - now <= _SOON:
            return f"will be deprecated from {at:%Y-%m-%d}"
    return ""


def _time(said: object) -> datetime | None:
    try:
        if isinstance(said, (int, float)) and not isinstance(said, bool):
            return datetime.fromtimestamp(said / 1000 if said > _MILLISECONDS else said, tz=UTC)
        found = datetime.fromisoformat(str(said).strip())
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
