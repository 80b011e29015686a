"""Whether a judge changed: this round's scores of the anchors against those of the first and of the previous round.

A model behind an endpoint may be replaced under the same name. If it is, every system seems to have become better or
worse. The anchors are the same in all rounds, so what their scores do beyond chance is the judge's doing.

Rounds are kept in `rounds.jsonl` beside the anchors, one line each round and judge, only ever added to.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from evaluation.judging.form import PROMPTS
from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement
from story_model.asking.answers import append_durably, question_key, read_lines
from story_model.evaluate_config import JudgeConfig
from story_model.strict_json import read_json

log = logging.getLogger(__name__)

FILE = "rounds.jsonl"
FALSE_ALARMS = 0.05
"""Chance that a round calls a judge changed that is not, over all dimensions and both comparisons (Bonferroni)."""
_FEWEST_ANCHORS = 3


class AnchorScore(BaseModel):
    """What one anchor got in one dimension, the mean of a round's repeats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    story_id: str
    label: str
    dimension: Dimension
    score: float = Field(ge=1, le=10, allow_inf_nan=False)


class Round(BaseModel):
    """One judge's scores of all anchors in one round."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    round: str
    judge: str
    anchors: str
    """Digest of the set."""
    conditions: str = ""
    """Digest of what else decides answers (`conditions_of`)."""
    at: datetime
    asked: int = Field(ge=0)
    scores: tuple[AnchorScore, ...] = Field(min_length=1)
    """Of the anchors that got one."""


class Shift(BaseModel):
    """This round's scores less an earlier one's, in one dimension."""

    since: str
    """The earlier round."""
    difference: float
    """Mean over anchors that both rounds scored, in points."""
    low: float | None
    """Of the interval that decides, wide enough for all comparisons of a round; none below three anchors."""
    high: float | None
    anchors: int
    changed: bool
    """The interval leaves out 0."""


class Drift(BaseModel):
    """Whether one judge is still the one that it was."""

    round: str
    rounds: int
    """Comparable ones so far, this one included: same judge, anchors and conditions."""
    since_first: dict[Dimension, Shift] = {}
    """Empty in the first round."""
    since_previous: dict[Dimension, Shift] = {}
    changed: bool
    reason: str
    """For readers."""


def conditions_of(config: JudgeConfig) -> str:
    """Digest what decides a judge's answers beside the anchors: form, prompts, parameters, size of pictures."""
    prompts = {path.name: path.read_text(encoding="utf-8") for path in PROMPTS.glob(f"{config.form}_*.txt")}
    settings = config.model_dump(include={"form", "temperature", "max_tokens", "picture_side"}, mode="json")
    return question_key("conditions", settings, prompts)


def note_round(
    folder: Path,
    judgements: Iterable[Judgement],
    *,
    round_name: str,
    anchors: str,
    conditions: str = "",
    at: datetime,
) -> dict[str, Drift]:
    """Add a round to the history, and compare it, judge by judge.

    A round that is noted again, because an answer that had failed came later, takes the place of what it said before,
    unless fewer anchors have a score: another run, which asked in the same round, may have been cut short. A judge of
    whom no anchor has a score is not noted and is missing in what is returned.

    Args:
        folder: of the anchors.
        judgements: answers to `asks.anchor_questions` of this round; other purposes are passed over.
        round_name: of this round.
        anchors: digest of the anchors.
        conditions: from `conditions_of`; rounds under others are not compared.
        at: when the round was asked.
    """
    known = read_rounds(folder)
    last = _last(known)
    fresh = rounds_of(judgements, round_name=round_name, anchors=anchors, conditions=conditions, at=at)
    added = [one for one in fresh if _is_news(one, last.get((*_series(one), one.round)))]
    if added:
        append_durably(folder / FILE, (one.model_dump_json() for one in added))
    history = list(_last([*known, *added]).values())
    return {one.judge: drift_of(history, one) for one in fresh}


