"""Decoding in this process, a dataset built once from good and bad videos, and real clips where there are some."""

import os
from pathlib import Path

import pytest
from small_builds import decode_key, make_videos, small_config

from story_model.config import Settings
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset
from storystream_builder.decoding.decode import decode_episode
from storystream_builder.records import DecodeJob


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


@pytest.fixture(scope="session")
def mixed_videos(tmp_path_factory) -> Path:
    return make_videos(tmp_path_factory.mktemp("mixed") / "videos")


@pytest.fixture(scope="session")
def built(tmp_path_factory, mixed_videos, settings) -> RunFolder:
    """A run folder with the dataset of `mixed_videos`."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "mixed")
    build_dataset(mixed_videos, folder, config=small_config(license="CC BY 3.0", attribution="us"), settings=settings)
    return folder
