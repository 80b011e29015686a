"""Which of two systems a judge prefers, when each pair of stories is shown in both orders.

A preference counts only if it survives the swap: judges prefer a slot as well as a story (Zheng et al. 2023, arXiv
2306.05685: GPT-4 kept its verdict in 65 % of swapped pairs). What does not survive is no evidence that the two are
equal, so it is no tie but `inconsistent`, a class of its own:

| first order | swapped: wins         | swapped: tie | swapped: loses        |
|-------------|-----------------------|--------------|-----------------------|
| wins        | win                   | inconsistent | inconsistent, flipped |
| tie         | inconsistent          | tie          | inconsistent          |
| loses       | inconsistent, flipped | inconsistent | loss                  |

All from the left system's side. `flipped`: the two answers contradict each other, the same slot won both times. Where
an order has no answer, the pair is `incomplete`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from evaluation.judging.questions import DIMENSIONS, Choice, Dimension, Judgement
from evaluation.statistics import Estimate, WinTable, holm, wilson, win_table

Outcome = Literal["win", "loss", "tie", "inconsistent", "incomplete"]
POOLED = "pooled"
"""In the place of a judge: the majority of all of them."""
_BY_CHOICE: dict[Choice, Outcome] = {"first": "win", "second": "loss", "tie": "tie"}
_SWAPPED: dict[Choice, Choice] = {"first": "second", "second": "first", "tie": "tie"}


@dataclass(frozen=True)
class PairVerdict:
    """What became of one pair of stories, from the left system's side."""

    judge: str
    left: str
    right: str
    story_id: str
    dimension: Dimension
    outcome: Outcome
    shown: tuple[Choice | None, Choice | None] = (None, None)
    """The slot that won, left shown first and then right shown first; of one asking, none where there is no answer."""

    @property
    def is_flipped(self) -> bool:
        """The same slot won both times."""
        return self.shown in (("first", "first"), ("second", "second"))


class PairTable(BaseModel):
    """One judge's verdicts on two systems in one dimension; counts are stories."""

    left: str
    right: str
    wins: int
    """Stories in which the left system won in both orders."""
    losses: int
    ties: int
    inconsistent: int
    """The verdict did not survive the swap; with several repeats or judges also: no outcome has the majority."""
    incomplete: int
    """At least one order has no answer."""
    flipped: int | None
    """Asked pairs in which the same slot won both times; none for the majority of judges, as are the next two."""
    first_slot: Estimate | None
    """Share of preferences, in completely answered pairs, that went to the story shown first. 0.5 is fair whatever the
    systems are worth, since each was shown first equally often. Wilson's interval, as if preferences were independent:
    too narrow where most pairs are flipped."""
    swap_consistency: Estimate | None
    """Share of the completely answered pairs whose verdict survived the swap, with Wilson's interval."""
    win_share: Estimate | None
    """Wins among all complete stories, with Wilson's interval; ties and inconsistent ones are not won."""
    decided: WinTable
    """Wins against losses: rate, sign test over stories, and what so few could show."""
    holm_p: float
    """The sign test's p, adjusted for the dimensions."""


class JudgeComparisons(BaseModel):
    """One judge's comparisons, or the majority's."""

    pairs: list[dict[Dimension, PairTable]]
    """An entry for each two systems."""


class Comparisons(BaseModel):
    """All comparisons."""

    judges: dict[str, JudgeComparisons]
    pooled: JudgeComparisons
    """The judges' majority in each story; of a single judge, its own verdicts."""


def outcome_of(ahead: Choice | None, behind: Choice | None) -> Outcome:
    """Judge a pair by both answers.

    Args:
        ahead: the answer where the left system's story was shown first.
        behind: the answer where it was shown second.
    """
    if ahead is None or behind is None:
        return "incomplete"
    return _BY_CHOICE[ahead] if ahead == _SWAPPED[behind] else "inconsistent"


def verdicts_of(judgements: Iterable[Judgement], headline: str) -> list[PairVerdict]:
    """Bring both orders of each asked pair together, in the order of the first answers.

    Left is the headline system; of two others the one whose name sorts first.
    """
    answers: dict[tuple[str, str, str, str, Dimension, int], dict[bool, Choice | None]] = defaultdict(dict)
    for one in judgements:
        if one.purpose == "pair":
            first, second = one.systems
            left, right = sorted((first, second), key=lambda system: (system != headline, system))
            key = (one.judge, left, right, one.story_id, one.dimension, one.repeat)
            answers[key][first == left] = one.choice if one.status == "ok" else None
    both = {key: (found.get(True), found.get(False)) for key, found in answers.items()}
    return [PairVerdict(*key[:5], outcome_of(*shown), shown) for key, shown in both.items()]


