"""What decoding is told and what it leaves behind for each episode: `episode.json` and `candidates.parquet`."""

import pyarrow as pa
from pydantic import BaseModel

from story_model import schema
from story_model.config import KeyframesConfig, ShotsConfig
from story_model.section import Section
from storystream_builder.videos import Fault

EPISODE = "episode.json"
FRAMES = "candidates.parquet"
_ADDED_LATER = {"subset", "image_sha256", "caption", "caption_status", "caption_model"}

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
    keyframes: KeyframesConfig


class DecodeJob(Section):
    """What the process is told: the key, and what does not change the result."""

    key: DecodeKey
    threads: int
    max_memory_gb: float


class ShotRecord(BaseModel):
    """One shot, in milliseconds from the start of the video."""

    shot_id: int
    start_ms: int
    end_ms: int
    motion: float
    num_candidates: int
    outcome: str
    """`kept`, or why the shot has no keyframe."""


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
    duration_ms: int = 0
    num_frames: int = 0
    num_corrupt: int = 0
    shots: list[ShotRecord] = []
