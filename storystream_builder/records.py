"""What processes over an episode are told and leave behind: `episode.json`, `candidates.parquet`, `transcript.json`."""

from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from story_model import schema
from story_model.build_config import CandidatesConfig, ShotsConfig, TranscriptSource
from story_model.section import Section
from storystream_builder.videos import Fault

EPISODE = "episode.json"
FRAMES = "candidates.parquet"
TIMING = ".timing.json"
TRANSCRIPT = "transcript.json"
_ADDED_LATER = frozenset(
    (
        *("subset", "status", "image_sha256", "appeal", "license", "attribution"),
        *("caption", "caption_status", "caption_model", "prompt_sha256", "prompt_tokens", "completion_tokens"),
    )
)

CANDIDATES = pa.schema([column for column in schema.FRAMES if column.name not in _ADDED_LATER])
"""The frames table before anything was said about the frames."""


class DecodeKey(Section):
    """All that decides what one pass over a video finds."""

    episode_id: str
    source_sha256: str
    max_pixels: int
    max_duration_s: float
    max_corrupt_ratio: float
    shots: ShotsConfig
    weights_sha256: str | None = None
    """Of the network that finds shots, where one does."""
    candidates: CandidatesConfig


class DecodeJob(Section):
    """What the process is told: the key, and what does not change the result."""

    key: DecodeKey
    threads: int
    max_memory_gb: float


class ListenKey(Section):
    """All that decides what is found."""

    source_sha256: str
    sources: tuple[TranscriptSource, ...]
    language: str | None
    network_sha256: str | None


class ListenJob(Section):
    """What the process is told: the key, and what does not change the result."""

    key: ListenKey
    speech_folder: str | None
    max_memory_gb: float | None
    """None where a network runs: it reserves far more addresses than memory."""


class ShotRecord(BaseModel):
    """One shot; times from the start of the video."""

    shot_id: int
    start_ms: int
    end_ms: int
    start_pts: int
    """In the stream's time base, like `end_pts`."""
    end_pts: int
    motion: float
    num_candidates: int


class Timing(BaseModel):
    """What a pass over a video took, in wall seconds."""

    seconds: float
    decoder_seconds: float
    """Of these, waiting for the decoder."""


class EpisodeRecord(BaseModel):
    """What one pass over a video found, or the fault for which the video is set aside."""

    episode_id: str
    source_sha256: str
    fault: Fault | None = None
    reason: str = ""
    note: str = ""
    """What is wrong with a video that is used all the same."""
    codec: str = ""
    width: int = 0
    height: int = 0
    rotation: int = 0
    """Degrees by which the file asks its pictures to be turned counter-clockwise; they are."""
    pixel_aspect: str = "1"
    """Width over height of one pixel as a fraction; stored pictures have square ones."""
    time_base: str = "1/1000"
    """Seconds of one unit of `pts`, as a fraction."""
    duration_ms: int = 0
    num_frames: int = 0
    num_corrupt: int = 0
    shots: list[ShotRecord] = []


def read_record(folder: Path) -> EpisodeRecord:
    """Read what was found in a decoded episode.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return EpisodeRecord.model_validate_json((folder / EPISODE).read_bytes())
    except (OSError, ValidationError) as error:
        raise damaged(folder, error) from None


def damaged(folder: Path, error: Exception) -> ValueError:
    """Say what to do about a decoded episode that cannot be read back."""
    reason = " ".join(str(error).split())[:200]
    return ValueError(f"{folder} is damaged ({reason}); remove it and run again, it is decoded anew")