def majority(outcomes: Sequence[Outcome]) -> Outcome:
    """Give the outcome of more than half of those that are complete; without one, the story is inconsistent."""
    complete = [one for one in outcomes if one != "incomplete"]
    if not complete:
        return "incomplete"
    outcome, count = Counter(complete).most_common(1)[0]
    return outcome if 2 * count > len(complete) else "inconsistent"


def pooled_verdicts(verdicts: Sequence[PairVerdict], *, over_judges: bool = True) -> list[PairVerdict]:
    """Take the majority of repeats in each story, then, if asked to, of judges."""
    repeats = _by_story(verdicts)
    stories = [
        PairVerdict(*key, majority([one.outcome for one in own])) if len(own) > 1 else own[0]
        for key, own in repeats.items()
    ]
    if not over_judges:
        return stories
    judges: dict[tuple[str, str, str, Dimension], list[Outcome]] = defaultdict(list)
    for one in stories:
        judges[one.left, one.right, one.story_id, one.dimension].append(one.outcome)
    return [PairVerdict(POOLED, *key, majority(outcomes)) for key, outcomes in judges.items()]


def compare_pairs(judgements: Iterable[Judgement], headline: str) -> Comparisons:
    """Compare systems by the judgements whose purpose is `pair`; the headline system is the left one."""
    verdicts = verdicts_of(judgements, headline)
    judges = {
        judge: _tables([one for one in verdicts if one.judge == judge])
        for judge in dict.fromkeys(one.judge for one in verdicts)
    }
    pooled = next(iter(judges.values())) if len(judges) == 1 else _tables(pooled_verdicts(verdicts))
    return Comparisons(judges=judges, pooled=pooled)


def _by_story(verdicts: Iterable[PairVerdict]) -> dict[tuple[str, str, str, str, Dimension], list[PairVerdict]]:
    found: dict[tuple[str, str, str, str, Dimension], list[PairVerdict]] = defaultdict(list)
    for one in verdicts:
        found[one.judge, one.left, one.right, one.story_id, one.dimension].append(one)
    return found


def _tables(verdicts: Sequence[PairVerdict]) -> JudgeComparisons:
    """Make a table for each two systems and dimension; p-values are adjusted for a pair's dimensions together."""
    pairs = []
    for left, right in dict.fromkeys((one.left, one.right) for one in verdicts):
        own = [one for one in verdicts if (one.left, one.right) == (left, right)]
        asked = [one for one in DIMENSIONS if any(verdict.dimension == one for verdict in own)]
        tables = {one: _table([verdict for verdict in own if verdict.dimension == one]) for one in asked}
        adjusted = holm({one: table.decided.sign_p for one, table in tables.items()})
        pairs.append({one: table.model_copy(update={"holm_p": adjusted[one]}) for one, table in tables.items()})
    return JudgeComparisons(pairs=pairs)


def _table(verdicts: Sequence[PairVerdict]) -> PairTable:
    """Count one judge's verdicts on two systems in one dimension; slots by asked pair, outcomes by story."""
    counts = Counter(one.outcome for one in pooled_verdicts(verdicts, over_judges=False))
    num_complete = sum(counts.values()) - counts["incomplete"]
    slots = [one for one in verdicts if None not in one.shown]
    preferred = [slot for one in slots for slot in one.shown if slot != "tie"]
    survived = sum(one.outcome in ("win", "loss", "tie") for one in slots)
    decided = win_table(counts["win"], counts["tie"], counts["loss"])
    is_one_judge = verdicts[0].judge != POOLED
    return PairTable(
        left=verdicts[0].left,
        right=verdicts[0].right,
        wins=counts["win"],
        losses=counts["loss"],
        ties=counts["tie"],
        inconsistent=counts["inconsistent"],
        incomplete=counts["incomplete"],
        flipped=sum(one.is_flipped for one in slots) if is_one_judge else None,
        first_slot=wilson(preferred.count("first"), len(preferred)) if preferred else None,
        swap_consistency=wilson(survived, len(slots)) if slots else None,
        win_share=wilson(counts["win"], num_complete) if num_complete else None,
        decided=decided,
        holm_p=decided.sign_p,
    )
