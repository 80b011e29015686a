"""What build-dataset takes and what it must never remove."""

from pathlib import Path

import pytest

from story_model.build_config import CartoonConfig
from story_model.manifest import StepResult, run_step
from story_model.section import Section
from story_model.workspace import RunFolder
from tasks.build import draw_series, given_videos


@pytest.fixture
def own(tmp_path) -> RunFolder:
    """A run's folder in which a user has put videos."""
    folder = RunFolder(tmp_path / "run")
    (folder.videos_dir / "season1").mkdir(parents=True)
    (folder.videos_dir / "season1" / "one.mp4").write_bytes(b"film")
    return folder


@pytest.mark.parametrize("where", ["season1", "season1/one.mp4", ".", "../elsewhere"])
def test_videos_that_nobody_drew_are_never_removed(own, where):
    taken = str(own.videos_dir / where)
    assert given_videos(own, taken) == taken
    assert (own.videos_dir / "season1" / "one.mp4").is_file()


def test_a_series_is_not_drawn_over_videos_that_nobody_drew(own):
    with pytest.raises(ValueError, match="would be deleted"):
        draw_series.fn(own, CartoonConfig(), 1)
    assert (own.videos_dir / "season1" / "one.mp4").is_file()


def test_a_drawn_series_goes_where_other_videos_are_given(tmp_path):
    folder = RunFolder(tmp_path / "run")

    def work(out: Path) -> StepResult:
        (out / "drawn.mp4").write_bytes(b"x")
        return StepResult()

    run_step(folder.videos_dir, work, step="draw series", version=1, config=Section(), inputs={})
    given_videos(folder, str(folder.videos_dir))
    assert folder.videos_dir.exists()
    given_videos(folder, str(tmp_path))
    assert not folder.videos_dir.exists()
