"""How sure a number is: intervals by resampling stories, paired tests, and what so few stories could show at all.

Pictures of one story resemble one another, so the story is the unit that is drawn with replacement; an interval over
single pictures would be too narrow. Two systems are compared on the stories that both told: what makes a story hard
is hard for both, and drops out of the difference.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8
"""Chance of finding a difference that is there, by which the smallest detectable ones are reckoned."""
_ROUNDING = 1e-9
"""Relative; means that differ by less are ties."""


class Estimate(BaseModel):
    """A measured number; without an interval where there is one story only, or resampling is off."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int
    """Items behind the value."""


class Paired(BaseModel):
    """One system or run (left) against another (right) on the stories that both have."""

    n: int
    """Stories shared; all numbers here are over these."""
    left_only: int
    right_only: int
    """Stories that the other side lacks, and that are left out."""
    difference: Estimate | None
    """Mean of left minus right, with the interval over stories; none where no story is shared."""
    wins: int
    losses: int
    ties: int
    """Stories in which left is better, worse, equal."""
    sign_p: float
    """Exact sign test, two-sided; ties are left out."""
    wilcoxon_p: float | None
    """Signed-rank test, two-sided; stories without a difference are left out beforehand (Wilcoxon's own way). None
    where no story differs."""
    detectable: float | None
    """The smallest true mean difference that as many stories with this spread would show in 80 of 100 experiments (at
    5 %, two-sided); none where the spread is not known."""

    @property
    def said(self) -> str:
        """Which stories were compared, for readers."""
        left_out = f"; left out, for one side lacks them: {self.left_only} + {self.right_only}"
        return f"{self.n} shared stories" + (left_out if self.left_only or self.right_only else "")


class WinTable(BaseModel):
    """Verdicts of paired comparisons, one a story."""

    wins: int
    ties: int
    losses: int
    win_rate: Estimate | None
    """Wins among the decided, with Wilson's interval; none where all are ties."""
    sign_p: float
    """Exact sign test, two-sided; ties are left out."""
    least_significant: float | None
    """The lowest win rate above one half that is significant among so many; none where not even all wins are."""
    detectable: float | None
    """The true win rate that so many decided would find significant in 80 of 100 experiments."""


def mean_over_stories(groups: Sequence[Sequence[float]], *, resamples: int, seed: int) -> Estimate | None:
    """Average all items; 95 % interval by drawing whole stories. None where there is no item.

    Args:
        groups: the items of each story.
        resamples: draws; 0 for no interval.
        seed: of the draws.
    """
    kept = [group for group in groups if len(group)]
    if not kept:
        return None
    sums = np.array([np.sum(group) for group in kept], dtype=np.float64)
    counts = np.array([len(group) for group in kept], dtype=np.float64)
    value, n = float(sums.sum() / counts.sum()), int(counts.sum())
    if resamples == 0 or len(kept) < 2:
        return Estimate(value=value, n=n)
    drawn = stats.bootstrap(
        (sums, counts),
        lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
        n_resamples=resamples,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    low, high = ends_of(drawn, len(kept))
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def ends_of(
    drawn: Sequence[float] | NDArray[np.float64], num_stories: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take both ends of the 95 % interval of what so many stories gave when drawn anew, along the last axis.

    Plain percentiles hold the truth too rarely with few stories (88 of 100 times with eight): drawn means vary by
    sqrt((n - 1) / n) too little, and the normal distribution's ends stand where Student's should. The expanded ones
    are at Phi(sqrt(n / (n - 1)) t) for the 2.5 % point t of Student's with n - 1 degrees of freedom (Hesterberg 2015,
    "What teachers should know about the bootstrap").
    """
    tail = tail_of(num_stories)
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=-1)
    return low, high


def tail_of(num_stories: int) -> float:
    """Give the share of draws that lies beyond each end of an interval; see `ends_of`."""
    narrowed = math.sqrt(num_stories / (num_stories - 1))
    return float(stats.norm.cdf(narrowed * stats.t.ppf((1 - CONFIDENCE) / 2, num_stories - 1)))


def drawn_stories(num_stories: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw story numbers with replacement, for statistics that are no mean."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(0, num_stories, size=num_stories)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely; ties are left out. 1 where nothing differs."""
    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses, 0.5).pvalue)


