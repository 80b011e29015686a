"""Episodes, shots, frames and stories as rows of the dataset's tables (`story_model/schema.py`)."""

import hashlib
from collections.abc import Mapping

from storystream_builder.assemble import Assembly
from storystream_builder.frames import KEPT, Episode, Frame
from storystream_builder.keyframes import LESS_SHARP
from storystream_builder.narrating.languages import spoken_language
from storystream_builder.sources import Source
from storystream_builder.stories import Story
from storystream_builder.voices import Voices

_AS_THEY_ARE = (
    *("frame_id", "episode_id", "pts", "time_base", "pts_ms", "status", "caption", "caption_status", "stretch"),
    *("sharpness", "luma", "contrast", "fade", "text", "appeal", "phash", "width", "height"),
    *("prompt_tokens", "completion_tokens"),
)


def story_row(story: Story, images: Mapping[str, bytes], source: Source) -> dict[str, object]:
    """Give a story with its pictures; `images` is by frame id."""
    frames = story.frames
    return {
        "story_id": story.story_id,
        "split": story.split,
        "episode_id": story.episode_id,
        "images": [{"bytes": images[frame.frame_id], "path": f"{frame.frame_id}.jpg"} for frame in frames],
        "captions": list(story.texts),
        "frame_captions": [frame.caption for frame in frames],
        "orders": list(range(len(frames))),
        "pts_ms": [frame.pts_ms for frame in frames],
        "shot_ids": [frame.shot.shot_id for frame in frames],
        "image_sha256": [_sha256(images[frame.frame_id]) for frame in frames],
        "width": [frame.width for frame in frames],
        "height": [frame.height for frame in frames],
        "phash": [frame.phash for frame in frames],
        "frame_ids": [frame.frame_id for frame in frames],
        "series": source.series,
        "url": source.url,
        "license": source.license,
        "attribution": source.attribution,
    }


def provenance_of(subset: str, voices: Voices) -> dict[str, object]:
    """Give the columns that say by whom all stories are."""
    prompts = voices.captioner.prompt_sha256 + voices.narrator.prompt_sha256
    return {
        "subset": subset,
        "caption_model": voices.captioner.name,
        "story_model": voices.narrator.name,
        "prompt_sha256": _sha256(prompts.encode()) if prompts else "",
    }


def frame_row(frame: Frame, image: bytes | None, source: Source) -> dict[str, object]:
    """Give a candidate; dropped ones come without their picture."""
    row: dict[str, object] = {name: getattr(frame, name) for name in _AS_THEY_ARE}
    row |= {"shot_id": frame.shot.shot_id, "license": source.license, "attribution": source.attribution}
    if image is not None:
        row |= {"image": {"bytes": image, "path": f"{frame.frame_id}.jpg"}, "image_sha256": _sha256(image)}
    return row


def episode_row(episode: Episode, assembly: Assembly, subset: str) -> dict[str, object]:
    """Give an episode: its source, what one pass found, which split it went to."""
    record, source = episode.record, episode.outcome.source
    splits = sorted({story.split for story in assembly.stories.stories if story.episode_id == episode.episode_id})
    return {
        "episode_id": episode.episode_id,
        "subset": subset,
        "split": "+".join(splits) or None,
        "source_name": source.name,
        "source_sha256": record.source_sha256,
        "codec": record.codec,
        "width": record.width,
        "height": record.height,
        "rotation": record.rotation,
        "pixel_aspect": record.pixel_aspect,
        "duration_ms": record.duration_ms,
        "num_frames": record.num_frames,
        "num_corrupt": record.num_corrupt,
        "num_shots": len(record.shots),
        "num_keyframes": len(episode.kept),
        "num_lines": len(episode.outcome.transcript.lines),
        "transcript": episode.outcome.transcript.source or None,
        "duplicate_of": assembly.duplicates.get(episode.episode_id),
        "license": source.license,
        "attribution": source.attribution,
        "series": source.series,
        "title": source.title,
        "url": source.url,
        "language": spoken_language(episode.outcome.transcript),
        "cast": cast.names if (cast := assembly.casts.get(episode.episode_id)) else [],
    }


def shot_rows(episode: Episode) -> list[dict[str, object]]:
    """List an episode's shots, each with what became of it: `kept`, or why it has no keyframe."""
    statuses: dict[int, set[str]] = {}
    for frame in episode.frames:
        statuses.setdefault(frame.shot.shot_id, set()).add(frame.status)
    return [
        shot.model_dump()
        | {
            "episode_id": episode.episode_id,
            "time_base": episode.record.time_base,
            "outcome": _outcome(statuses.get(shot.shot_id, set())),
        }
        for shot in episode.record.shots
    ]


def story_text_row(story: Story, subset: str) -> dict[str, object]:
    """Give a story without its pictures."""
    return {
        "story_id": story.story_id,
        "subset": subset,
        "split": story.split,
        "episode_id": story.episode_id,
        "frame_ids": [frame.frame_id for frame in story.frames],
        "captions": list(story.texts),
    }


def _outcome(statuses: set[str]) -> str:
    return KEPT if KEPT in statuses else ", ".join(sorted(statuses - {LESS_SHARP})) or "no sound frame"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
