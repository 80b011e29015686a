"""The rule over two runs: how rows become a verdict, and how often chance alone makes it speak."""

import numpy as np
import pytest

from evaluation.comparing.comparison import Row
from evaluation.comparing.rows import adjusted, compared
from evaluation.comparing.ruling import rule
from evaluation.statistics import Estimate

LEVEL = 0.05


def row(measure, p, change, *, better="higher", low=None, high=None):
    ends = {"low": change / 2 if low is None else low, "high": change * 2 if high is None else high}
    return Row(
        mode="free",
        measure=measure,
        better=better,
        meaning="",
        p_value=p,
        stories=20,
        left=Estimate(value=1, n=20),
        right=Estimate(value=1 + change, n=20),
        difference=Estimate(value=change, **ends, n=20),
    )


def verdict(*rows, primary=("free/a", "free/b")):
    return rule(adjusted(rows, primary, level=LEVEL), level=LEVEL)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((row("a", 0.001, 1), row("b", 0.5, 1)), "improved"),
        ((row("a", 0.001, -1), row("b", 0.5, 1)), "regressed"),
        ((row("a", 0.001, 1), row("b", 0.001, -1)), "regressed"),
        ((row("a", 0.001, 1, better="lower"), row("b", 0.5, 1)), "regressed"),
        ((row("a", 0.001, -1, better="lower"), row("b", 0.5, 1)), "improved"),
        ((row("a", 0.03, 1), row("b", 0.5, 1)), "undecided"),  # 0.06 after Holm
        ((row("a", 0.03, 1), row("b", 0.03, 1)), "undecided"),
        ((row("a", 0.001, 1, low=-0.1), row("b", 0.5, 1)), "undecided"),  # test and interval disagree
        ((row("a", 0.001, 1, better=None), row("b", 0.5, 1)), "undecided"),  # neither end is good
        ((row("c", 0.001, -1), row("b", 0.5, 1)), "undecided"),  # not primary
        ((), "undecided"),
    ],
)
def test_the_rule(rows, expected):
    assert verdict(*rows)[0] == expected


def test_a_judge_asked_too_little_to_decide_anything_is_named_though_enough_was_told():
    told = [row(name, 0.5, 1) for name in "abcd"]
    judged = [
        Row(mode="judge", measure=one, better="higher", meaning="", stories=8, wins=8, p_value=2 / 2**8)
        for one in ("style", "engaging", "coherence")
    ]
    primary = [one.name for one in (*told, *judged)]
    found, reason = verdict(*told, *judged, primary=primary)
    assert found == "undecided"
    assert "8 shared stories are too few to show any by themselves in judge/style, judge/engaging" in reason
    assert "p is 0.055 at best): judge more (evaluate.judge.stories)" in reason
    enough = [one.model_copy(update={"stories": 9, "wins": 5, "losses": 4, "p_value": 1.0}) for one in judged]
    assert "too few" not in verdict(*told, *enough, primary=primary)[1]


def test_measures_that_are_not_primary_do_not_weaken_those_that_are():
    others = [row(f"c{number}", 0.5, 1) for number in range(50)]
    assert verdict(row("a", 0.02, 1), row("b", 0.9, 1), *others)[0] == "improved"


def test_primary_measures_that_neither_run_has_count_nothing():
    absent = tuple(f"free/x{number}" for number in range(50))
    assert verdict(row("a", 0.02, 1), primary=("free/a", *absent))[0] == "improved"


def verdict_of(rng, shift, *, stories=8, measures=4):
    rows = []
    for number in range(measures):
        hard = rng.normal(0, 1, stories)  # what makes a story hard is hard for both runs
        sides = [hard + rng.normal(0, 0.3, stories) + by for by in (0, shift)]
        left, right = ({str(n): float(value) for n, value in enumerate(side)} for side in sides)
        empty = Row(mode="free", measure=str(number), better="higher", meaning="")
        rows.append(compared(empty, left, right, resamples=0, seed=0))
    return verdict(*rows, primary=[one.name for one in rows])[0]


def test_chance_alone_moves_no_champion_and_raises_no_alarm_more_often_than_agreed():
    rng = np.random.default_rng(0)
    verdicts = [verdict_of(rng, 0.0) for _ in range(400)]
    assert sum(one != "undecided" for one in verdicts) / len(verdicts) <= LEVEL


def test_eight_stories_show_a_change_twice_as_large_as_the_noise():
    rng = np.random.default_rng(0)
    verdicts = [verdict_of(rng, -0.6) for _ in range(100)]
    assert sum(one == "regressed" for one in verdicts) > 90