def paired(
    left: Mapping[str, float],
    right: Mapping[str, float],
    *,
    better: Literal["higher", "lower"] | None = "higher",
    resamples: int = 1000,
    seed: int = 0,
) -> Paired:
    """Compare two systems story by story.

    Args:
        left: one value of each story, by its id.
        right: the same of the other system; stories that only one side has are left out and counted.
        better: which values win; none counts the higher ones as wins without calling them better.
        resamples: draws of the difference's interval; 0 for none.
        seed: of the draws.

    Raises:
        ValueError: a value is not a finite number.
    """
    shared = sorted(left.keys() & right.keys())
    ours, theirs = (np.array([side[story] for story in shared], dtype=np.float64) for side in (left, right))
    unusable = [story for story, one, other in zip(shared, ours, theirs, strict=True) if not np.isfinite(one + other)]
    if unusable:
        raise ValueError(f"story {unusable[0]} has a value that is no finite number; leave unmeasured stories out")
    differences = np.where(np.isclose(ours, theirs, rtol=_ROUNDING, atol=1e-12), 0.0, ours - theirs)
    gains = -differences if better == "lower" else differences
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    return Paired(
        n=len(shared),
        left_only=len(left.keys() - right.keys()),
        right_only=len(right.keys() - left.keys()),
        difference=mean_over_stories([[float(one)] for one in differences], resamples=resamples, seed=seed),
        wins=wins,
        losses=losses,
        ties=len(shared) - wins - losses,
        sign_p=sign_test(wins, losses),
        wilcoxon_p=_signed_rank(differences[differences != 0]),
        detectable=detectable_difference(differences),
    )


def detectable_difference(differences: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Give the smallest true mean that a paired t-test over as many differences of this spread finds (5 %, power 80 %).

    (t_0.975 + t_0.8) s / sqrt(n), Student's t with n - 1 degrees of freedom. None below two differences, or where all
    are equal.
    """
    n = len(differences)
    spread = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    if spread == 0:
        return None
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) + stats.t.ppf(POWER, n - 1)
    return float(reach * spread / math.sqrt(n))


def win_table(wins: int, ties: int, losses: int) -> WinTable:
    """Judge how much a count of wins, ties and losses proves."""
    decided = wins + losses
    return WinTable(
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=wilson(wins, decided) if decided else None,
        sign_p=sign_test(wins, losses),
        least_significant=least_significant_rate(decided),
        detectable=detectable_rate(decided),
    )


def wilson(successes: int, n: int) -> Estimate:
    """Estimate a proportion with Wilson's 95 % score interval (1927), which stays within 0 and 1.

    Raises:
        ValueError: more successes than trials, or no trial.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes in {n} trials is no proportion")
    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(value=successes / n, low=float(interval.low), high=float(interval.high), n=n)


def least_significant_rate(decided: int) -> float | None:
    """Give the lowest share of wins above one half that the sign test calls significant (5 %), if there is one."""
    wins = _least_wins(decided)
    return None if wins is None else wins / decided


def detectable_rate(decided: int) -> float | None:
    """Give the true win rate that the sign test finds in 80 of 100 experiments; none where no count is significant."""
    wins = _least_wins(decided)
    if wins is None:
        return None
    # The chance of at least `wins` of them is the regularised incomplete beta function of the rate: invert it.
    return float(stats.beta.ppf(POWER, wins, decided - wins + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for being several, by Holm's step-down method (1979): the chance of any false alarm stays below.

    Raises:
        ValueError: one is not between 0 and 1.
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"the p-value of {name} is {value}, not between 0 and 1")
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def spread(name: str, estimate: Estimate | None) -> dict[str, float]:
    """Name an estimate's value, its number of items and the ends of its interval."""
    if estimate is None:
        return {}
    ends = {f"{name}_ci_low": estimate.low, f"{name}_ci_high": estimate.high}
    return {name: estimate.value, f"{name}_n": estimate.n} | {end: at for end, at in ends.items() if at is not None}


def _least_wins(decided: int) -> int | None:
    """Give the fewest wins, more than half of the decided, that are significant."""
    rejected = (
        wins for wins in range(decided // 2 + 1, decided + 1) if sign_test(wins, decided - wins) < 1 - CONFIDENCE
    )
    return next(rejected, None)


def _signed_rank(differences: NDArray[np.float64]) -> float | None:
    """Test differences, none of them zero; exact for few, else by the normal distribution."""
    return float(stats.wilcoxon(differences).pvalue) if len(differences) else None
