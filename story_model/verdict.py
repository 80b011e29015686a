"""What came of holding a newly evaluated run against the best one so far: evaluation writes it, the flow shows it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

Verdict = Literal["improved", "regressed", "undecided"]
Standing = Literal["crowned", "improved", "regressed", "undecided", "champion", "superseded", "incomparable"]
"""`crowned`: there was no champion, or the user said so. `champion`: the run is the champion itself; `superseded`: it
is older. `incomparable`: the champion cannot be read any more, and stays. The others: the verdict of the comparison."""


class Change(BaseModel):
    """One primary measure of both runs; intervals are none where they could not be had."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """`<mode>/<measure>`, or `judge/<dimension>`."""
    better: Literal["higher", "lower"]
    before: float | None
    after: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    p_adjusted: float | None = None
    """After Holm, over the primary measures together."""
    finding: str

    def in_words(self) -> str:
        """Say what changed, by how much and how sure it is."""
        numbers = "" if self.before is None or self.after is None else f" {self.before:.4g} -> {self.after:.4g}"
        spread = "" if self.low is None or self.high is None else f" ({self.low:+.3g} to {self.high:+.3g})"
        change = "" if self.difference is None else f", {self.difference:+.3g}{spread}"
        p = "" if self.p_adjusted is None else f", p {self.p_adjusted:.2g}"
        return f"{self.name}{numbers}{change}{p}"


class ChampionOutcome(BaseModel):
    """`standing.json`: where a run stands among the evaluated ones."""

    model_config = ConfigDict(extra="forbid")

    run: str
    model: str
    """MLflow's registered model."""
    version: int
    """The run's version of it."""
    champion: int | None
    """The version that is champion now."""
    against: str | None
    """The run it was held against."""
    standing: Standing
    message: str
    """One line."""
    changes: list[Change] = []
    """Of the primary measures."""
    page: str | None = None
    """`comparison.html`, within the run's folder."""
    tracking_run_id: str | None = None
    """MLflow run of the comparison, which holds the page too."""


def read_standing(path: Path) -> ChampionOutcome | None:
    """Read `standing.json`; none where there is none that can be read."""
    try:
        return ChampionOutcome.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
