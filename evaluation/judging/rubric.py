"""Our own form: one dimension a call, pictures between their texts in story order, the opening shown and named.

The answer must be JSON of a schema, rationale before score; texts are shown as JSON strings, which they cannot leave.
Of two stories nothing is said but which was shown first.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from evaluation.judging.form import Message, Picture, Pictures, Verdict, prompt
from evaluation.judging.questions import Choice, Question
from evaluation.judging.quoting import quoted
from evaluation.pictures import Pair
from story_model.asking.endpoint import Answer
from story_model.asking.structured import read
from story_model.evaluate_config import JudgeConfig

_Rationale = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Opinion(BaseModel):
    """What is answered about one story."""

    model_config = ConfigDict(extra="forbid")

    rationale: _Rationale
    score: Annotated[float, Field(ge=1, le=10, multiple_of=0.5, allow_inf_nan=False)]


class Preference(BaseModel):
    """What is answered about two."""

    model_config = ConfigDict(extra="forbid")

    rationale: _Rationale
    choice: Choice


class Rubric:
    """Puts questions in our own form."""

    def __init__(self, config: JudgeConfig) -> None:
        """Take the parameters of a call and the size of pictures."""
        self._config = config
        self._pictures = Pictures(config.picture_side, "PNG")

    def messages(self, question: Question) -> list[Message]:
        """Put a question: who judges and how, then what is asked, then the work between markers."""
        kind = "pair" if len(question.stories) == 2 else "score"
        asked = prompt(f"rubric_{question.dimension}")
        if kind == "score":
            asked = f"{asked}\n{prompt(f'rubric_{question.dimension}_scale')}"
        parts = [part for number in range(len(question.stories)) for part in self._story(question, number)]
        user = (asked, *parts, "Now answer the question.")
        return [Message("system", (prompt(f"rubric_{kind}_system"),)), Message("user", user)]

    def options(self) -> dict[str, Any]:
        """Make the parameters of every call."""
        return {"temperature": self._config.temperature, "max_tokens": self._config.max_tokens}

    def schema(self, question: Question) -> dict[str, Any]:
        """Make the JSON schema of the answer.

        It is plain, since servers refuse schemas that bound numbers or strings; the bounds are checked when read.
        """
        last: tuple[str, dict[str, Any]] = ("score", {"type": "number"})
        if len(question.stories) == 2:
            last = ("choice", {"type": "string", "enum": ["first", "second", "tie"]})
        fields: dict[str, Any] = {"rationale": {"type": "string"}, last[0]: last[1]}
        return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}

    def read(self, question: Question, answer: Answer) -> Verdict:
        """Read an answer that came whole.

        Raises:
            Declined: it is a refusal in prose.
            ValueError: it is not the JSON that was asked for.
        """
        if len(question.stories) == 2:
            preference = read(answer, Preference)
            return Verdict(preference.rationale, choice=preference.choice)
        opinion = read(answer, Opinion)
        return Verdict(opinion.rationale, score=opinion.score)

    def _story(self, question: Question, number: int) -> Iterator[str | Picture]:
        story = question.stories[number]
        name = "STORY" if len(question.stories) == 1 else f"STORY {number + 1}"
        yield f"BEGIN {name}"
        for position, pair in enumerate(story):
            yield from self._pair(position, pair, len(story) - 1)
        yield f"END {name}"

    def _pair(self, position: int, pair: Pair, last: int) -> Iterator[str | Picture]:
        yield f"Picture {position} ({'the opening' if position == 0 else f'{position} of {last}'}):"
        yield self._pictures.show(pair)
        yield f"Text {position} (JSON string): {quoted(pair.text)}"
