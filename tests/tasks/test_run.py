"""A run's configuration: checked first, saved with the run, kept unless changed."""

from pathlib import Path

import pytest

from story_model.config import read_config
from tasks.run import open_run

pytestmark = pytest.mark.usefixtures("own_places")


def test_a_preset_with_overrides_is_saved_with_the_run() -> None:
    folder, config = open_run("one", "tiny", ["tell.stories=3"])
    assert read_config(folder.config_path) == config
    assert config.tell.stories == 3


def test_without_a_preset_the_run_keeps_what_it_was_made_with() -> None:
    open_run("one", "tiny", ["tell.stories=3"])
    _, config = open_run("one", None, ["tell.segments=9"])
    assert (config.tell.stories, config.tell.segments) == (3, 9)


def test_without_a_preset_an_unknown_run_is_refused() -> None:
    with pytest.raises(ValueError, match="no run 'none'"):
        open_run("none", None, [])


def test_a_wrong_value_leaves_the_saved_configuration_alone(own_places: Path) -> None:
    open_run("one", "tiny", [])
    before = (own_places / "one" / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"tell\.stories"):
        open_run("one", "tiny", ["tell.stories=-1"])
    assert (own_places / "one" / "config.yaml").read_text() == before


def test_a_run_stays_in_the_workspace() -> None:
    with pytest.raises(ValueError, match="not a plain folder name"):
        open_run("../elsewhere", "tiny", [])
