"""Which questions the judges are asked about told stories.

Questions come in the order in which their answers are worth most: all systems and dimensions of one story, then the
next story, and repeats after all stories. So a budget that runs out leaves whole stories, of every system alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from evaluation.judging.anchors import AnchorSet, first_repeat
from evaluation.judging.questions import DIMENSIONS, REFERENCE, Purpose, Question
from evaluation.judging.spoiled import GOOD, MUST_FALL, ShownStory, spoil, why_not
from evaluation.pictures import Pair, Telling
from story_model.pixels import Square


class LeftOut(BaseModel):
    """What nothing can be asked about, and why."""

    purpose: Purpose
    systems: tuple[str, ...]
    story_id: str
    reason: str
    questions: int
    """In each dimension, that would have been asked; they count against the coverage."""


@dataclass(frozen=True)
class Asks:
    """Questions, and what was left out of them."""

    questions: tuple[Question, ...]
    left_out: tuple[LeftOut, ...] = ()


Systems = Mapping[str, Sequence[Telling]]
"""Tellings of each system, by its name."""


def score_questions(
    systems: Systems, *, stories: int, segments: int, repeats: int, square: Square | None = None
) -> Asks:
    """Ask for a score of each system's first stories in each dimension, and of the dataset's own stories behind them.

    Args:
        systems: the first one's tellings say which of the dataset's stories are asked about.
        stories: how many of each system.
        segments: pairs shown after the opening; those without a picture are left out and the next ones shown.
        repeats: how often each question is asked.
        square: of the told pictures; makes the dataset's pictures square like them, so that shape gives nothing away.
            None shows the dataset's pictures as they are stored.
    """
    shown = [
        (system, telling.story_id, (telling.opening, *telling.pictured[:segments]))
        for telling_number in range(stories)
        for system, telling in _at(telling_number, systems, square)
    ]
    mute = [(system, story_id, "no picture after the opening") for system, story_id, pairs in shown if len(pairs) == 1]
    mute += [(system, story_id, "not told") for system, story_id in _not_told(systems, stories)]
    return Asks(
        tuple(
            Question("score", dimension, story_id, (system,), (pairs,), repeat)
            for repeat in range(repeats)
            for system, story_id, pairs in shown
            if len(pairs) > 1
            for dimension in DIMENSIONS
        ),
        tuple(
            LeftOut(purpose="score", systems=(system,), story_id=story_id, reason=reason, questions=repeats)
            for system, story_id, reason in mute
        ),
    )


def pair_questions(systems: Systems, headline: str, *, stories: int, segments: int, repeats: int = 1) -> Asks:
    """Ask which is better, the headline system's story or another's of the same start, in both orders.

    Both stories are shown at the first segments at which both have a picture: a longer story would win by its length.

    Raises:
        ValueError: the headline system is none of the systems.
    """
    if headline not in systems:
        raise ValueError(f"system {headline!r} was not told; compare one of {', '.join(systems)}")
    others = {
        name: {telling.story_id: telling for telling in tellings}
        for name, tellings in systems.items()
        if name != headline
    }
    questions, left_out = [], []
    for repeat in range(repeats):
        for telling in systems[headline][:stories]:
            for name, theirs in others.items():
                other = theirs.get(telling.story_id)
                stories_shown = _side_by_side(telling, other, segments) if other is not None else None
                if stories_shown is not None:
                    questions += _both_orders(telling.story_id, (headline, name), stories_shown, repeat)
                elif repeat == 0:
                    reason = "not told by both" if other is None else "no segment at which both have a picture"
                    left_out.append(_pair_left_out(telling.story_id, (headline, name), reason, repeats))
    return Asks(tuple(questions), tuple(left_out))


def self_test_questions(stories: Sequence[ShownStory], *, seed: int, repeats: int = 1) -> Asks:
    """Ask for scores of good stories, and of their spoiled copies in the dimensions that must fall.

    Each story is the donor of the one before it.
    """
    questions, left_out = [], []
    for number, story in enumerate(stories):
        donor = stories[(number + 1) % len(stories)]
        copies = {GOOD: (story, DIMENSIONS)}
        for spoiling, dimensions in MUST_FALL.items():
            if (reason := why_not(story, spoiling, donor=donor)) is None:
                copies[spoiling] = (spoil(story, spoiling, donor=donor, seed=seed), dimensions)
            else:
                left_out.append(
                    LeftOut(
                        purpose="self_test",
                        systems=(REFERENCE,),
                        story_id=story.story_id,
                        reason=f"{spoiling}: {reason}",
                        questions=repeats,
                    )
                )
        questions += [
            Question("self_test", dimension, story.story_id, (REFERENCE,), (copy.pairs,), repeat, label)
            for repeat in range(repeats)
            for label, (copy, dimensions) in copies.items()
            for dimension in dimensions
        ]
    return Asks(tuple(questions), tuple(left_out))


def anchor_questions(anchors: AnchorSet, *, round_name: str, repeats: int = 1) -> Asks:
    """Ask for the scores of all anchors in each dimension, anew in each round (`anchors.first_repeat`).

    Args:
        anchors: the frozen set.
        round_name: whatever is the same within a round and in no other, such as the ISO week.
        repeats: how often each question is asked in a round.
    """
    first = first_repeat(round_name)
    return Asks(
        tuple(
            Question(
                "anchor", dimension, anchor.story.story_id, (REFERENCE,), (anchor.story.pairs,), repeat, anchor.label
            )
            for repeat in range(first, first + repeats)
            for anchor in anchors.anchors
            for dimension in DIMENSIONS
        )
    )


def _at(number: int, systems: Systems, square: Square | None) -> list[tuple[str, Telling]]:
    """Give what each system told from the first one's opening of a number, and the dataset's own telling."""
    first = next(iter(systems.values()), ())
    if number >= len(first):
        return []
    story = first[number]
    same = [(system, one) for system, tellings in systems.items() for one in tellings if one.story_id == story.story_id]
    own = tuple(replace(pair, square=square) for pair in story.reference)
    return [*same, (REFERENCE, replace(story, told=own))]


def _not_told(systems: Systems, stories: int) -> list[tuple[str, str]]:
    """List which systems did not tell which of the first one's stories: a mean over the others hangs on which."""
    wanted = [telling.story_id for telling in next(iter(systems.values()), ())[:stories]]
    told = {system: {telling.story_id for telling in tellings} for system, tellings in systems.items()}
    return [(system, story_id) for system, known in told.items() for story_id in wanted if story_id not in known]


def _side_by_side(ours: Telling, theirs: Telling, segments: int) -> tuple[tuple[Pair, ...], tuple[Pair, ...]] | None:
    pictured = ({pair.index: pair for pair in ours.pictured}, {pair.index: pair for pair in theirs.pictured})
    indices = sorted(pictured[0].keys() & pictured[1].keys())[:segments]
    if not indices:
        return None
    left, right = (
        (telling.opening, *(pairs[index] for index in indices))
        for telling, pairs in zip((ours, theirs), pictured, strict=True)
    )
    return left, right


def _both_orders(
    story_id: str, systems: tuple[str, str], stories: tuple[tuple[Pair, ...], tuple[Pair, ...]], repeat: int
) -> list[Question]:
    return [
        Question("pair", dimension, story_id, systems[::step], stories[::step], repeat)
        for dimension in DIMENSIONS
        for step in (1, -1)
    ]


def _pair_left_out(story_id: str, systems: tuple[str, str], reason: str, repeats: int) -> LeftOut:
    return LeftOut(purpose="pair", systems=systems, story_id=story_id, reason=reason, questions=2 * repeats)
