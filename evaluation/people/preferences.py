"""What people prefer, from their ballots: win rates, how far they agree with one another, and with the judge."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from evaluation.judging.agreement import Agreement, agreement
from evaluation.judging.questions import DIMENSIONS, Dimension, Judgement
from evaluation.people.answers import HumanAnswer, Problem
from evaluation.statistics import Estimate, holm, mean_over_stories, sign_test
from story_model.strict_json import read_json
from story_model.workspace import RunFolder

Outcome = Literal["first", "second", "tie"]
_POINTS: Mapping[Outcome, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
_Unit = tuple[str, str, str, Dimension]
"""First and second system in the order of their names, story, dimension."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Preference(_Row):
    """How people chose between two systems in one dimension."""

    first: str
    second: str
    dimension: Dimension
    wins: int
    """Answers that prefer the first."""
    losses: int
    ties: int
    rate: Estimate | None
    """Share of the answers that prefer the first, a tie counting half; interval over stories."""
    stories: int
    p_value: float
    """Exact sign test over stories, each with the majority of its answers: answers on one story are not independent."""
    p_holm: float
    """Adjusted by Holm's method over the dimensions, as the judges' are."""


class Rater(_Row):
    """One person."""

    name: str
    answered: int
    asked: int


class WithJudge(_Row):
    """People's majority beside one judge, on the pairs that both decided."""

    judge: str
    dimension: Dimension
    agreed: int
    compared: int
    not_compared: int
    """Pairs that people answered and the judge did not, or answered differently in the two orders."""


class HumanReport(_Row):
    """`human.json`."""

    raters: list[Rater]
    answers: int
    problems: dict[Problem, int]
    """What did not count, or not as it stood, by reason."""
    left_rate: Estimate | None
    """Share of the decided answers that chose the left story: a habit, where its interval leaves one half out."""
    preferences: list[Preference]
    agreement: dict[Dimension, Agreement]
    """Krippendorff's alpha among raters; what is rated is a pair of stories."""
    with_judge: list[WithJudge]


