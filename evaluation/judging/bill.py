"""What a panel answered and what that cost: the result of judging."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from evaluation.judging.questions import Judgement


class Notice(BaseModel):
    """What a reader of the scores must know about a judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str
    text: str
    """One line."""


class JudgeBill(BaseModel):
    """What became of one judge's questions, and what they cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str
    batch: bool
    questions: int
    """All that were put; the same question put for two purposes is answered once."""
    from_ledger: int
    """Answered without paying: known from an earlier run, or the same as another question."""
    newly_paid: int
    errors: int
    not_asked: int
    prompt_tokens: int
    """Of the answers newly paid for, as the server counts."""
    completion_tokens: int
    usd: float
    """What was newly paid."""
    usd_before: float
    """What the answers that an earlier run paid for cost then."""
    without_usage: int = 0
    """Answers newly paid for whose tokens the server did not tell; the budget counts them by estimate."""


class Judged(BaseModel):
    """What a panel answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judgements: list[Judgement]
    """Judge after judge, each in the order of the questions."""
    bill: list[JudgeBill]
    """A row a judge."""
    notices: list[Notice]

    @property
    def usd(self) -> float:
        """What was newly paid, over all judges."""
        return sum(row.usd for row in self.bill)


def lacking(rows: Sequence[Judgement]) -> list[str]:
    """Say why questions have no answer, in the words that most of them have in common."""
    told = []
    for status, what in (("not_asked", "unasked"), ("error", "unanswered, which the next run asks")):
        reasons = Counter(row.reason for row in rows if row.status == status)
        if reasons:
            told.append(f"left {reasons.total()} of {len(rows)} questions {what}: {reasons.most_common(1)[0][0]}")
    return told
