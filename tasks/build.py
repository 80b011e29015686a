"""The tasks of build-dataset: draw the series, one task an episode, publish."""

import shutil
from contextlib import nullcontext
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed

from story_model.build_config import BuildConfig, CartoonConfig
from story_model.config import Settings
from story_model.manifest import Manifest, StepResult, read_manifest, run_step
from story_model.store import Store, open_store
from story_model.workspace import RunFolder
from storystream_builder import build
from storystream_builder.build import EpisodeOutcome
from storystream_builder.cartoon import film
from storystream_builder.progress import follow
from storystream_builder.remote_videos import is_remote
from storystream_builder.replaceable import refuse_to_replace
from storystream_builder.sources import Source
from tasks.artifacts import show_numbers
from tasks.measure import step
from tasks.run import tell_what_we_do
from tasks.runners import runner_of

_DRAWN = "draw series"


@task(name=_DRAWN, cache_policy=NO_CACHE)
def draw_series(folder: RunFolder, config: CartoonConfig, workers: int) -> Path:
    """Draw the series that stands in for videos."""

    def work(out_dir: Path) -> StepResult:
        return StepResult(counts={"videos": len(film.draw_series(out_dir, config=config, workers=workers).videos)})

    refuse_to_replace(folder.videos_dir, step=_DRAWN, sources=[])
    with step(_DRAWN):
        run_step(folder.videos_dir, work, step=_DRAWN, version=2, config=config, inputs={})
    return folder.videos_dir


def given_videos(folder: RunFolder, videos: str) -> str:
    """Take the user's videos; a drawn series left in the run's folder goes, or its truth would be taken for theirs.

    Nothing else goes: the user's own videos may lie there.
    """
    left = read_manifest(folder.videos_dir)
    is_drawn = left is not None and left.step == _DRAWN
    is_taken = not is_remote(videos) and Path(videos).resolve().is_relative_to(folder.videos_dir.resolve())
    if is_drawn and not is_taken:
        shutil.rmtree(folder.videos_dir)
    return videos


@task(name="keyframes", task_run_name="keyframes {name}", cache_policy=NO_CACHE)
def prepare_episode(
    name: str, source: Source, folder: RunFolder, config: BuildConfig, store: Store | None
) -> EpisodeOutcome:
    """Decode one episode into shots and keyframes; `name` is for display."""
    tell_what_we_do()  # the worker may be another process
    with step("keyframes"):
        return build.prepare_episode(source, folder, config=config, store=store)


def prepare_episodes(videos: Path | str, folder: RunFolder, config: BuildConfig) -> list[EpisodeOutcome]:
    """Decode all episodes, `config.workers` at once, and hand out what became of each in their order.

    Raises:
        ValueError: there is no video, the runner or an endpoint that is asked for later cannot be used.
    """
    settings = Settings()
    build.make_voices(folder, config, settings)
    # Steps in other processes cannot book their time here: there, the whole stretch counts.
    booked = nullcontext() if config.runner == "threads" else step("keyframes")
    with booked, runner_of(config.runner, config.workers, cluster=settings.cluster) as runner:
        given = {"folder": folder, "config": config, "store": open_store(settings.store, folder.root.parent)}
        futures = [
            runner.submit(prepare_episode, {"name": source.name, "source": source, **given})
            for source in build.find_sources(videos, config)
        ]
        outcomes, decoding = follow((future.result() for future in as_completed(futures)), len(futures))
    show_numbers("decoding", folder.name, decoding.numbers)
    return outcomes


@task(name="publish dataset", cache_policy=NO_CACHE)
def publish_dataset(folder: RunFolder, outcomes: list[EpisodeOutcome], config: BuildConfig) -> Manifest:
    """Write stories and captions as Parquet and show the counts."""
    with step("publish dataset"):
        manifest = build.publish_dataset(folder, outcomes, config=config, settings=Settings())
    show_numbers("dataset", folder.name, manifest.counts)
    return manifest
