"""What people answered on ballots: files of theirs, read strictly, with what was wrong in them counted.

An answer counts once a person, pair and dimension. What names no pair of the ballot is `unknown`; the same answer
again is `doubled`; a later file that says otherwise counts and is `changed`; a file that says two things of one
question has said neither and is `contradicted`; what a person who answered something left open is `missing`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from evaluation.judging.questions import DIMENSIONS, Dimension
from evaluation.showing.ballot_page import BallotKey
from story_model.strict_json import read_json

_MAX_BYTES = 8 << 20
Side = Literal["left", "right", "tie"]
_Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pair: Annotated[str, Field(max_length=64)]
    dimension: Dimension
    choice: Side
    comment: Annotated[str, Field(max_length=2000)] = ""


class _Filled(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ballot: Annotated[str, Field(max_length=64)]
    rater: _Name
    saved_at: AwareDatetime
    answers: Annotated[list[_Answer], Field(max_length=100_000)]


class HumanAnswer(BaseModel):
    """One person's answer, with the systems' names put back."""

    ballot: str
    rater: str
    story_id: str
    dimension: Dimension
    left: str
    right: str
    choice: Side
    comment: str
    saved_at: datetime

    @property
    def winner(self) -> str | None:
        """The system chosen; none in a tie."""
        return {"left": self.left, "right": self.right, "tie": None}[self.choice]


Problem = Literal["unknown", "doubled", "changed", "contradicted", "missing"]
_Question = tuple[str, str, str, Dimension]


def read_answers(
    paths: Sequence[Path], ballots: Mapping[str, BallotKey]
) -> tuple[list[HumanAnswer], dict[Problem, int]]:
    """Read raters' files, the earliest saved first, and count what was wrong in them.

    Raises:
        ValueError: a file is no file of answers, or belongs to a ballot that this run has no key of.
    """
    files = sorted((_read(path, ballots) for path in paths), key=lambda filled: filled.saved_at)
    problems = Counter[Problem]()
    known: dict[_Question, HumanAnswer] = {}
    for filled in files:
        for question, answer in _of_file(filled, ballots[filled.ballot], problems).items():
            earlier = known.get(question)
            if earlier is not None:
                same = (earlier.choice, earlier.comment) == (answer.choice, answer.comment)
                problems["doubled" if same else "changed"] += 1
            known[question] = answer
    begun = {(filled.ballot, filled.rater) for filled in files}
    asked = sum(len(ballots[ballot].pairs) * len(DIMENSIONS) for ballot, _ in begun)
    problems["missing"] = asked - len(known)
    return list(known.values()), dict(problems)


def _of_file(filled: _Filled, key: BallotKey, problems: Counter[Problem]) -> dict[_Question, HumanAnswer]:
    found: dict[_Question, HumanAnswer] = {}
    contradicted = set()
    for answer in filled.answers:
        pair = key.pairs.get(answer.pair)
        if pair is None:
            problems["unknown"] += 1
            continue
        question = (filled.ballot, filled.rater, answer.pair, answer.dimension)
        if question in found:
            same = found[question].choice == answer.choice
            problems["doubled" if same else "contradicted"] += 1
            contradicted |= set() if same else {question}
        found[question] = HumanAnswer(
            ballot=filled.ballot,
            rater=filled.rater,
            **pair.model_dump(),
            **answer.model_dump(exclude={"pair"}),
            saved_at=filled.saved_at,
        )
    return {question: answer for question, answer in found.items() if question not in contradicted}


def _read(path: Path, ballots: Mapping[str, BallotKey]) -> _Filled:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ValueError(f"it has {size} bytes, more than {_MAX_BYTES}")
        filled = _Filled.model_validate(read_json(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} is no file of answers: {where}: {first['msg']}") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no file of answers: {error}") from None
    if filled.ballot not in ballots:
        raise ValueError(
            f"{path} answers ballot {filled.ballot!r}, of which this run has no key; was it made of another run?"
        )
    return filled
