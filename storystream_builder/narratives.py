"""The text of a story over its frames: the captions as they are, or one connected story that an endpoint writes.

An endpoint's story is taken only if it has a passage for every frame, once, in order. It is told what was wrong and may
try again; what still fails is a recorded failure, never half a story.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from storystream_builder.captions import PROMPTS_DIR
from storystream_builder.endpoint import Answer, Endpoint, QuestionRefused
from storystream_builder.stories import Story

_SCHEMA = {
    "type": "object",
    "properties": {
        "passages": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"frame": {"type": "integer"}, "text": {"type": "string"}},
                "required": ["frame", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["passages"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Narrative:
    """A narrated story, or none with the reason; and what was paid."""

    story: Story | None
    failure: str = ""
    attempts: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Narrator(Protocol):
    """Writes a story's text."""

    name: str
    """Who writes; stored with every story."""
    prompt_sha256: str
    """Of the instructions given; empty where there are none."""

    def narrate(self, story: Story, spoken: Sequence[str | None]) -> Narrative:
        """Write the text over a story's frames; `spoken` is the line over each, where known."""
        ...


class NarrationNarrator:
    """Leaves the captions as they are."""

    name = "narration"
    prompt_sha256 = ""

    def narrate(self, story: Story, spoken: Sequence[str | None]) -> Narrative:
        """Hand the story back."""
        return Narrative(story)


class EndpointNarrator:
    """Has an OpenAI-compatible endpoint write one connected story over the captions."""

    def __init__(self, endpoint: Endpoint, *, max_tokens: int, attempts: int) -> None:
        """Take the endpoint, the longest answer in tokens, and how often it may try."""
        self.name = endpoint.model
        self._prompt = (PROMPTS_DIR / "narrative.txt").read_text()
        self.prompt_sha256 = hashlib.sha256(self._prompt.encode()).hexdigest()
        self._endpoint = endpoint
        self._max_tokens = max_tokens
        self._attempts = attempts

    def narrate(self, story: Story, spoken: Sequence[str | None]) -> Narrative:
        """Write a story, trying again with the reason while the answer does not fit.

        Raises:
            ValueError: the endpoint cannot be used; what it said so far is kept.
        """
        messages = [
            {"role": "system", "content": self._prompt},
            {"role": "user", "content": _listed(story.texts, spoken)},
        ]
        asked, said, reason = 0, 0, ""
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._ask(story, messages)
            except QuestionRefused as error:
                return Narrative(None, f"refused: {error}", attempt, asked, said)
            asked, said = asked + answer.prompt_tokens, said + answer.completion_tokens
            try:
                texts = passages(answer, len(story.frames))
            except ValueError as error:
                reason = str(error)
                messages += [
                    {"role": "assistant", "content": answer.text},
                    {"role": "user", "content": f"This cannot be used: {reason}. Write the whole answer again."},
                ]
                continue
            return Narrative(replace(story, texts=texts), "", attempt, asked, said)
        return Narrative(None, f"after {self._attempts} attempts: {reason}", self._attempts, asked, said)

    def _ask(self, story: Story, messages: list[dict[str, Any]]) -> Answer:
        form = {"type": "json_schema", "json_schema": {"name": "story", "strict": True, "schema": _SCHEMA}}
        return self._endpoint.ask(story.episode_id, messages, max_tokens=self._max_tokens, response_format=form)


class _Passage(BaseModel):
    model_config = ConfigDict(extra="forbid")
    frame: int
    text: str


class _Passages(BaseModel):
    model_config = ConfigDict(extra="forbid")
    passages: list[_Passage]


def passages(answer: Answer, num_frames: int) -> tuple[str, ...]:
    """Read an endpoint's story: one text for each of frames 1..num_frames.

    Raises:
        ValueError: the answer is cut short, not of the agreed form, or not one passage a frame in order.
    """
    if answer.finish_reason == "length":
        raise ValueError("the answer was cut off at its length limit; be briefer")
    try:
        found = _Passages.model_validate_json(answer.text).passages
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"not the agreed JSON: {first['msg']}") from None
    numbers = [passage.frame for passage in found]
    expected = list(range(1, num_frames + 1))
    if sorted(numbers) != sorted(set(numbers)):
        raise ValueError(f"frames {sorted({n for n in numbers if numbers.count(n) > 1})} come more than once")
    if missing := sorted(set(expected) - set(numbers)):
        raise ValueError(f"frames {missing} are missing")
    if unknown := sorted(set(numbers) - set(expected)):
        raise ValueError(f"there are no frames {unknown}")
    if numbers != expected:
        raise ValueError("the frames are not in order")
    texts = tuple(" ".join(passage.text.split()) for passage in found)
    if empty := [number for number, text in zip(numbers, texts, strict=True) if not text]:
        raise ValueError(f"frames {empty} have no text")
    return texts


def _listed(captions: Sequence[str], spoken: Sequence[str | None]) -> str:
    frames = [
        {"frame": number, "shows": caption} | ({"spoken": line} if line and line != caption else {})
        for number, (caption, line) in enumerate(zip(captions, spoken, strict=True), start=1)
    ]
    return json.dumps({"frames": frames}, ensure_ascii=False, indent=1)
