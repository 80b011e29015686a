"""What a judge is asked and what it answered: the rows that all of judging hands around.

A question shows one story, to be scored in one dimension, or two, to be compared in it. Who told them is known to us
and never sent.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evaluation.pictures import Pair

Dimension = Literal["style", "engaging", "coherence"]
DIMENSIONS: tuple[Dimension, ...] = ("style", "engaging", "coherence")
Purpose = Literal["score", "pair", "anchor", "self_test", "injection"]
Status = Literal["ok", "refused", "filtered", "truncated", "invalid", "error", "not_asked"]
"""`ok`: there is a score or a choice. `invalid`: an answer of another form. `error`: no answer came, asked again by the
next run. `not_asked`: the budget was spent, the endpoint had failed too often, or its answers had all been cut off."""
Choice = Literal["first", "second", "tie"]
REFERENCE = "dataset"
"""The system that is the dataset's own stories: what the judge gives the real thing."""


@dataclass(frozen=True)
class Question:
    """One dimension of one story, or of two in the order in which they are shown."""

    purpose: Purpose
    dimension: Dimension
    story_id: str
    systems: tuple[str, ...]
    """Who told the stories shown; one or two."""
    stories: tuple[tuple[Pair, ...], ...]
    """Their pairs, the opening first; every pair has a picture."""
    repeat: int = 0
    """Which asking of the same question this is."""
    label: str = ""
    """How the story was spoiled, or what was injected."""


class Judgement(BaseModel):
    """A question without its pictures, and what became of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str
    """Model, and its address where there are several of the name."""
    purpose: Purpose
    dimension: Dimension
    story_id: str
    systems: tuple[str, ...]
    repeat: int = 0
    label: str = ""
    status: Status
    score: float | None = None
    """1 to 10; only where one story was shown and the status is ok."""
    choice: Choice | None = None
    """Only where two were shown and the status is ok."""
    rationale: str | None = None
    reason: str | None = None
    """Why there is no score and no choice."""
    words: int = 0
    """Of the texts shown, for the bias towards length."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    """What the answer cost, now or earlier; 0 where no price is configured."""
    paid_before: bool = False
    """It was in the ledger."""
    key: str = ""
    """Of the ledger's line."""
