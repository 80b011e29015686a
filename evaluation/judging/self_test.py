"""Whether a judge sees damage: stories against their own spoiled copies, before its scores of anybody are believed.

Each spoiling contradicts the definition of one dimension or more, so the score there must fall. A check is passed where
it does so beyond chance: the 95 % interval of the mean drop, over stories, lies above 0, or the sign test over stories
says so. A judge is trusted if it passes every check; of one that misses some the report says which, for the other
dimensions' scores may still be good for something.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel

from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement
from evaluation.judging.spoiled import GOOD, MUST_FALL, Spoiling
from evaluation.judging.summary import story_scores
from evaluation.statistics import CONFIDENCE, Estimate, paired

FEWEST_STORIES = 3
"""With two, a judge who rolls dice passes a check once in four."""
Verdict = Literal["separated", "not separated", "too few answers"]


class Check(BaseModel):
    """One spoiling in one dimension: how far scores fell."""

    spoiling: Spoiling
    dimension: Dimension
    stories: int
    """With a score of both copies; repeats are averaged inside each."""
    fell: int
    rose: int
    """Stories in which the spoiled copy scored lower, higher; in the others the same."""
    drop: Estimate | None
    """Mean of good minus spoiled, in points."""
    sign_p: float
    verdict: Verdict


class SelfTest(BaseModel):
    """What one judge sees."""

    trusted: bool
    reason: str
    """For readers: what the verdict stands on."""
    dimensions: dict[Dimension, bool]
    """Whether all checks of the dimension are passed."""
    checks: list[Check]


def self_tests(judgements: Iterable[Judgement], *, resamples: int, seed: int) -> dict[str, SelfTest]:
    """Hold each judge's scores of spoiled stories against those of good ones; other purposes are passed over.

    Args:
        judgements: answers to `asks.self_test_questions`.
        resamples: draws of stories behind each interval; with 0 only the sign test decides, which needs six stories.
        seed: of the draws.
    """
    own = [one for one in judgements if one.purpose == "self_test"]
    return {
        judge: _self_test([one for one in own if one.judge == judge], resamples=resamples, seed=seed)
        for judge in dict.fromkeys(one.judge for one in own)
    }


def _self_test(judgements: Sequence[Judgement], *, resamples: int, seed: int) -> SelfTest:
    cells: dict[tuple[str, Dimension], list[Judgement]] = {}
    for one in judgements:
        cells.setdefault((one.label, one.dimension), []).append(one)
    scores = {cell: story_scores(own) for cell, own in cells.items()}
    checks = [
        _check(spoiling, dimension, scores, resamples=resamples, seed=seed)
        for spoiling, dimensions in MUST_FALL.items()
        for dimension in dimensions
    ]
    missed = [one for one in checks if one.verdict != "separated"]
    return SelfTest(
        trusted=not missed,
        reason=_reason(checks, missed),
        dimensions={
            dimension: all(one.verdict == "separated" for one in checks if one.dimension == dimension)
            for dimension in DIMENSIONS
        },
        checks=checks,
    )


def _check(
    spoiling: Spoiling,
    dimension: Dimension,
    scores: Mapping[tuple[str, Dimension], Mapping[str, float]],
    *,
    resamples: int,
    seed: int,
) -> Check:
    good, spoiled = scores.get((GOOD, dimension), {}), scores.get((spoiling, dimension), {})
    found = paired(good, spoiled, resamples=resamples, seed=seed)
    is_lower = found.difference is not None and found.difference.low is not None and found.difference.low > 0
    is_significant = found.wins > found.losses and found.sign_p < 1 - CONFIDENCE
    verdict: Verdict = "separated" if is_lower or is_significant else "not separated"
    return Check(
        spoiling=spoiling,
        dimension=dimension,
        stories=found.n,
        fell=found.wins,
        rose=found.losses,
        drop=found.difference,
        sign_p=found.sign_p,
        verdict="too few answers" if found.n < FEWEST_STORIES else verdict,
    )


def _reason(checks: Sequence[Check], missed: Sequence[Check]) -> str:
    if not missed:
        weakest = min((one.drop.value for one in checks if one.drop is not None), default=0.0)
        return f"all {len(checks)} kinds of damage lower the score, by {weakest:.1f} points or more"
    said = "; ".join(f"{one.spoiling} in {one.dimension} ({_seen(one)})" for one in missed)
    return f"{len(missed)} of {len(checks)} kinds of damage are not told from good stories: {said}"


def _seen(check: Check) -> str:
    if check.verdict == "too few answers":
        return f"{check.stories} stories answered, {FEWEST_STORIES} are needed"
    return f"lower in {check.fell} of {check.stories} stories, higher in {check.rose}"
