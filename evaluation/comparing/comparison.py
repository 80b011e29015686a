"""What a comparison of two runs holds: the rows of `comparison.json`. Left is the older run, right the newer."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from evaluation.comparing.sides import ConfigChange, Side
from evaluation.judging.comparisons import PairTable
from evaluation.judging.questions import Dimension
from evaluation.statistics import Estimate
from story_model.verdict import Verdict

Better = Literal["higher", "lower"]
Finding = Literal["better", "worse", "differs", "no significant difference", "not compared"]
"""Of the right run. `differs`: significantly, in a measure of which neither end is good in itself."""
JUDGE = "judge"
"""In the place of a mode, in the names of what the judge said: `judge/coherence`."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Starts(_Row):
    """Which stories can be paired."""

    shared: int
    """Told by both from the same opening picture and text."""
    only_left: int
    only_right: int
    other_opening: int
    """Of the same id in datasets that differ, but with another opening: not paired."""
    other_captions: int
    """Shared, but the datasets' captions differ later: not paired where captions are given."""
    cut: int
    """Tellings that are longer on one side; only the segments that both have are measured."""


class Row(_Row):
    """One measure of both runs, paired by story."""

    mode: str
    measure: str
    better: Better | None
    meaning: str
    primary: bool = False
    """Whether the verdict hangs on it."""
    test: str = "Wilcoxon"
    """Behind the p-value, two-sided over stories: Wilcoxon's signed ranks, or swapping whole stories at random."""
    left: Estimate | None = None
    """Mean over the paired stories' means."""
    right: Estimate | None = None
    difference: Estimate | None = None
    """Right minus left."""
    detectable: float | None = None
    """The smallest true difference that as many stories would show in 80 of 100 experiments."""
    stories: int = 0
    """Paired; both runs have a value for them."""
    wins: int = 0
    """Stories in which the right run is better; where neither end is good, in which its value is higher."""
    losses: int = 0
    ties: int = 0
    p_value: float | None = None
    p_adjusted: float | None = None
    """Holm over the primary rows, or over all others."""
    finding: Finding = "not compared"
    reason: str | None = None
    """Why it is not compared."""

    @property
    def name(self) -> str:
        """Mode and measure in one."""
        return f"{self.mode}/{self.measure}"


class JudgePairs(_Row):
    """The judges' choices between both runs' stories, or why there are none; left in the tables is the newer run."""

    skipped: str | None = None
    tables: dict[str, dict[Dimension, PairTable]] = {}
    """By judge; the majority of those who are trusted last."""
    distrusted: dict[str, list[str]] = {}
    """By dimension, judges who missed damage in the newer run's self-test."""
    asked: int = 0
    """Questions, of all judges; a pair is two."""
    left_out: dict[str, int] = {}
    """Questions that could not be asked, by story and reason."""
    usd: float = 0.0
    """What the answers cost, now or earlier."""
    newly_paid_usd: float = 0.0
    notices: list[str] = []


class Comparison(_Row):
    """`comparison.json`."""

    left: Side
    right: Side
    verdict: Verdict
    reason: str
    """One line."""
    level: float
    primary: list[str]
    """Laid down by `evaluate.champion.primary` before anything was seen."""
    headline_mode: str
    """In which the judge compares, and whose stories stand first."""
    starts: dict[str, Starts]
    """By mode."""
    rows: list[Row]
    judge: JudgePairs
    changes: list[ConfigChange]
    notes: list[str]
    """What a reader must know before believing the rows."""
