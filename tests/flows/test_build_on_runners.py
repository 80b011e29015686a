"""Where its tasks run decides how fast a dataset is built, and nothing else."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.build_dataset import build_dataset
from story_model.config import load_config
from story_model.manifest import read_manifest
from storystream_builder.cartoon import film

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
    reason = f"prefect-{runner} is not installed; pip install -e '.[{runner}]'"
    return pytest.param(runner, marks=pytest.mark.skipif(missing, reason=reason))


@pytest.fixture(scope="module", autouse=True)
def workspace(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORY_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        patch.setenv("STORY_TRACKING_URI", mlflow_uri)
        patch.delenv("STORY_CLUSTER", raising=False)
        patch.delenv("STORY_STORE", raising=False)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    film.draw_series(folder, config=load_config("tiny", SMALL).cartoon, workers=2)
    return folder


def digest_built_on(runner: str, videos: Path) -> str:
    folder = build_dataset(runner, overrides=(*SMALL, f"build.runner={runner}"), videos=str(videos))
    manifest = read_manifest(Path(folder))
    assert manifest is not None
    assert manifest.counts["episodes"] == 4
    return manifest.digest


@pytest.fixture(scope="module")
def digest_of_threads(prefect_server: None, workspace: None, videos: Path) -> str:
    return digest_built_on("threads", videos)


@pytest.mark.parametrize("runner", ["processes", where_installed("dask"), where_installed("ray")])
def test_every_runner_builds_the_same_dataset(runner: str, digest_of_threads: str, videos: Path) -> None:
    assert digest_built_on(runner, videos) == digest_of_threads
