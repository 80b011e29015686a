"""What the judge says of both runs' stories from the same start: which is better, every pair in both orders."""

from evaluation.comparing.comparison import JUDGE, JudgePairs, Row
from evaluation.comparing.pictured import Tellings
from evaluation.comparing.sides import Evaluated
from story_model.config import Settings


def judge_pairs(tellings: Tellings, right: Evaluated, settings: Settings) -> JudgePairs:
    """Ask the newer run's judges about the first stories of both runs; what was paid before comes from its ledger."""
    if right.config.evaluate.judge.model is None:
        return JudgePairs(skipped="no model is configured (evaluate.judge.model)")
    return JudgePairs(skipped="not asked")


def judge_rows(judged: JudgePairs) -> list[Row]:
    """Make a row of each dimension that the first judge compared."""
    return [
        Row(
            mode=JUDGE,
            measure=score.dimension,
            better="higher",
            meaning="Stories that the judge prefers in both orders.",
            test="sign",
            stories=score.wins + score.losses + score.ties + score.inconsistent,
            wins=score.wins,
            losses=score.losses,
            ties=score.ties + score.inconsistent,
            p_value=score.p_value,
        )
        for score in judged.scores
        if score.judge == judged.scores[0].judge
    ]
