"""What could not be used, and why: the rows of `meta/errors.parquet`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that was left out, or used although it is not whole."""

    file: str
    step: str
    reason: str
    code: str
    """The kind of it, one of few."""
