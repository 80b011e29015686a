"""SEED-Story's published comparisons with what they lack, tests and error bars: `python -m evaluation.published`.

A worked example of `statistics.py` on numbers that anybody can look up, and the reason for evaluating otherwise here.
Percentages become counts again wherever whole stories explain them.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from evaluation.statistics import (
    CONFIDENCE,
    WinTable,
    detectable_rate,
    holm,
    least_significant_rate,
    sign_test,
    win_table,
)

_PRINTED = 0.05 + 1e-6
"""Percentage points by which a share of whole counts may differ from one printed with one decimal."""


@dataclass(frozen=True)
class Shares:
    """Percentages as printed: of SEED-Story against MM-Interleaved."""

    dimension: str
    win: float
    tie: float
    loss: float


@dataclass(frozen=True)
class Study:
    """Published comparisons of one kind."""

    title: str
    source: str
    n: int
    """Stories, or samples, that the paper names."""
    shares: tuple[Shares, ...]
    caveats: tuple[str, ...]


JUDGED = Study(
    "GPT-4 compares SEED-Story with MM-Interleaved",
    "arXiv 2407.08683; github.com/TencentARC/SEED-Story assets/quant.jpg, src/eval/gpt_comparative_eval.py",
    180,
    (
        Shares("style", 16.1, 71.7, 12.2),
        Shares("engaging", 51.7, 12.8, 35.6),
        Shares("coherence", 47.8, 35.0, 17.2),
    ),
    (
        "MM-Interleaved was always shown as A, SEED-Story always as B, and never the other way round: what the judge "
        "owes to the slot cannot be told from what it owes to the story. GPT-4 kept its verdict in 65 % of swapped "
        "pairs (arXiv 2306.05685).",
        "The judge, gpt-4-turbo-2024-04-09, was shut down on 2026-10-23: nobody can ask it again.",
        "Each pair was asked once, at temperature 0.3: how steady the verdicts are is not known.",
        "An answer that mentions [[A]] anywhere counts for A; answers of no known form were put aside, uncounted here.",
    ),
)
USERS = Study(
    "People compare SEED-Story with MM-Interleaved",
    "arXiv 2407.08683 v2, table 3",
    125,
    (
        Shares("image quality", 66.2, 12.5, 21.3),
        Shares("style", 78.8, 13.7, 7.5),
        Shares("diversity", 75.0, 3.7, 21.3),
        Shares("engaging", 55.0, 7.5, 37.5),
        Shares("coherence", 86.3, 8.7, 5.0),
    ),
    ("Whether the votes are of different people and stories is not said; the tests take them as independent.",),
)
FURTHER = (
    "FID 62.23 against 65.71: the code was not released, its pictures' size, number and Inception are not known, and "
    "there is no interval. With so few pictures two samples of the same distribution are some points apart.",
    "Scores of 8.61 (style), 6.27 (engaging), 8.24 (coherence) of 10 are means without a spread, so nothing can be "
    "tested; an answer without a whole number in [[ ]] ended the script, half points included.",
)


class Row(BaseModel):
    """One dimension, analysed again."""

    dimension: str
    printed: tuple[float, float, float]
    """Wins, ties, losses in per cent."""
    table: WinTable
    holm_p: float
    """The sign test's p, adjusted for the study's dimensions."""
    undone_by: int
    """Wins that, were they losses, would leave nothing significant; 0 where nothing is."""


class Analysis(BaseModel):
    """One study, analysed again."""

    title: str
    source: str
    named_n: int
    counted_n: int
    """The number whose whole counts print all percentages: the named one where it does, else the smallest that does."""
    rows: list[Row]
    least_significant: float | None
    """The lowest win rate that is significant where all stories are decided."""
    detectable: float | None
    """The true win rate that all stories, all decided, find in 80 of 100 experiments."""
    caveats: list[str]


class Published(BaseModel):
    """All that is said again."""

    studies: list[Analysis]
    further: list[str]


def reanalyse(study: Study) -> Analysis:
    """Turn a study's percentages into counts and test them.

    Raises:
        ValueError: no number of stories up to ten times the named one explains the percentages.
    """
    n = next((n for n in (study.n, *range(1, 10 * study.n)) if all(counts_of(one, n) for one in study.shares)), None)
    if n is None:
        raise ValueError(f"{study.title}: the percentages are shares of no whole number of stories")
    tables = {one.dimension: win_table(*(counts_of(one, n) or ())) for one in study.shares}
    adjusted = holm({name: table.sign_p for name, table in tables.items()})
    rows = [
        Row(
            dimension=one.dimension,
            printed=(one.win, one.tie, one.loss),
            table=tables[one.dimension],
            holm_p=adjusted[one.dimension],
            undone_by=undone_by(tables[one.dimension].wins, tables[one.dimension].losses),
        )
        for one in study.shares
    ]
    odd = f"The paper names {study.n} samples, but no whole counts of {study.n} print these percentages; {n} is the "
    return Analysis(
        title=study.title,
        source=study.source,
        named_n=study.n,
        counted_n=n,
        rows=rows,
        least_significant=least_significant_rate(n),
        detectable=detectable_rate(n),
        caveats=[*([] if n == study.n else [f"{odd}smallest number that does, and is taken here."]), *study.caveats],
    )


def counts_of(shares: Shares, n: int) -> tuple[int, int, int] | None:
    """Give wins, ties and losses among `n` that print as these percentages; none where there are none."""
    printed = (shares.win, shares.tie, shares.loss)
    wins, ties, losses = (round(share * n / 100) for share in printed)
    fits = all(
        abs(100 * count / n - share) <= _PRINTED for count, share in zip((wins, ties, losses), printed, strict=True)
    )
    return (wins, ties, losses) if fits and wins + ties + losses == n else None


def undone_by(wins: int, losses: int) -> int:
    """Count the wins that would have to be losses for the sign test to find nothing (5 %)."""
    ahead = range(abs(wins - losses) // 2 + 1)
    more, fewer = max(wins, losses), min(wins, losses)
    return next((turned for turned in ahead if sign_test(more - turned, fewer + turned) >= 1 - CONFIDENCE), len(ahead))


def as_text(published: Published) -> str:
    """Lay everything out for a terminal."""
    parts = [_study(study) for study in published.studies]
    reading = (
        "p: sign test of wins against losses; Holm: p adjusted for the study's dimensions; win rate of the stories "
        "that are no ties, with 95 % interval; needed: the lowest win rate that is significant among so many; undone "
        "by: how many wins, had they been losses, would leave nothing significant (at 5 %)."
    )
    return (
        "\n\n".join(
            [
                *parts,
                textwrap.fill(reading, 110),
                "Not to be tested\n" + "\n".join(_wrapped(one) for one in published.further),
            ]
        )
        + "\n"
    )


def _study(study: Analysis) -> str:
    head = f"{'':14}{'published %':>18}{'counts':>15}" + _tested(
        "p", "Holm", "win rate of decided", "needed", "undone by"
    )
    names = f"{'':14}{'win':>6}{'tie':>6}{'loss':>6}{'win':>5}{'tie':>5}{'loss':>5}"
    floor = (
        f"The least that {study.counted_n} could show, were all decided: a win rate of "
        f"{_percent(study.least_significant)} is significant, a true one of {_percent(study.detectable)} is found in "
        "80 of 100 experiments."
    )
    lines = [f"{study.title} (n = {study.counted_n})", f"  {study.source}", head, names]
    return "\n".join([*lines, *map(_row, study.rows), *map(_wrapped, (floor, *study.caveats))])


def _row(row: Row) -> str:
    table, rate = row.table, row.table.win_rate
    printed = "".join(f"{share:6.1f}" for share in row.printed)
    counts = "".join(f"{count:5d}" for count in (table.wins, table.ties, table.losses))
    spread = f"{_percent(rate.value)} ({_percent(rate.low)} to {_percent(rate.high)})" if rate else "-"
    undone = f"{row.undone_by} turned over" if row.undone_by else "nothing to undo"
    tested = _tested(_p(table.sign_p), _p(row.holm_p), spread, _percent(table.least_significant), undone)
    return f"  {row.dimension:12}{printed}{counts}{tested}"


def _tested(p: str, holm_p: str, rate: str, needed: str, undone: str) -> str:
    return f"{p:>9}{holm_p:>9}  {rate:<22}{needed:>6}  {undone}"


def _p(value: float) -> str:
    return f"{value:.3g}" if value < 0.1 else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, initial_indent="  - ", subsequent_indent="    ")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the analysis, as text or as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.published", description="Test SEED-Story's published comparisons."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    published = Published(studies=[reanalyse(JUDGED), reanalyse(USERS)], further=list(FURTHER))
    sys.stdout.write(published.model_dump_json(indent=1) + "\n" if options.json else as_text(published))


if __name__ == "__main__":
    main()
