"""Everything that judges said of a run, and what it is worth: asked, summed up, tested, priced."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from evaluation.judging.agreement import AgreementReport, agreement_report
from evaluation.judging.anchors import AnchorSet
from evaluation.judging.asks import (
    Asks,
    LeftOut,
    Systems,
    anchor_questions,
    pair_questions,
    score_questions,
    self_test_questions,
)
from evaluation.judging.bill import JudgeBill, Notice
from evaluation.judging.comparisons import Comparisons, compare_pairs, pooled_verdicts, verdicts_of
from evaluation.judging.drift import Drift, conditions_of, note_round
from evaluation.judging.injections import InjectionReport, changed_scores, injected_questions
from evaluation.judging.panel import Panel
from evaluation.judging.questions import REFERENCE, Judgement, Question
from evaluation.judging.ratings import Ratings, rate_systems
from evaluation.judging.self_test import SelfTest, self_tests
from evaluation.judging.spoiled import GOOD
from evaluation.judging.summary import ScoreSummary, summarise
from evaluation.statistics import spread
from story_model.evaluate_config import JudgeConfig
from story_model.pixels import Square

log = logging.getLogger(__name__)


class JudgeReport(BaseModel):
    """What the judges said, or why they were not asked."""

    skipped: str | None = None
    """The reason; then everything else is empty."""
    form: str | None = None
    """Of the questions."""
    scores: ScoreSummary | None = None
    pairs: Comparisons | None = None
    ratings: dict[str, Ratings] = {}
    """By dimension, where three systems or more were compared."""
    agreement: AgreementReport | None = None
    self_tests: dict[str, SelfTest] = {}
    """By judge."""
    drift: dict[str, Drift] = {}
    """By judge: whether it is the one that it was in earlier rounds."""
    injections: dict[str, InjectionReport] = {}
    """By judge: what stories could talk it into."""
    left_out: list[LeftOut] = []
    bill: list[JudgeBill] = []
    notices: list[Notice] = []
    judgements: list[Judgement] = []

    def numbers(self) -> dict[str, float]:
        """Name the numbers for manifest and tracker: `judge/<system>/<dimension>` pooled, `judge/<judge>/...` apart."""
        return _score_numbers(self) | _pair_numbers(self) | _reliability_numbers(self)


@dataclass(frozen=True)
class Round:
    """The stories that judges are shown in every round, and this round's name."""

    anchors: AnchorSet
    folder: Path
    """Of the anchors, with the history of rounds."""
    name: str


@dataclass(frozen=True)
class Hearing:
    """What is to be asked of a run's stories, in the order of worth."""

    questions: tuple[Question, ...]
    left_out: tuple[LeftOut, ...]
    round: Round | None = None


def plan_hearing(
    systems: Systems,
    headline: str | None,
    config: JudgeConfig,
    *,
    this_round: Round | None,
    square: Square,
    seed: int,
) -> Hearing:
    """List all questions: first whether the judge sees damage and is the one that it was, then scores, then pairs.

    Args:
        systems: those that are judged, the headline system among them where there is one.
        headline: the system that the others are compared with.
        config: how many of each.
        this_round: of the anchors; none where there are none.
        square: of told pictures; the dataset's are shown in the same shape.
        seed: of spoiling.
    """
    asked = []
    if this_round is not None:
        if config.self_test:
            asked.append(self_test_questions(this_round.anchors.good, seed=seed))
        asked.append(anchor_questions(this_round.anchors, round_name=this_round.name))
        spoiled = [one.story for one in this_round.anchors.anchors if one.label != GOOD][: config.injections]
        asked.append(Asks(tuple(injected_questions(spoiled, system=REFERENCE))))
    asked.append(
        score_questions(
            systems, stories=config.stories, segments=config.segments, repeats=config.repeats, square=square
        )
    )
    if config.pairs and headline is not None and len(systems) > 1:
        asked.append(
            pair_questions(systems, headline, stories=config.stories, segments=config.segments, repeats=config.repeats)
        )
    return Hearing(
        tuple(question for one in asked for question in one.questions),
        tuple(lost for one in asked for lost in one.left_out),
        this_round,
    )


