"""What a keyframe shows, in words: the line spoken over it, what can be measured, or what an endpoint sees."""

import base64
import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from storystream_builder.endpoint import Endpoint, QuestionRefused
from storystream_builder.frames import Episode, Frame
from storystream_builder.looks import describe
from storystream_builder.transcripts import line_for

PROMPTS_DIR = Path(__file__).parent / "prompts"

NARRATED = "narrated"
MEASURED = "measured"
SEEN = "seen"
TRUNCATED = "truncated"
FAILED = "failed"


@dataclass(frozen=True)
class CaptionedEpisode:
    """An episode whose kept frames all have a caption, and the reasons of those that got none."""

    episode: Episode
    failures: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Captioner(Protocol):
    """Says what frames show."""

    name: str
    """Who speaks; stored with every caption."""
    prompt_sha256: str
    """Of the instructions given; empty where there are none."""

    def caption(self, episode: Episode) -> CaptionedEpisode:
        """Caption an episode's kept frames; those that cannot be captioned are dropped with the reason."""
        ...


class NarrationCaptioner:
    """Takes the line spoken over a frame; measures the frame where nothing is spoken."""

    name = "narration"
    prompt_sha256 = ""

    def caption(self, episode: Episode) -> CaptionedEpisode:
        """Caption an episode's kept frames."""
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

    def __init__(self, endpoint: Endpoint, *, max_tokens: int, concurrency: int) -> None:
        """Take the endpoint, the longest answer in tokens, and how many questions are asked at once."""
        self.name = endpoint.model
        self._prompt = (PROMPTS_DIR / "caption.txt").read_text()
        self.prompt_sha256 = hashlib.sha256(self._prompt.encode()).hexdigest()
        self._endpoint = endpoint
        self._max_tokens = max_tokens
        self._concurrency = concurrency

    def caption(self, episode: Episode) -> CaptionedEpisode:
        """Caption an episode's kept frames.

        Raises:
            ValueError: the endpoint cannot be used; what it said so far is kept.
        """
        images = episode.images()
        with ThreadPoolExecutor(self._concurrency) as pool:
            results = list(pool.map(lambda frame: self._one(frame, episode, images), episode.kept))
        return CaptionedEpisode(
            episode.with_frames({frame.frame_id: frame for frame, _, _ in results}),
            failures=tuple(f"{frame.frame_id}: {frame.status}" for frame, _, _ in results if not frame.is_kept),
            prompt_tokens=sum(asked for _, asked, _ in results),
            completion_tokens=sum(said for _, _, said in results),
        )

    def _one(self, frame: Frame, episode: Episode, images: Mapping[str, bytes]) -> tuple[Frame, int, int]:
        """Caption one frame: (frame, prompt tokens, completion tokens)."""
        line = spoken_over(frame, episode)
        picture = base64.b64encode(images[frame.frame_id]).decode()
        content = [
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
            {"type": "text", "text": f"Spoken line: {line}" if line else "No line is spoken."},
        ]
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": self._prompt},
            {"role": "user", "content": content},
        ]
        try:
            answer = self._endpoint.ask(frame.episode_id, messages, max_tokens=self._max_tokens, temperature=0)
        except QuestionRefused as error:
            return replace(frame, status=f"no caption: {error}", caption_status=FAILED), 0, 0
        tokens = answer.prompt_tokens, answer.completion_tokens
        if not answer.text or answer.finish_reason == "content_filter":
            reason = f"no caption: empty answer ({answer.finish_reason})"
            return replace(frame, status=reason, caption_status=FAILED), *tokens
        status = TRUNCATED if answer.finish_reason == "length" else SEEN
        return replace(frame, caption=" ".join(answer.text.split()), caption_status=status), *tokens


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