def rounds_of(
    judgements: Iterable[Judgement], *, round_name: str, anchors: str, conditions: str, at: datetime
) -> list[Round]:
    """Sum up a round, judge by judge; repeats are averaged, what failed has no score."""
    asked: dict[str, int] = {}
    cells: dict[str, dict[tuple[str, str, Dimension], list[float]]] = {}
    for one in judgements:
        if one.purpose == "anchor":
            asked[one.judge] = asked.get(one.judge, 0) + 1
            if one.status == "ok" and one.score is not None:
                own = cells.setdefault(one.judge, {})
                own.setdefault((one.story_id, one.label, one.dimension), []).append(one.score)
    return [
        Round(
            round=round_name,
            judge=judge,
            anchors=anchors,
            conditions=conditions,
            at=at,
            asked=asked[judge],
            scores=tuple(
                AnchorScore(story_id=story, label=label, dimension=dimension, score=float(np.mean(scores)))
                for (story, label, dimension), scores in sorted(own.items())
            ),
        )
        for judge, own in cells.items()
    ]


def read_rounds(folder: Path) -> list[Round]:
    """Read the history in the order in which it was written; lines that are no rounds are left out and counted."""
    found, unreadable = [], 0
    for line in read_lines(folder / FILE):
        try:
            found.append(Round.model_validate(read_json(line or b"")))
        except (ValidationError, ValueError):
            unreadable += 1
    if unreadable:
        log.warning("%s: %d lines are no rounds and are left out", folder / FILE, unreadable)
    return found


def drift_of(history: Sequence[Round], current: Round) -> Drift:
    """Compare a round with the first and the previous one of its series.

    Args:
        history: one entry a round, in order, the current one among them.
        current: rounds after it in the history are not looked at.
    """
    series = [one for one in history if _series(one) == _series(current)]
    names = [one.round for one in series]
    before = series[: names.index(current.round)]
    if not before:
        return Drift(round=current.round, rounds=1, changed=False, reason="the first round: nothing to compare with")
    since_first, since_previous = _shifts(before[0], current), _shifts(before[-1], current)
    shifts = [(one, shift) for found in (since_first, since_previous) for one, shift in found.items()]
    changed = [f"{one} {shift.difference:+.2f} since {shift.since}" for one, shift in shifts if shift.changed]
    return Drift(
        round=current.round,
        rounds=len(before) + 1,
        since_first=since_first,
        since_previous=since_previous,
        changed=bool(changed),
        reason=_reason(list(dict.fromkeys(changed)), [shift for _, shift in shifts]),
    )


def _shifts(earlier: Round, current: Round) -> dict[Dimension, Shift]:
    then = {(one.story_id, one.label, one.dimension): one.score for one in earlier.scores}
    now = {(one.story_id, one.label, one.dimension): one.score for one in current.scores}
    found = {}
    for dimension in DIMENSIONS:
        differences = [score - then[key] for key, score in now.items() if key[2] == dimension and key in then]
        if differences:
            found[dimension] = _shift(earlier.round, differences)
    return found


def _shift(since: str, differences: Sequence[float]) -> Shift:
    """Estimate a mean change with Student's t interval over anchors.

    The anchors are fixed, not drawn: only the judge's answers vary, each for itself, so an anchor's change is the unit
    even where two anchors come from one story.
    """
    mean, n = float(np.mean(differences)), len(differences)
    if n < _FEWEST_ANCHORS:
        return Shift(since=since, difference=mean, low=None, high=None, anchors=n, changed=False)
    chance = FALSE_ALARMS / (2 * len(DIMENSIONS))
    reach = float(stats.t.ppf(1 - chance / 2, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))
    low, high = mean - reach, mean + reach
    return Shift(since=since, difference=mean, low=low, high=high, anchors=n, changed=low > 0 or high < 0)


def _reason(changed: Sequence[str], shifts: Sequence[Shift]) -> str:
    if changed:
        return f"the judge changed: {', '.join(changed)}; scores of these rounds are not comparable"
    if all(shift.low is None for shift in shifts):
        return f"too few anchors were scored in both rounds to tell; {_FEWEST_ANCHORS} are needed"
    return "no change beyond chance"


def _series(one: Round) -> tuple[str, str, str]:
    return one.judge, one.anchors, one.conditions


def _last(rounds: Iterable[Round]) -> dict[tuple[str, ...], Round]:
    """Keep what each round said last, in the order in which rounds were first noted."""
    return {(*_series(one), one.round): one for one in rounds}


def _is_news(one: Round, known: Round | None) -> bool:
    if known is None:
        return True
    return len(one.scores) >= len(known.scores) and one.model_copy(update={"at": known.at}) != known
