"""What a keyframe shows, in words: the line spoken over it, what can be measured, or what an endpoint sees."""

import base64
import hashlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from story_model.asking.answers import Answer
from story_model.asking.endpoint import Endpoint, QuestionRefused
from story_model.asking.replies import CONTENT_FILTER, LENGTH
from storystream_builder.captioning.looks import describe
from storystream_builder.episodes import Problem
from storystream_builder.frames import Episode, Frame
from storystream_builder.listening.transcripts import line_for

PROMPTS_DIR = Path(__file__).parents[1] / "prompts"

NARRATED = "narrated"
MEASURED = "measured"
SEEN = "seen"
TRUNCATED = "truncated"
FAILED = "failed"
LOCAL = "local"
"""Seen by a network on this machine."""
SIDECAR = "sidecar"
"""Given in a file."""
STEP = "captions"

Price = tuple[float, float]
"""US dollars for a million tokens sent, and for a million received."""


@dataclass(frozen=True)
class CaptionedEpisode:
    """An episode whose kept frames all have a caption, and what is to be told of those that got none."""

    episode: Episode
    problems: tuple[Problem, ...] = ()
    price: Price = (0.0, 0.0)

    @property
    def prompt_tokens(self) -> int:
        """Tokens sent, for failed frames too."""
        return sum(frame.prompt_tokens or 0 for frame in self.episode.frames)

    @property
    def completion_tokens(self) -> int:
        """Tokens received, for failed frames too."""
        return sum(frame.completion_tokens or 0 for frame in self.episode.frames)

    @property
    def micro_dollars(self) -> float:
        """What the captions cost, paid now or earlier, in millionths of a US dollar."""
        sent, received = self.price
        return self.prompt_tokens * sent + self.completion_tokens * received


class Captioner(Protocol):
    """Says what frames show."""

    name: str
    """Who speaks; stored with every caption."""
    prompt_sha256: str
    """Of the instructions given; empty where there are none."""

    def caption(self, episodes: Sequence[Episode]) -> Iterator[CaptionedEpisode]:
        """Caption the kept frames of episodes, in their order; what cannot be captioned is dropped with the reason.

        Raises:
            ValueError: nothing can be captioned, or not now; what was paid for is kept.
        """
        ...


class NarrationCaptioner:
    """Takes the line spoken over a frame; measures the frame where nothing is spoken."""

    name = "narration"
    prompt_sha256 = ""

    def caption(self, episodes: Sequence[Episode]) -> Iterator[CaptionedEpisode]:
        """Caption the kept frames of episodes."""
        return map(self._one, episodes)

    def _one(self, episode: Episode) -> CaptionedEpisode:
        spoken = {frame.frame_id: spoken_over(frame, episode) for frame in episode.kept}
        images = {} if all(spoken.values()) else episode.images()
        captioned = {}
        for frame in episode.kept:
            line = spoken[frame.frame_id]
            text = line or describe(
                images[frame.frame_id], luma=frame.luma, motion=frame.shot.motion, at_ms=frame.pts_ms
            )
            captioned[frame.frame_id] = replace(frame, caption=text, caption_status=NARRATED if line else MEASURED)
        return CaptionedEpisode(episode.with_frames(captioned))


