"""The text of a story over its frames: the captions as they are, or one connected story that an endpoint tells.

An endpoint tells it from the captions and spoken lines at once, or from the pictures, a window after the other, and
then links the windows. It is taken only if the strict check (`story_check`) finds no fault. The endpoint is told what
was wrong and may try again; what still fails is a recorded failure, never half a story.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from story_model.asking.structured import Structured
from story_model.build_config import CastConfig, NarrativesConfig
from storystream_builder.captioning.captions import PROMPTS_DIR
from storystream_builder.narrating.cast import Casting
from storystream_builder.narrating.story_check import unjudged
from storystream_builder.narrating.telling import Draft, Teller, Told
from storystream_builder.stories import Story


@dataclass(frozen=True)
class Narrative:
    """A narrated story, or none with the reasons; and what was paid."""

    story: Story | None
    failure: str = ""
    attempts: int = 1
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unjudged: tuple[str, ...] = ()
    """What the check could not judge: `language`, `names`."""


class Narrator(Protocol):
    """Writes a story's text."""

    name: str
    """Who writes; stored with every story."""
    prompt_sha256: str
    """Of the instructions given; empty where there are none."""
    casting: Casting
    """Finds out who is in an episode before its stories are told."""

    def narrate(self, draft: Draft) -> Narrative:
        """Write the text over a story's frames."""
        ...


class NarrationNarrator:
    """Leaves the captions as they are."""

    name = "narration"
    prompt_sha256 = ""

    def __init__(self, casting: Casting | None = None) -> None:
        """Take who finds the cast; without, there is none."""
        self.casting = casting or _nobody()

    def narrate(self, draft: Draft) -> Narrative:
        """Hand the story back."""
        return Narrative(draft.story)


class TextNarrator:
    """Has an endpoint write one connected story over captions and spoken lines."""

    def __init__(self, asked: Structured, config: NarrativesConfig, casting: Casting | None = None) -> None:
        """Take the endpoint, what a story is held to, and who finds the cast; without, there is none."""
        self.name = asked.model
        self.casting = casting or _nobody()
        self._prompt = (PROMPTS_DIR / "narrative.txt").read_text()
        self.prompt_sha256 = _sha256(self._prompt, self.casting.prompt_sha256)
        self._teller = Teller(asked, config)

    def narrate(self, draft: Draft) -> Narrative:
        """Write a story, trying again with the reasons while the answer does not fit.

        Raises:
            ValueError: the endpoint cannot be used; what it said so far is kept.
        """
        numbers = range(1, len(draft.story.frames) + 1)
        head = self._teller.head(draft) | {"frames": _listed(draft, numbers)}
        told = self._teller.tell(draft, self._prompt, _json(head), numbers)
        return _narrative(draft, self._teller, [told], told.failure)


class VisionNarrator:
    """Shows an endpoint a story's pictures, a window at once, and has it link what it told of each."""

    def __init__(self, asked: Structured, config: NarrativesConfig, casting: Casting | None = None) -> None:
        """Take the endpoint, the window and what a story is held to, and who finds the cast; without, there is none."""
        self.name = asked.model
        self.casting = casting or _nobody()
        self._window = config.window
        self._window_prompt = (PROMPTS_DIR / "narrative_window.txt").read_text()
        self._link_prompt = (PROMPTS_DIR / "narrative_link.txt").read_text()
        self.prompt_sha256 = _sha256(self._window_prompt, self._link_prompt, self.casting.prompt_sha256)
        self._teller = Teller(asked, config)

    def narrate(self, draft: Draft) -> Narrative:
        """Tell each window from those before it, then link them; a window that cannot be told fails the story.

        Raises:
            ValueError: the endpoint cannot be used; what it said so far is kept.
        """
        frames = draft.story.frames
        images = draft.background.images()
        told: list[Told] = []
        so_far: list[str] = []
        for start in range(0, len(frames), self._window):
            numbers = range(start + 1, min(start + self._window, len(frames)) + 1)
            told.append(
                self._teller.tell(draft, self._window_prompt, self._shown(draft, numbers, so_far, images), numbers)
            )
            if told[-1].failure:
                where = f"window {len(told)}, frames {numbers[0]}-{numbers[-1]}"
                return _narrative(draft, self._teller, told, f"{where}: {told[-1].failure}")
            so_far += told[-1].texts
        if len(told) > 1:
            told.append(self._linked(draft, so_far))
        return _narrative(draft, self._teller, told, told[-1].failure and f"linking the windows: {told[-1].failure}")

    def _shown(
        self, draft: Draft, numbers: Sequence[int], so_far: Sequence[str], images: Mapping[str, bytes]
    ) -> list[dict[str, Any]]:
        """Put a window into words and pictures."""
        head = self._teller.head(draft) | {"story so far": [_passage(n, text) for n, text in enumerate(so_far, 1)]}
        content: list[dict[str, Any]] = [{"type": "text", "text": _json(head)}]
        for number, described in zip(numbers, _listed(draft, numbers), strict=True):
            picture = base64.b64encode(images[draft.story.frames[number - 1].frame_id]).decode()
            content += [
                {"type": "text", "text": _json(described)},
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
            ]
        return content

    def _linked(self, draft: Draft, texts: Sequence[str]) -> Told:
        numbers = range(1, len(texts) + 1)
        head = self._teller.head(draft) | {"passages": [_passage(n, text) for n, text in enumerate(texts, 1)]}
        return self._teller.tell(draft, self._link_prompt, _json(head), numbers)


def _narrative(draft: Draft, teller: Teller, told: Sequence[Told], failure: str) -> Narrative:
    """Sum up what was told; the last of it is the story where nothing failed."""
    texts = told[-1].texts
    return Narrative(
        None if failure else replace(draft.story, texts=texts),
        failure,
        attempts=sum(one.attempts for one in told),
        prompt_tokens=sum(one.prompt_tokens for one in told),
        completion_tokens=sum(one.completion_tokens for one in told),
        unjudged=() if failure else tuple(unjudged(texts, teller.rules(draft, ""))),
    )


def _listed(draft: Draft, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Describe frames: what each shows, and the line over it unless that is all that is known of it."""
    return [
        {"frame": number, "shows": caption} | ({"spoken": line} if line and line != caption else {})
        for number, caption, line in zip(
            numbers, (draft.story.texts[n - 1] for n in numbers), (draft.spoken[n - 1] for n in numbers), strict=True
        )
    ]


def _passage(number: int, text: str) -> dict[str, Any]:
    return {"frame": number, "text": text}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _sha256(*texts: str) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _nobody() -> Casting:
    return Casting(CastConfig(derive="none"))