def read_human(run: RunFolder) -> HumanReport | None:
    """Read what people answered, if they were asked.

    Raises:
        ValueError: the file is damaged.
    """
    path = run.human_path
    if not path.is_file():
        return None
    try:
        return HumanReport.model_validate(read_json(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run python -m evaluation.ballot read again") from None


def sum_up(
    answers: Sequence[HumanAnswer],
    asked: Mapping[str, int],
    problems: Mapping[Problem, int],
    judgements: Iterable[Judgement] = (),
    *,
    resamples: int,
    seed: int,
) -> HumanReport:
    """Sum up what people answered; `asked` is the number of questions on each ballot."""
    units: dict[_Unit, dict[str, Outcome]] = defaultdict(dict)
    for answer in answers:
        units[_unit(answer)][answer.rater] = _outcome(answer)
    left = defaultdict(list)
    for answer in answers:
        if answer.choice != "tie":
            left[answer.story_id].append(float(answer.choice == "left"))
    return HumanReport(
        raters=_raters(answers, asked),
        answers=len(answers),
        problems=dict(problems),
        left_rate=mean_over_stories(list(left.values()), resamples=resamples, seed=seed),
        preferences=_preferences(units, resamples=resamples, seed=seed),
        agreement={dimension: _agreement(units, dimension, resamples=resamples, seed=seed) for dimension in DIMENSIONS},
        with_judge=_beside_judges(units, judgements),
    )


def _raters(answers: Sequence[HumanAnswer], asked: Mapping[str, int]) -> list[Rater]:
    ballots = defaultdict(set)
    answered: dict[str, int] = defaultdict(int)
    for answer in answers:
        ballots[answer.rater].add(answer.ballot)
        answered[answer.rater] += 1
    return [
        Rater(name=name, answered=answered[name], asked=sum(asked[ballot] for ballot in own))
        for name, own in ballots.items()
    ]


def _unit(answer: HumanAnswer) -> _Unit:
    first, second = sorted((answer.left, answer.right))
    return first, second, answer.story_id, answer.dimension


def _outcome(answer: HumanAnswer) -> Outcome:
    if answer.winner is None:
        return "tie"
    return "first" if answer.winner == min(answer.left, answer.right) else "second"


def _majority(outcomes: Iterable[Outcome]) -> Outcome:
    lead = sum(_POINTS[outcome] - 0.5 for outcome in outcomes)
    return "tie" if lead == 0 else "first" if lead > 0 else "second"


def _preferences(units: Mapping[_Unit, Mapping[str, Outcome]], *, resamples: int, seed: int) -> list[Preference]:
    found = []
    for first, second in dict.fromkeys(unit[:2] for unit in sorted(units)):
        own: dict[str, Preference] = {}
        for dimension in DIMENSIONS:
            stories = [
                list(chosen.values())
                for unit, chosen in units.items()
                if unit[:2] == (first, second) and unit[3] == dimension
            ]
            if stories:
                own[dimension] = _preference(first, second, dimension, stories, resamples=resamples, seed=seed)
        adjusted = holm({name: one.p_value for name, one in own.items()})
        found += [one.model_copy(update={"p_holm": adjusted[name]}) for name, one in own.items()]
    return found


def _preference(
    first: str,
    second: str,
    dimension: Dimension,
    stories: Sequence[Sequence[Outcome]],
    *,
    resamples: int,
    seed: int,
) -> Preference:
    flat = [outcome for story in stories for outcome in story]
    majorities = [_majority(story) for story in stories]
    p_value = sign_test(majorities.count("first"), majorities.count("second"))
    points = [[_POINTS[outcome] for outcome in story] for story in stories]
    return Preference(
        first=first,
        second=second,
        dimension=dimension,
        wins=flat.count("first"),
        losses=flat.count("second"),
        ties=flat.count("tie"),
        rate=mean_over_stories(points, resamples=resamples, seed=seed),
        stories=len(stories),
        p_value=p_value,
        p_holm=p_value,
    )


def _beside_judges(units: Mapping[_Unit, Mapping[str, Outcome]], judgements: Iterable[Judgement]) -> list[WithJudge]:
    chosen: dict[str, dict[_Unit, list[Outcome | None]]] = defaultdict(lambda: defaultdict(list))
    for one in judgements:
        if one.purpose == "pair":
            first, second = sorted(one.systems)
            chosen[one.judge][first, second, one.story_id, one.dimension].append(_judged(one))
    found = []
    for judge, verdicts in chosen.items():
        for dimension in DIMENSIONS:
            own = {unit: _majority(answers.values()) for unit, answers in units.items() if unit[3] == dimension}
            both = {unit: _consistent(verdicts[unit]) for unit in own if unit in verdicts}
            decided = [unit for unit, verdict in both.items() if verdict is not None]
            agreed = sum(own[unit] == both[unit] for unit in decided)
            found.append(
                WithJudge(
                    judge=judge,
                    dimension=dimension,
                    agreed=agreed,
                    compared=len(decided),
                    not_compared=len(own) - len(decided),
                )
            )
    return found


def _judged(one: Judgement) -> Outcome | None:
    """Name a judge's choice by the systems' names rather than by their places."""
    if one.choice is None or one.choice == "tie":
        return one.choice
    chosen = one.systems[0] if one.choice == "first" else one.systems[1]
    return "first" if chosen == min(one.systems) else "second"


def _consistent(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    """Give what was said in every order; none where the orders differ or one has no answer."""
    return outcomes[0] if len(outcomes) > 1 and len(set(outcomes)) == 1 else None


def _agreement(
    units: Mapping[_Unit, Mapping[str, Outcome]], dimension: Dimension, *, resamples: int, seed: int
) -> Agreement:
    ratings: dict[Hashable, dict[tuple[str, Hashable], float]] = defaultdict(dict)
    for (first, second, story_id, asked), own in units.items():
        for rater, outcome in own.items():
            if asked == dimension:
                ratings[rater][story_id, (first, second)] = _POINTS[outcome]
    return agreement(ratings, "nominal", resamples=resamples, seed=seed)
