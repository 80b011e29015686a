"""A run's folder and its configuration, checked and saved before any step starts."""

import logging
from collections.abc import Sequence

from story_model.config import RunConfig, Settings, load_config, override_config, read_config, save_config
from story_model.workspace import RunFolder, run_folder

_PACKAGES = ("flows", "tasks", "storystream_builder", "story_model")


def open_run(run: str, preset: str | None, overrides: Sequence[str]) -> tuple[RunFolder, RunConfig]:
    """Resolve a run's configuration, save it to its folder and hand both out.

    `preset` none: the configuration that the run was made with, changed by the overrides.

    Raises:
        ValueError: the run's name, a key or a value is wrong, or there is no such run yet.
    """
    folder = run_folder(Settings().workspace, run)
    if preset is not None:
        config = load_config(preset, overrides)
    elif folder.config_path.is_file():
        config = override_config(read_config(folder.config_path), overrides)
    else:
        raise ValueError(f"there is no run {run!r} in {folder.root.parent}; make it with build-dataset or end-to-end")
    save_config(config, folder.config_path)
    tell_what_we_do()
    return folder, config


def tell_what_we_do() -> None:
    """Let our own packages' INFO lines through; Prefect shows warnings only of loggers that it does not know."""
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
