"""How a question is put to a judge and its answer read: what every form shares.

A form says what is shown, in which order and words; pictures stay pixels until they are sent, so that looking an answer
up costs no encoding and its key hangs on no encoder.
"""

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from evaluation.judging.questions import Choice, Question
from evaluation.pictures import Pair
from story_model.asking.endpoint import Answer
from story_model.pixels import Square

Encoding = Literal["PNG", "JPEG"]
_HOW: dict[Encoding, dict[str, Any]] = {"PNG": {"compress_level": 3}, "JPEG": {"quality": 95}}
_URLS_KEPT = 96
"""Some dozen megabytes, and more pictures than the questions that are asked at once show."""
PROMPTS = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Picture:
    """A picture as it is shown: scaled, not yet encoded."""

    pair: Pair
    encoding: Encoding
    size: tuple[int, int]
    digest: str
    """sha256 of size and RGB pixels, as shown."""
    shown_by: "Pictures" = field(repr=False, compare=False)

    def url(self) -> str:
        """Encode as a data URL."""
        return self.shown_by.encode(self)


class Pictures:
    """Pictures as one form shows them; each is decoded once for its digest, however often it is asked about."""

    def __init__(self, side: int, encoding: Encoding) -> None:
        """Take the longest side in pixels, and what pictures are sent as."""
        self._side = side
        self._encoding: Encoding = encoding
        self._seen: dict[tuple[str, Square | None], tuple[tuple[int, int], str]] = {}
        self._urls: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def show(self, pair: Pair) -> Picture:
        """Prepare a pair's picture.

        Raises:
            ValueError: it cannot be decoded.
        """
        source = pair.source
        if source is None:
            raise ValueError(f"pair {pair.index} has no picture to be judged; ask about pairs that have one")
        content = hashlib.sha256(source if isinstance(source, bytes) else source.read_bytes()).hexdigest(), pair.square
        if content not in self._seen:
            image = pair.image(self._side)
            named = hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes())
            self._seen[content] = image.size, named.hexdigest()
        size, digest = self._seen[content]
        return Picture(pair, self._encoding, size, digest, self)

    def encode(self, picture: Picture) -> str:
        """Make a data URL; the last ones are kept, since a story is asked about many times in a row."""
        with self._lock:
            known = self._urls.get(picture.digest)
        if known is not None:
            return known
        image, buffer = picture.pair.image(self._side), io.BytesIO()
        image.info = {}  # comments and colour profiles hold words, and would go along
        image.save(buffer, format=self._encoding, **_HOW[self._encoding])
        url = f"data:image/{self._encoding.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
        with self._lock:
            self._urls[picture.digest] = url
            while len(self._urls) > _URLS_KEPT:
                self._urls.popitem(last=False)
        return url


@dataclass(frozen=True)
class Message:
    """A message of a question: texts and pictures in order."""

    role: Literal["system", "user"]
    parts: tuple[str | Picture, ...]


@dataclass(frozen=True)
class Verdict:
    """What a valid answer says: a score of one story, or a choice between two."""

    rationale: str
    score: float | None = None
    choice: Choice | None = None


class Form(Protocol):
    """One way of putting questions."""

    def messages(self, question: Question) -> list[Message]:
        """Put a question.

        Raises:
            ValueError: a pair has no picture, or one that cannot be decoded.
        """
        ...

    def options(self) -> dict[str, Any]:
        """Make the parameters of every call."""
        ...

    def schema(self, question: Question) -> dict[str, Any] | None:
        """Make the JSON schema of the answer; none where it is prose."""
        ...

    def read(self, question: Question, answer: Answer) -> Verdict:
        """Read an answer that came whole.

        Raises:
            Declined: it is a refusal in prose.
            ValueError: it is of another form.
        """
        ...


def prompt(name: str) -> str:
    """Read a prompt."""
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip()


def sent(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Write messages as an endpoint takes them, pictures as data URLs."""
    return [
        {
            "role": message.role,
            "content": message.parts[0] if message.role == "system" else [_sent(part) for part in message.parts],
        }
        for message in messages
    ]


def named(messages: Sequence[Message]) -> list[Any]:
    """Write messages for the key of a question, pictures as digests of their pixels."""
    return [
        [message.role, [part if isinstance(part, str) else [part.encoding, part.digest] for part in message.parts]]
        for message in messages
    ]


def pictures_in(messages: Sequence[Message]) -> list[Picture]:
    """List the pictures shown, in order."""
    return [part for message in messages for part in message.parts if isinstance(part, Picture)]


def texts_in(messages: Sequence[Message]) -> list[str]:
    """List the texts sent, in order."""
    return [part for message in messages for part in message.parts if isinstance(part, str)]


def _sent(part: str | Picture) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.url()}}
