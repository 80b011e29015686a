"""Which stories the judge is asked about, and what became of the questions."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from tqdm import tqdm

from evaluation.judging.judge import DIMENSIONS, Dimension, Judge, Question
from evaluation.judging.ledger import Answer, Status
from evaluation.pictures import Telling
from evaluation.statistics import Estimate, mean_over_stories

log = logging.getLogger(__name__)

REFERENCE = "dataset"
"""The system that is the dataset's own stories: what the judge gives the real thing."""
_ERRORS_IN_A_ROW = 3


class DimensionScore(BaseModel):
    """One system's mean in one dimension."""

    score: Estimate | None
    """Over the stories that got a score; none where there is none."""
    statuses: dict[Status, int]
    coverage: float
    """Share of the questions that got a score."""


class Judged(BaseModel):
    """One question and its answer."""

    system: str
    story_id: str
    dimension: Dimension
    status: Status
    score: float | None
    rationale: str | None
    reason: str | None


class JudgeReport(BaseModel):
    """What the judge said, or why it was not asked."""

    skipped: str | None = None
    """The reason; then everything else is empty."""
    model: str | None = None
    systems: dict[str, dict[Dimension, DimensionScore]] = {}
    answers: list[Judged] = []
    prompt_tokens: int = 0
    """Of all answers used here, paid for now or earlier."""
    completion_tokens: int = 0


def judge_systems(
    systems: Mapping[str, Sequence[Telling]],
    judge: Judge,
    *,
    model: str,
    stories: int,
    segments: int,
    resamples: int,
    seed: int,
) -> JudgeReport:
    """Ask for every dimension of the first stories of each system, and of the dataset's own stories behind them.

    Pairs without a picture are not shown. After three failures in a row nothing more is asked: what is left counts as
    `error`.
    """
    questions = [
        (system, telling.story_id, Question(dimension, pairs))
        for system, telling, pairs in _shown(systems, stories, segments)
        for dimension in DIMENSIONS
    ]
    answers: list[Answer] = []
    for _, _, question in tqdm(questions, desc="judge", unit="answer", mininterval=2):
        last = answers[-_ERRORS_IN_A_ROW:]
        if len(last) == _ERRORS_IN_A_ROW and all(answer.status == "error" for answer in last):
            answers.append(Answer(key="", status="error", reason="not asked: the endpoint failed three times in a row"))
        else:
            answers.append(judge.answer(question))
    judged = [
        Judged(
            system=system,
            story_id=story_id,
            dimension=question.dimension,
            **answer.model_dump(include={"status", "score", "rationale", "reason"}),
        )
        for (system, story_id, question), answer in zip(questions, answers, strict=True)
    ]
    return JudgeReport(
        model=model,
        systems={
            system: {
                dimension: _sum_up(judged, system, dimension, resamples=resamples, seed=seed)
                for dimension in DIMENSIONS
            }
            for system in dict.fromkeys(one.system for one in judged)
        },
        answers=judged,
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        completion_tokens=sum(answer.completion_tokens for answer in answers),
    )


def _shown(systems: Mapping[str, Sequence[Telling]], stories: int, segments: int) -> list[tuple[str, Telling, tuple]]:
    found = []
    for system, tellings in systems.items():
        for telling in tellings[:stories]:
            found.append((system, telling, (telling.opening, *telling.pictured[:segments])))
    for telling in next(iter(systems.values()), [])[:stories]:
        found.append((REFERENCE, telling, (telling.opening, *telling.reference[:segments])))
    return found


def _sum_up(
    judged: Sequence[Judged], system: str, dimension: Dimension, *, resamples: int, seed: int
) -> DimensionScore:
    own = [one for one in judged if one.system == system and one.dimension == dimension]
    scores = [[one.score] for one in own if one.score is not None]
    return DimensionScore(
        score=mean_over_stories(scores, resamples=resamples, seed=seed),
        statuses=dict(Counter(one.status for one in own)),
        coverage=len(scores) / len(own),
    )
