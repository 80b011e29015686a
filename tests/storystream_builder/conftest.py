"""Decoding in this process, a dataset built once from good and bad videos, and real clips where there are some."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_videos import draw_sound, draw_video, scenes, write_srt

from story_model.build_config import BuildConfig, FiltersConfig
from story_model.config import Settings
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset
from storystream_builder.decode import decode_episode
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode, load_episode
from storystream_builder.keyframes import choose
from storystream_builder.records import DecodeJob, DecodeKey
from storystream_builder.rows import shot_rows
from storystream_builder.sources import Source
from storystream_builder.videos import printable

SMALL_STORIES = {"length": 4, "min_length": 2, "chunk_length": 2}


def small_config(**sections) -> BuildConfig:
    return BuildConfig.model_validate({"stories": SMALL_STORIES, **sections})


def decode_key(**changes) -> DecodeKey:
    config = BuildConfig()
    known = {
        "episode_id": "e0",
        "source_sha256": "0",
        "max_pixels": config.decode.max_pixels,
        "max_duration_s": config.decode.max_duration_s,
        "max_corrupt_ratio": config.decode.max_corrupt_ratio,
        "shots": config.shots,
        "candidates": config.candidates,
    }
    return DecodeKey.model_validate(known | changes)


def source_of(video: Path) -> Source:
    return Source(video, printable(video.name))


def chosen(outcome: EpisodeOutcome, folder: Path, **filters) -> Episode:
    """Load a decoded episode with its keyframes chosen."""
    episode = load_episode(outcome, folder)
    return replace(episode, frames=choose(episode.frames, FiltersConfig(**filters)))


def kept_of(folder: Path, **filters):
    """Choose keyframes of a decoded episode: (frames, outcomes of the shots)."""
    episode = chosen(EpisodeOutcome(source_of(Path("x")), "e0"), folder, **filters)
    return episode.frames, [row["outcome"] for row in shot_rows(episode)]


@pytest.fixture
def decode(tmp_path):
    """A function that decodes a video in this process into tmp_path / "episode": (record, rows of candidates)."""
    import pyarrow.parquet as pq

    out = tmp_path / "episode"

    def run(video: Path, **changes):
        out.mkdir(exist_ok=True)
        record = decode_episode(video, out, DecodeJob(key=decode_key(**changes), threads=1, max_memory_gb=4))
        return record, pq.read_table(out / "candidates.parquet").to_pylist()

    return run


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips."""
    folder = os.environ.get("STORY_TEST_VIDEOS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("STORY_TEST_VIDEOS names no folder of real clips")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(_env_file=None, api_base_url=None)


def make_videos(folder: Path) -> Path:
    """Three good episodes, one of them with subtitles and a title card, and one of each bad input."""
    folder.mkdir()
    draw_video(folder / "one.mp4", scenes(1, 2, 3, 4, 5))
    draw_video(folder / "two.mp4", scenes(11, 12, 13, 14, 15))
    draw_video(folder / "spoken.mp4", scenes(20, 21, 22, 23, 24))
    write_srt(folder / "spoken.srt", [(second, second + 1, f"This is second {second}.") for second in range(1, 5)])
    whole = (folder / "one.mp4").read_bytes()
    (folder / "cut_short.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "page.mp4").write_text("<!doctype html><html><body>404</body></html>")
    draw_sound(folder / "sound.mp4")
    strange = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))
    draw_video(strange, scenes(31, 32, 33))
    draw_video(folder / "mute.mp4", scenes(41, 42, 43))
    (folder / "mute.srt").write_bytes("1\n00:00:00,000 --> 00:00:01,000\nHello\n".encode("utf-16-le"))
    return folder


@pytest.fixture(scope="session")
def mixed_videos(tmp_path_factory) -> Path:
    return make_videos(tmp_path_factory.mktemp("mixed") / "videos")


@pytest.fixture(scope="session")
def built(tmp_path_factory, mixed_videos, settings) -> RunFolder:
    """A run folder with the dataset of `mixed_videos`."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "mixed")
    build_dataset(mixed_videos, folder, config=small_config(license="CC BY 3.0", attribution="us"), settings=settings)
    return folder
