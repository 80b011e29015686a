"""Passages over frames, asked of an endpoint until the strict check finds no fault in them, or as often as allowed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from story_model.asking.endpoint import QuestionRefused
from story_model.asking.structured import Structured
from story_model.build_config import NarrativesConfig
from storystream_builder.narrating.cast import Cast, EpisodeText
from storystream_builder.narrating.names import Lexicon, lexicon_of
from storystream_builder.narrating.story_check import SCHEMA, Rules, faults, passages
from storystream_builder.stories import Story


@dataclass(frozen=True)
class Background:
    """What is known of an episode whose stories are told."""

    text: EpisodeText
    cast: Cast = field(default_factory=Cast)
    images: Callable[[], Mapping[str, bytes]] = dict
    """Reads the pictures of its kept frames, by frame id."""

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words that its stories may take names from."""
        given = [member.look for member in self.cast.members if member.source == "given"]
        return lexicon_of([*self.text.captions, *self.text.lines, *self.cast.names, *given])


@dataclass(frozen=True)
class Draft:
    """A story to be told: its frames with their captions, the line spoken over each, and its episode."""

    story: Story
    spoken: tuple[str | None, ...]
    background: Background


@dataclass(frozen=True)
class Told:
    """What came of one question and its repetitions."""

    texts: tuple[str, ...] = ()
    failure: str = ""
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Teller:
    """Asks for passages until they can be taken, or as often as it may."""

    def __init__(self, asked: Structured, config: NarrativesConfig) -> None:
        """Take the endpoint and what passages are held to."""
        self._asked = asked
        self._config = config

    def head(self, draft: Draft) -> dict[str, Any]:
        """Give what every question about a story begins with."""
        words = {"least": self._config.min_words, "most": self._config.max_words}
        background = draft.background
        return {"language": background.text.language, "words in a passage": words, **background.cast.for_prompt()}

    def tell(self, draft: Draft, prompt: str, content: str | list[dict[str, Any]], numbers: Sequence[int]) -> Told:
        """Have passages over the frames of these numbers told; each new attempt knows what was wrong before."""
        rules = self.rules(draft, prompt)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": prompt},
            {"role": "user", "content": content},
        ]
        told, reasons = Told(), []
        for attempt in range(1, self._config.attempts + 1):
            try:
                answer = self._asked.ask(
                    draft.story.episode_id, messages, schema=SCHEMA, max_tokens=self._config.max_tokens
                )
            except QuestionRefused as error:
                reasons.append(f"attempt {attempt}: refused: {error}")
                return replace(told, attempts=attempt, failure="; ".join(reasons))
            told = Told(
                attempts=attempt,
                prompt_tokens=told.prompt_tokens + answer.prompt_tokens,
                completion_tokens=told.completion_tokens + answer.completion_tokens,
            )
            try:
                texts = passages(answer, numbers)
                found = faults(texts, numbers, rules)
            except ValueError as error:
                found = [str(error)]
            if not found:
                return replace(told, texts=texts)
            reasons.append(f"attempt {attempt}: {'; '.join(found)}")
            wrong = "\n".join(f"- {one}" for one in found)
            messages += [
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": f"This cannot be used:\n{wrong}\nWrite the whole answer again."},
            ]
        return replace(told, failure="; ".join(reasons))

    def rules(self, draft: Draft, prompt: str) -> Rules:
        """Say what passages of a story are held to; `prompt` must not come back in them."""
        config, background = self._config, draft.background
        return Rules(
            min_words=config.min_words,
            max_words=config.max_words,
            language=background.text.language,
            lexicon=background.lexicon if config.invented_names == "refuse" else None,
            other_names=background.cast.other_names,
            instructions=prompt,
        )