class EndpointCaptioner:
    """Shows each frame to an OpenAI-compatible endpoint, several at once."""

    def __init__(self, endpoint: Endpoint, *, max_tokens: int, concurrency: int, price: Price = (0.0, 0.0)) -> None:
        """Take the endpoint, the longest answer in tokens, how many questions are asked at once, and its price."""
        self.name = endpoint.model
        self.questions = CaptionQuestions(max_tokens)
        self.prompt_sha256 = self.questions.prompt_sha256
        self._endpoint = endpoint
        self._concurrency = concurrency
        self._price = price

    def caption(self, episodes: Sequence[Episode]) -> Iterator[CaptionedEpisode]:
        """Caption the kept frames of episodes; an episode's first questions go out beside the last of the one before.

        Raises:
            ValueError: the endpoint cannot be used, or not now; what it said so far is kept.
        """
        pool, over = ThreadPoolExecutor(self._concurrency), Event()
        asked: deque[tuple[Episode, list[Future[Frame]]]] = deque()
        try:
            for episode in episodes:
                images = episode.images() if episode.kept else {}
                frames = episode.kept
                futures = [pool.submit(self._one, frame, episode, images[frame.frame_id], over) for frame in frames]
                asked.append((episode, futures))
                if len(asked) > 1:
                    yield self._collected(*asked.popleft())
            while asked:
                yield self._collected(*asked.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _collected(self, episode: Episode, frames: Sequence[Future[Frame]]) -> CaptionedEpisode:
        return captioned(episode, [future.result() for future in frames], price=self._price)

    def _one(self, frame: Frame, episode: Episode, picture: bytes, over: Event) -> Frame:
        """Ask about a frame, unless it is `over`: the endpoint proved unusable over one before it."""
        if over.is_set():
            raise CancelledError
        messages = self.questions.messages(picture, spoken_over(frame, episode))
        try:
            return answered(frame, self._endpoint.ask(frame.episode_id, messages, **self.questions.options))
        except QuestionRefused as error:
            return failed(frame, str(error))
        except BaseException:
            over.set()
            raise


class CaptionQuestions:
    """The question that is asked about a frame."""

    def __init__(self, max_tokens: int) -> None:
        """Take the longest answer in tokens."""
        self.prompt = (PROMPTS_DIR / "caption.txt").read_text()
        self.prompt_sha256 = hashlib.sha256(self.prompt.encode()).hexdigest()
        self.options: dict[str, Any] = {"max_tokens": max_tokens, "temperature": 0}

    def messages(self, picture: bytes, line: str | None) -> list[dict[str, Any]]:
        """Ask about a picture (JPEG) and the line spoken over it."""
        url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": spoken_words(line)}]
        return [{"role": "system", "content": self.prompt}, {"role": "user", "content": content}]


def spoken_words(line: str | None) -> str:
    """Tell a network what is spoken."""
    return f"Spoken line: {line}" if line else "No line is spoken."


def answered(frame: Frame, answer: Answer, *, status: str = SEEN) -> Frame:
    """Give a frame the caption that an answer holds, with what it cost; or the reason why it holds none."""
    paid = replace(frame, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens)
    text = " ".join(answer.text.split())
    if answer.refusal or answer.finish_reason == CONTENT_FILTER:
        return failed(paid, f"refused: {answer.refusal or 'content filter'}")
    if not text:
        hint = "; build.captions.max_tokens is too low for this model" if answer.finish_reason == LENGTH else ""
        return failed(paid, f"empty answer ({answer.finish_reason}){hint}")
    return replace(paid, caption=text, caption_status=TRUNCATED if answer.finish_reason == LENGTH else status)


def failed(frame: Frame, reason: str) -> Frame:
    """Drop a frame that got no caption."""
    return replace(frame, status=f"no caption: {reason}", caption_status=FAILED)


def captioned(
    episode: Episode, frames: Sequence[Frame], *, price: Price = (0.0, 0.0), problems: Sequence[Problem] = ()
) -> CaptionedEpisode:
    """Put captioned frames into their episode and list those that failed."""
    name = episode.outcome.name
    lost = [Problem(name, STEP, f"{one.frame_id}: {one.status}", "no caption") for one in frames if not one.is_kept]
    changed = episode.with_frames({frame.frame_id: frame for frame in frames})
    return CaptionedEpisode(changed, (*problems, *lost), price)


def count_captions(result: CaptionedEpisode) -> Counter[str]:
    """Count captions by how they came about, and what was paid for them."""
    paid = {"prompt tokens": result.prompt_tokens, "completion tokens": result.completion_tokens}
    counts = Counter({f"{what}{name}": number for what in ("", "captions ") for name, number in paid.items()})
    counts.update(f"captions {frame.caption_status}" for frame in result.episode.frames if frame.caption_status)
    return counts


def spoken_over(frame: Frame, episode: Episode) -> str | None:
    """Say what is spoken over a frame; none where nothing is."""
    shot = frame.shot
    lines = episode.outcome.transcript.lines
    return line_for(lines, at_ms=frame.pts_ms, start_ms=shot.start_ms, end_ms=shot.end_ms)


def drop_silent(episode: Episode) -> Episode:
    """Drop keyframes of shots over which nothing is spoken, in an episode where something is: titles and credits."""
    if not episode.has_lines:
        return episode
    silent = [frame for frame in episode.kept if spoken_over(frame, episode) is None]
    return episode.with_frames({frame.frame_id: frame.dropped("no narration") for frame in silent})
