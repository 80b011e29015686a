"""The verdict over two runs, by a rule that is laid down before anything is seen.

`evaluate.champion.primary` names a few measures. Their p-values are adjusted together by Holm's method, so that
`evaluate.champion.level` is the chance of any false alarm or false promotion over all of them. The newer run has

- `regressed` where any primary measure is significantly worse,
- `improved` where at least one is significantly better and none is worse,
- else the matter is `undecided`: so it is, too, with one shared story or none.

All other measures are shown, adjusted among themselves, and decide nothing.
"""

from collections.abc import Sequence

from evaluation.comparing.comparison import JUDGE, Row
from story_model.verdict import Change, Verdict


def rule(rows: Sequence[Row], *, level: float) -> tuple[Verdict, str]:
    """Give the verdict and its reason in one line.

    Args:
        rows: adjusted ones; only the primary count.
        level: below which a p-value is significant.
    """
    primary = [row for row in rows if row.primary]
    measured = [row for row in primary if row.p_value is not None]
    worse = [row for row in measured if row.finding == "worse"]
    better = [row for row in measured if row.finding == "better"]
    if not measured:
        reasons = dict.fromkeys(row.reason for row in primary if row.reason)
        return "undecided", f"no primary measure could be compared: {'; '.join(reasons) or 'neither run has one'}"
    if worse:
        return "regressed", f"worse: {_told(worse)}" + (f"; better: {_told(better)}" if better else "")
    if better:
        return "improved", f"better: {_told(better)}; none of {len(measured)} primary measures is worse"
    verdict = f"no significant difference in {len(measured)} primary measures ({_names(measured)})"
    return "undecided", verdict + _too_few(measured, level)


def _too_few(rows: Sequence[Row], level: float) -> str:
    """Say so where no outcome of a measure could be significant by itself: its least p-value is 2 / 2^stories."""
    few = [row for row in rows if _least(row, len(rows)) >= level]
    if not few:
        return ""
    most = max(few, key=lambda row: row.stories)
    which = "any" if len(few) == len(rows) else f"any by themselves in {_names(few)}"
    judged = all(row.mode == JUDGE for row in few)
    more = "judge more (evaluate.judge.stories)" if judged else "tell more (tell.stories)"
    least = f"p is {_least(most, len(rows)):.2g} at best"
    return f"; {most.stories} shared stories are too few to show {which} ({least}): {more}"


def _least(row: Row, measures: int) -> float:
    """Give the smallest p-value that a row can have after Holm, where no other row is significant."""
    return min(1.0, measures * 2 / 2**row.stories)


def change_of(row: Row) -> Change:
    """Tell a primary row to those who do not know evaluation."""
    difference = row.difference
    return Change(
        name=row.name,
        better=row.better or "higher",
        before=row.left.value if row.left else None,
        after=row.right.value if row.right else None,
        difference=difference.value if difference else None,
        low=difference.low if difference else None,
        high=difference.high if difference else None,
        p_adjusted=row.p_adjusted,
        finding=row.finding if row.reason is None else f"{row.finding}: {row.reason}",
    )


def _told(rows: Sequence[Row]) -> str:
    return "; ".join(change_of(row).in_words() for row in rows)


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(row.name for row in rows)
