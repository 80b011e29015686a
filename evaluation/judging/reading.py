"""What an answer comes to: a score or a choice with its reasons, or the status that says why there is none."""

from typing import Any

from evaluation.judging.form import Form
from evaluation.judging.questions import Question
from evaluation.judging.quoting import shortened
from story_model.asking.answers import Answer
from story_model.asking.replies import CONTENT_FILTER, LENGTH, NO_CHOICES, REFUSED, one_line
from story_model.asking.structured import Declined

MAX_RATIONALE = 20_000
"""Characters that are told of it; the ledger has all."""


def opinion_of(form: Form, question: Question, answer: Answer) -> dict[str, Any]:
    """Read an answer as the fields of a judgement; there is a number only where all of it is as agreed."""
    if answer.refusal or answer.finish_reason == REFUSED:
        return _none("refused", answer.refusal or "a refusal without words")
    if answer.finish_reason == CONTENT_FILTER:
        return _none("filtered", "the answer was withheld by the endpoint's content filter")
    if answer.finish_reason == LENGTH:
        return _none("truncated", "the answer is longer than evaluate.judge.max_tokens")
    if answer.finish_reason == NO_CHOICES:
        return _none("invalid", "the reply holds no answer")
    try:
        verdict = form.read(question, answer)
    except Declined as declined:
        return _none("refused", str(declined))
    except ValueError as error:
        return _none("invalid", str(error))
    return {
        "status": "ok",
        "score": verdict.score,
        "choice": verdict.choice,
        "rationale": shortened(verdict.rationale, MAX_RATIONALE),
        "reason": None,
    }


def _none(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": one_line(reason)}
