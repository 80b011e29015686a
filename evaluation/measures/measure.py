"""What all measures have in common: a name, values by story and segment, and which way is better.

A measure gives a number for each segment at which it can be taken. Means, intervals over stories, curves over the
length of the story, paired tests between systems and runs, and the rows of `values.parquet` all follow from these
numbers alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Values = Mapping[str, Sequence[tuple[int, float]]]
"""Of one system, by story id: (index of the segment, value), for the segments that have one. Index 0 stands for the
story as a whole, where a measure has no place in it."""

Measured = Mapping[str, Values]
"""Of one system, by the measure's name."""


@dataclass(frozen=True)
class Measure:
    """What a number means."""

    name: str
    """As in tables, MLflow and Parquet: lower case, joined by underscores."""
    better: Literal["higher", "lower"] | None
    """None where neither end is good in itself: then it is read beside the dataset's own value."""
    meaning: str
    """One sentence for readers of the report."""
