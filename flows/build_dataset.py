"""Videos -> shots -> keyframes -> captions -> stories of 30 picture-text pairs -> Parquet."""

from prefect import flow

from tasks import artifacts, build
from tasks.run import open_run


@flow(name="build-dataset", flow_run_name="build-dataset {run}")
def build_dataset(
    run: str = "demo", preset: str = "tiny", overrides: tuple[str, ...] = (), videos: str | None = None
) -> str:
    """Build the StoryStream dataset of a run and hand out its folder.

    Args:
        run: Name of the run; its folder lies in the workspace.
        preset: Configuration to start from.
        overrides: Changes to it, `section.key=value` each.
        videos: Folder of videos (subtitles beside them are read); none: a series is drawn.
    """
    folder, config = open_run(run, preset, overrides)
    artifacts.link_to_tracking(folder)
    source = (
        build.given_videos(folder, videos)
        if videos
        else build.draw_series(folder, config.cartoon, config.build.workers)
    )
    outcomes = build.prepare_episodes(source, folder, config.build)
    build.publish_dataset(folder, outcomes, config.build)
    return str(folder.dataset_dir)
