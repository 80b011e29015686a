"""One scale for several systems that judges compared in pairs: Bradley-Terry ratings.

The model says that i is preferred to j with probability 1 / (1 + exp(b_j - b_i)) (Bradley & Terry 1952; fitting: Hunter
2004, "MM algorithms for generalized Bradley-Terry models"). Ratings are printed in Elo's points, 400 / ln 10 of b: 100
points more win 64 %, 200 points 76 %.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from evaluation.judging.comparisons import PairVerdict
from evaluation.judging.questions import DIMENSIONS, Dimension
from evaluation.statistics import Estimate, drawn_stories, ends_of

POINTS = 400 / np.log(10)
_FEWEST_SYSTEMS = 3
"""Of two, the table of wins and losses says it all."""


class Ratings(BaseModel):
    """Systems on one scale, by one dimension."""

    systems: dict[str, Estimate]
    """In points around a mean of 0, best first; n: decided or tied comparisons that the system was in."""
    left_out: int
    """Comparisons that were inconsistent or incomplete: they say nothing of either side."""


def rate_systems(
    verdicts: Sequence[PairVerdict], *, resamples: int, seed: int, prior: float = 1.0
) -> dict[Dimension, Ratings]:
    """Rate systems in each dimension; empty where fewer than three were compared.

    Args:
        verdicts: one a story, as `comparisons.pooled_verdicts` gives them.
        resamples: draws of whole stories behind each 95 % interval; 0 for none.
        seed: of the draws.
        prior: ties against an imaginary average system that each one begins with; with none, a system that won always
            would be infinitely good.
    """
    found = {}
    for dimension in DIMENSIONS:
        own = [one for one in verdicts if one.dimension == dimension]
        systems = list(dict.fromkeys(name for one in own for name in (one.left, one.right)))
        if len(systems) >= _FEWEST_SYSTEMS:
            found[dimension] = _rate(own, systems, resamples=resamples, seed=seed, prior=prior)
    return found


def bradley_terry(wins: NDArray[np.float64], *, prior: float = 1.0) -> NDArray[np.float64]:
    """Find the ratings b [S] of mean 0 that make the wins likeliest.

    Args:
        wins: [S, S], how often the row's system was preferred to the column's; a tie is half a win of each.
        prior: ties against an imaginary system of rating 0, added for each system. 0 asks for a unique answer of the
            data alone: every system must have won and lost, directly or over others, against every other.
    """

    def loss(ratings: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        gaps = ratings[:, None] - ratings
        against_average = prior / 2 * (log_expit(ratings) + log_expit(-ratings))
        flow = wins * expit(-gaps)
        slope = flow.sum(axis=1) - flow.sum(axis=0) + prior / 2 * (1 - 2 * expit(ratings))
        return -float((wins * log_expit(gaps)).sum() + against_average.sum()), -slope

    fitted = minimize(loss, np.zeros(len(wins)), jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-8})
    return fitted.x - fitted.x.mean()


def _rate(
    verdicts: Sequence[PairVerdict], systems: Sequence[str], *, resamples: int, seed: int, prior: float
) -> Ratings:
    stories = list(dict.fromkeys(one.story_id for one in verdicts))
    wins = np.zeros((len(stories), len(systems), len(systems)))
    for one in verdicts:
        left, right, story = systems.index(one.left), systems.index(one.right), stories.index(one.story_id)
        share = {"win": 1.0, "tie": 0.5, "loss": 0.0}.get(one.outcome)
        if share is not None:
            wins[story, left, right] += share
            wins[story, right, left] += 1 - share
    ratings = POINTS * bradley_terry(wins.sum(axis=0), prior=prior)
    low, high = _interval(wins, resamples=resamples, seed=seed, prior=prior)
    games = (wins.sum(axis=(0, 2)) + wins.sum(axis=(0, 1))).round().astype(int)
    estimates = {
        name: Estimate(
            value=float(ratings[row]),
            low=None if low is None else float(low[row]),
            high=None if high is None else float(high[row]),
            n=int(games[row]),
        )
        for row, name in enumerate(systems)
    }
    best_first = dict(sorted(estimates.items(), key=lambda item: -item[1].value))
    left_out = sum(one.outcome in ("inconsistent", "incomplete") for one in verdicts)
    return Ratings(systems=best_first, left_out=left_out)


def _interval(
    wins: NDArray[np.float64], *, resamples: int, seed: int, prior: float
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    if len(wins) < 2 or resamples == 0:
        return None, None
    draws = drawn_stories(len(wins), resamples=resamples, seed=seed)
    drawn = np.array([bradley_terry(wins[draw].sum(axis=0), prior=prior) for draw in draws])
    low, high = ends_of(drawn.T, len(wins))
    return POINTS * low, POINTS * high
