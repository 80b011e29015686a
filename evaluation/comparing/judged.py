"""What the judges say of both runs' stories from the same start: which is better, every pair in both orders."""

from collections.abc import Mapping, Sequence

from evaluation.comparing.comparison import JUDGE, JudgePairs, Row
from evaluation.comparing.pictured import Tellings
from evaluation.judging.asks import pair_questions
from evaluation.judging.comparisons import POOLED, PairTable, compare_pairs
from evaluation.judging.panel import Panel
from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement
from story_model.evaluate_config import JudgeConfig

LEFT, RIGHT = "older", "newer"
"""The runs' names in judgements; the judges see neither."""


_MEANING = "Stories that the judges prefer whichever is shown first."


def judge_pairs(
    tellings: Tellings, panel: Panel | str, config: JudgeConfig, distrusted: Mapping[str, Sequence[str]]
) -> tuple[JudgePairs, list[Judgement]]:
    """Ask about the first stories of both runs; what was paid before comes from the judges' ledgers.

    Args:
        tellings: of both runs, paired.
        panel: the judges, or why there are none.
        config: how much is asked.
        distrusted: by dimension, judges who do not see damage in it: they are shown, and have no part in the majority.

    Raises:
        ValueError: a judge is not there, or a picture cannot be decoded.
    """
    if isinstance(panel, str):
        return JudgePairs(skipped=panel), []
    if not config.pairs:
        return JudgePairs(skipped="pairs are switched off (evaluate.judge.pairs)"), []
    left, right = tellings
    systems = {RIGHT: right, LEFT: left}
    asks = pair_questions(systems, RIGHT, stories=config.stories, segments=config.segments, repeats=config.repeats)
    if not asks.questions:
        return JudgePairs(skipped="no story with pictures on both sides is shared"), []
    panel.preflight(asks.questions)
    judged = panel.judge(asks.questions)
    found = compare_pairs(judged.judgements, RIGHT)
    tables = {name: one.pairs[0] for name, one in found.judges.items() if one.pairs}
    trusted = [one for one in judged.judgements if one.judge not in distrusted.get(one.dimension, ())]
    pooled = compare_pairs(trusted, RIGHT).pooled.pairs
    tables[POOLED] = pooled[0] if pooled else {}
    return JudgePairs(
        tables=tables,
        distrusted={dimension: list(judges) for dimension, judges in distrusted.items() if judges},
        asked=len(judged.judgements),
        left_out={f"{one.story_id}: {one.reason}": one.questions for one in asks.left_out},
        usd=sum(one.usd for one in judged.judgements),
        newly_paid_usd=judged.usd,
        notices=[f"{one.judge} {one.text}" for one in judged.notices],
    ), judged.judgements


def judge_rows(judged: JudgePairs) -> list[Row]:
    """Make a row of each dimension from what the majority of trusted judges chose."""
    tables = judged.tables.get(POOLED)
    if tables is None:
        return []
    return [_row(dimension, tables.get(dimension), judged) for dimension in DIMENSIONS]


def _row(dimension: Dimension, table: PairTable | None, judged: JudgePairs) -> Row:
    if table is None:
        judges = ", ".join(judged.distrusted.get(dimension, ()))
        reason = f"{judges} missed damage in the self-test of this dimension" if judges else "nothing was asked"
        return Row(mode=JUDGE, measure=dimension, better="higher", meaning=_MEANING, test="sign", reason=reason)
    undecided = table.ties + table.inconsistent
    answered = table.wins + table.losses + undecided
    row = Row(
        mode=JUDGE,
        measure=dimension,
        better="higher",
        meaning=_MEANING,
        test="sign",
        stories=answered,
        wins=table.wins,
        losses=table.losses,
        ties=undecided,
    )
    if answered < 2:
        return row.model_copy(update={"reason": f"{answered} pairs were answered in both orders"})
    return row.model_copy(update={"p_value": table.decided.sign_p})