def hear(
    panel: Panel, hearing: Hearing, headline: str | None, config: JudgeConfig, *, resamples: int, seed: int
) -> JudgeReport:
    """Ask the judges, who are seen to be there before anything is paid, and sum up what they say.

    Raises:
        ValueError: a judge cannot be asked at all, or a picture cannot be decoded.
    """
    panel.preflight(hearing.questions)
    judged = panel.judge(hearing.questions)
    rows = judged.judgements
    log.info("judged: %d answers for %.2f USD", sum(row.status == "ok" for row in rows), judged.usd)
    for notice in judged.notices:
        log.warning("judge %s %s", notice.judge, notice.text)
    verdicts = verdicts_of(rows, headline or REFERENCE)
    has_pairs = any(row.purpose == "pair" for row in rows)
    ratings = rate_systems(pooled_verdicts(verdicts), resamples=resamples, seed=seed) if has_pairs else {}
    return JudgeReport(
        form=config.form,
        scores=summarise(rows, left_out=hearing.left_out, resamples=resamples, seed=seed),
        pairs=compare_pairs(rows, headline or REFERENCE) if has_pairs else None,
        ratings=dict(ratings),
        agreement=agreement_report(rows, verdicts, resamples=resamples, seed=seed),
        self_tests=self_tests(rows, resamples=resamples, seed=seed),
        drift=_drift(hearing.round, rows, config),
        injections=changed_scores(rows),
        left_out=list(hearing.left_out),
        bill=judged.bill,
        notices=judged.notices,
        judgements=rows,
    )


def _drift(this_round: Round | None, rows: Sequence[Judgement], config: JudgeConfig) -> dict[str, Drift]:
    if this_round is None:
        return {}
    return note_round(
        this_round.folder,
        rows,
        round_name=this_round.name,
        anchors=this_round.anchors.digest,
        conditions=conditions_of(config),
        at=datetime.now(UTC),
    )


def _score_numbers(report: JudgeReport) -> dict[str, float]:
    if report.scores is None:
        return {}
    numbers: dict[str, float] = {}
    for system, dimensions in report.scores.pooled.items():
        for dimension, estimate in dimensions.items():
            numbers |= spread(f"judge/{system}/{dimension}", estimate)
            parts = [summary.systems[system][dimension].coverage for summary in report.scores.judges.values()]
            numbers[f"judge/{system}/{dimension}_coverage"] = min(parts, default=0.0)
    if len(report.scores.judges) > 1:
        for judge, summary in report.scores.judges.items():
            for system, found in summary.systems.items():
                for dimension, one in found.items():
                    name = f"judge/{_plain(judge)}/{system}/{dimension}"
                    numbers |= spread(name, one.score) | {f"{name}_coverage": one.coverage}
    return numbers


def _pair_numbers(report: JudgeReport) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for tables in report.pairs.pooled.pairs if report.pairs else []:
        for dimension, table in tables.items():
            name = f"judge_pair/{table.right}/{dimension}"
            counts = {"wins": table.wins, "losses": table.losses, "ties": table.ties}
            counts |= {"inconsistent": table.inconsistent, "incomplete": table.incomplete}
            numbers |= {f"{name}_{what}": count for what, count in counts.items()}
            numbers |= spread(f"{name}_win_rate", table.decided.win_rate)
    return numbers


def _reliability_numbers(report: JudgeReport) -> dict[str, float]:
    numbers: dict[str, float] = {
        f"judge/{_plain(one)}/trusted": test.trusted for one, test in report.self_tests.items()
    }
    for judge, found in report.injections.items():
        numbers |= {
            f"judge/{_plain(judge)}/injections": found.asked,
            f"judge/{_plain(judge)}/talked_into": found.raised,
        }
    if report.bill:
        numbers["judge/cost_usd"] = sum(row.usd for row in report.bill)
        numbers["judge/questions"] = sum(row.questions for row in report.bill)
        numbers["judge/newly_paid"] = sum(row.newly_paid for row in report.bill)
    return numbers


def _plain(judge: str) -> str:
    """Make a judge's name a part of a metric's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in judge)
