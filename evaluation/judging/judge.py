"""The judge: a GPT-4-class model that scores told stories for style, engagement and coherence.

One call asks one question about one story, with pictures and texts interleaved in reading order; the answer must fit a
schema, rationale before score. What cannot be scored gets a status, never a number. Every answer that was paid for goes
into a ledger (`ledger.py`) before it is used, under a key of all that was asked, so that nothing is paid for twice.
Without an endpoint or a model there are no scores, and the reason is reported.
"""

import base64
import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import openai
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.judging.ledger import Answer, Ledger
from evaluation.pictures import Pair
from story_model.config import Settings
from story_model.evaluate_config import JudgeConfig

log = logging.getLogger(__name__)

Dimension = Literal["style", "engaging", "coherence"]
DIMENSIONS: tuple[Dimension, ...] = ("style", "engaging", "coherence")
_PROMPTS = Path(__file__).parent / "prompts"
_TRIES = 5
_TIMEOUT_S = 180.0


class Opinion(BaseModel):
    """What the judge must answer."""

    model_config = ConfigDict(extra="forbid")

    rationale: str = Field(min_length=1)
    score: Annotated[float, Field(ge=1, le=10, multiple_of=0.5)]


@dataclass(frozen=True)
class Question:
    """One dimension of one story: the opening first, then pairs in order."""

    dimension: Dimension
    pairs: tuple[Pair, ...]


class Judge(Protocol):
    """Answers questions about stories."""

    def answer(self, question: Question) -> Answer:
        """Score a story in one dimension; what went wrong is in the answer's status."""
        ...


class EndpointJudge:
    """A model behind an OpenAI-compatible endpoint, with a ledger of its answers."""

    def __init__(self, client: openai.OpenAI, config: JudgeConfig, ledger: Ledger) -> None:
        """Take a client that retries by itself, the parameters of a call, and the ledger to look in first."""
        self.client = client
        self.config = config
        self.ledger = ledger

    def answer(self, question: Question) -> Answer:
        """Look the question up in the ledger, else ask."""
        pictures = [pair.image(self.config.picture_side) for pair in question.pairs]
        request = self._request(question, pictures)
        key = self._key(request, pictures)
        known = self.ledger.find(key)
        if known is not None:
            return known
        answer = self._ask(key, request)
        if answer.status != "error":
            self.ledger.add(answer)
        return answer

    def _request(self, question: Question, pictures: Sequence[Image.Image]) -> dict[str, Any]:
        schema = {"name": "opinion", "strict": True, "schema": Opinion.model_json_schema()}
        asked = (_PROMPTS / f"judge_{question.dimension}.txt").read_text()
        content: list[dict[str, Any]] = [{"type": "text", "text": f"{asked}\nBEGIN STORY"}]
        for number, (pair, picture) in enumerate(zip(question.pairs, pictures, strict=True)):
            name = "the opening" if number == 0 else f"{number} of {len(pictures) - 1}"
            content.append({"type": "text", "text": f"Picture {number} ({name}):"})
            content.append({"type": "image_url", "image_url": {"url": _data_url(picture)}})
            content.append({"type": "text", "text": f"Text {number} (JSON string): {json.dumps(pair.text)}"})
        content.append({"type": "text", "text": "END STORY\nNow answer the question."})
        return {
            "model": self.config.model,
            "temperature": self.config.temperature,
            "max_completion_tokens": self.config.max_tokens,
            "response_format": {"type": "json_schema", "json_schema": schema},
            "messages": [
                {"role": "system", "content": (_PROMPTS / "judge_system.txt").read_text()},
                {"role": "user", "content": content},
            ],
        }

    def _key(self, request: dict[str, Any], pictures: Sequence[Image.Image]) -> str:
        """Hash endpoint, model, parameters, prompt and pixels; encoded pictures would tie the key to an encoder."""
        messages = [
            [part["text"] for part in message["content"] if part["type"] == "text"]
            if isinstance(message["content"], list)
            else message["content"]
            for message in request["messages"]
        ]
        shown = [[*picture.size, hashlib.sha256(picture.tobytes()).hexdigest()] for picture in pictures]
        asked = [str(self.client.base_url), {**request, "messages": messages}, shown]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def _ask(self, key: str, request: dict[str, Any]) -> Answer:
        try:
            reply = self.client.chat.completions.create(**request)
        except openai.OpenAIError as error:
            log.warning("the judge did not answer: %s", error)
            return Answer(key=key, status="error", reason=f"{type(error).__name__}: {error}"[:500])
        used = reply.usage
        tokens = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
        answer = Answer(key=key, status="invalid", prompt_tokens=tokens[0], completion_tokens=tokens[1])
        if not reply.choices:
            return answer.model_copy(update={"reason": "no choice in the reply"})
        choice = reply.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return answer.model_copy(update={"status": "refused", "reason": choice.message.refusal or "content filter"})
        if choice.finish_reason == "length":
            return answer.model_copy(update={"status": "truncated", "reason": "longer than judge.max_tokens"})
        try:
            opinion = Opinion.model_validate_json(choice.message.content or "")
        except ValidationError as error:
            return answer.model_copy(update={"reason": error.errors()[0]["msg"]})
        return answer.model_copy(update={"status": "ok", "score": opinion.score, "rationale": opinion.rationale})


def open_judge(config: JudgeConfig, settings: Settings, judge_dir: Path) -> EndpointJudge | str:
    """Connect to the configured judge; where there is none, return the reason."""
    if not settings.api_base_url:
        return "no endpoint is configured (STORY_API_BASE_URL)"
    if not config.model:
        return "no model is configured (evaluate.judge.model)"
    client = openai.OpenAI(
        base_url=settings.api_base_url,
        api_key=settings.api_key.get_secret_value() or "none",
        max_retries=_TRIES,
        timeout=_TIMEOUT_S,
    )
    return EndpointJudge(client, config, Ledger(judge_dir / "answers.jsonl"))


def _data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
