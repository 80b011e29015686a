"""The dry run of judging: what is answered already, what would be asked, and what that will about cost.

Reads ledgers only: no network, no key. Tokens are an estimate: a quarter of the characters, pictures by their size as
OpenAI's guide counts them (`estimate.py`), an answer of a few sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.judging.endpoint_judge import EndpointJudge
from evaluation.judging.estimate import cost
from evaluation.judging.panel import Panel
from evaluation.judging.questions import Question

_COLUMNS = ("judge", "questions", "in ledger", "to ask", "tokens sent", "tokens back", "USD", "batch")


@dataclass(frozen=True)
class PlanRow:
    """What one judge would be asked."""

    judge: str
    questions: int
    in_ledger: int
    """Answered without paying, those that are the same as another question included."""
    to_ask: int
    prompt_tokens: int
    """Estimated, like everything below."""
    completion_tokens: int
    usd: float | None
    """None where no price is configured."""
    batch: bool


def plan(panel: Panel, questions: Sequence[Question]) -> list[PlanRow]:
    """Tell what each judge would be asked.

    Raises:
        ValueError: a picture is missing or cannot be decoded.
    """
    return [_row(judge, questions) for judge in panel.judges]


def plan_lines(rows: Sequence[PlanRow], *, budget_usd: float | None = None) -> list[str]:
    """Write a plan as a table, a line an entry; a budget that will end the asking is named."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    table = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    total = sum(row.usd or 0.0 for row in rows)
    unknown = any(row.usd is None for row in rows)
    closing = [
        f"about {total:.2f} USD{' and what has no price' if unknown else ''}: an estimate, tokens are the server's"
    ]
    if budget_usd is not None and total > budget_usd:
        closing.append(f"the budget of {budget_usd:g} USD will end the asking before (evaluate.judge.budget_usd)")
    return table + closing


def _row(judge: EndpointJudge, questions: Sequence[Question]) -> PlanRow:
    asked = judge.missing(questions).values()
    tokens = sum(put.tokens[0] for put in asked), sum(put.tokens[1] for put in asked)
    priced = judge.price.prompt_usd + judge.price.completion_usd > 0
    return PlanRow(
        judge=judge.name,
        questions=len(questions),
        in_ledger=len(questions) - len(asked),
        to_ask=len(asked),
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        usd=cost(judge.price, tokens, batch=judge.batch) if priced else None,
        batch=judge.batch,
    )


def _cells(row: PlanRow) -> tuple[str, ...]:
    usd = "no price" if row.usd is None else f"{row.usd:.2f}"
    numbers = (row.questions, row.in_ledger, row.to_ask, row.prompt_tokens, row.completion_tokens)
    return (row.judge, *(f"{number:,}" for number in numbers), usd, "yes" if row.batch else "no")
