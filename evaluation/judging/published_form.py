"""The published form: questions as SEED-Story's evaluation put them, so that its three scores can be set beside ours.

All texts first, as a list in Python's notation, then each picture in a message of its own, then what is asked; the
opening is not shown. The answer is prose with a mark in double brackets. The instruction has the published meaning in
our own words. Published with temperature 0.3 and 4096 tokens (`evaluate.judge.temperature` and `max_tokens`), pictures
of full size (`picture_side`) and a model that is shut down.
"""

import re
from typing import Any

from evaluation.judging.form import Message, Pictures, Verdict, prompt
from evaluation.judging.questions import Choice, Dimension, Question
from evaluation.judging.quoting import shortened, without_marks
from evaluation.pictures import Pair
from story_model.asking.endpoint import Answer
from story_model.asking.structured import Declined, is_refusal
from story_model.evaluate_config import JudgeConfig

SEGMENTS = 5
"""Pairs shown of a story."""
_ASPECTS: dict[Dimension, str] = {
    "style": "how consistent the style of the story's images is",
    "engaging": "how engaging the story is",
    "coherence": "how coherent the story's images and its text are",
}
_SCORE = re.compile(r"\[\[\s*(\d{1,3}(?:\.\d{1,4})?)\s*\]\]")
_CHOICE = re.compile(r"\[\[\s*([ABC])\s*\]\]")
_CHOICES: dict[str, Choice] = {"A": "first", "B": "second", "C": "tie"}


class PublishedForm:
    """Puts questions as SEED-Story's evaluation did."""

    def __init__(self, config: JudgeConfig) -> None:
        """Take the parameters of a call and the size of pictures."""
        self._config = config
        self._pictures = Pictures(config.picture_side, "JPEG")

    def messages(self, question: Question) -> list[Message]:
        """Put a question: texts, pictures, what is asked."""
        two = len(question.stories) == 2
        found: list[Message] = []
        for name, story in zip("AB", question.stories, strict=False):
            found += self._story(name, story[1 : 1 + SEGMENTS], two=two)
        asked = prompt("published_pair" if two else "published_score").replace("{aspect}", _ASPECTS[question.dimension])
        return [*found, Message("user", (asked,))]

    def options(self) -> dict[str, Any]:
        """Make the parameters of every call."""
        return {"temperature": self._config.temperature, "max_tokens": self._config.max_tokens}

    def schema(self, question: Question) -> None:
        """Have none: the answer is prose."""

    def read(self, question: Question, answer: Answer) -> Verdict:
        """Read the mark out of an answer, wherever it stands; several count only where all are the same.

        Raises:
            Declined: there is none, and the answer is a refusal.
            ValueError: there is none, or they differ, or a score is not from 1 to 10.
        """
        two = len(question.stories) == 2
        marks = {str(float(mark)) if not two else mark for mark in (_CHOICE if two else _SCORE).findall(answer.text)}
        if not marks and is_refusal(answer.text):
            raise Declined(f"a refusal: {answer.text[:200]}")
        if len(marks) != 1:
            said = ", ".join(f"[[{mark}]]" for mark in sorted(marks)[:4])
            raise ValueError(f"contradicting marks: {said}" if marks else "no mark in double brackets")
        mark = marks.pop()
        if two:
            return Verdict(answer.text, choice=_CHOICES[mark])
        if not 1 <= float(mark) <= 10:
            raise ValueError(f"the score {mark} is not from 1 to 10")
        return Verdict(answer.text, score=float(mark))

    def _story(self, name: str, pairs: tuple[Pair, ...], *, two: bool) -> list[Message]:
        texts = f"Story text from Assistant {name}: {[without_marks(shortened(pair.text)) for pair in pairs]!r}\n"
        images = f"Images from Assistant {name} are" if two else "Images are"
        announced = [Message("user", (text,)) for text in (texts, f"{images} encoded in base64.\n")]
        return [*announced, *(Message("user", (self._pictures.show(pair),)) for pair in pairs)]
