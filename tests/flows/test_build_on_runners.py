"""Where its tasks run decides how fast a dataset is built, and nothing else."""

import importlib.util
from pathlib import Path

import pytest
from prefect import flow

from story_model.config import load_config
from story_model.workspace import RunFolder
from storystream_builder.cartoon import film
from tasks.build import prepare_episodes, publish_dataset
from tasks.runners import Runner

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

SMALL = (
    "cartoon.episodes=4",
    "cartoon.shots_per_episode=8",
    "cartoon.width=64",
    "cartoon.height=64",
    "build.stories.min_length=4",
    "build.workers=2",
)


def where_installed(runner: str) -> object:
    missing = importlib.util.find_spec(f"prefect_{runner}") is None
    reason = f"prefect-{runner} is not installed; pip install 'storystream[{runner}]'"
    return pytest.param(runner, marks=pytest.mark.skipif(missing, reason=reason))


@flow(name="build-on")
def build_on(runner: Runner, videos: Path, root: Path) -> str:
    folder, config = RunFolder(root), load_config("tiny", SMALL).build
    return publish_dataset(folder, prepare_episodes(videos, folder, config, on=runner), config).digest


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    film.draw_series(folder, config=load_config("tiny", SMALL).cartoon, workers=2)
    return folder


@pytest.fixture(scope="module")
def digest_of_threads(prefect_server: None, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_on("threads", videos, tmp_path_factory.mktemp("threads") / "run")


@pytest.mark.parametrize("runner", ["processes", where_installed("dask"), where_installed("ray")])
def test_every_runner_builds_the_same_dataset(
    runner: Runner, digest_of_threads: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORY_CLUSTER", raising=False)
    assert build_on(runner, videos, tmp_path / "run") == digest_of_threads
