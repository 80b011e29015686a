"""A result never takes the place of what a person did not mean to lose."""

from pathlib import Path

import pytest

from story_model.manifest import StepResult, run_step
from story_model.section import Section
from storystream_builder.replaceable import refuse_to_replace


def finish(folder: Path, step: str) -> None:
    run_step(folder, lambda out: StepResult(), step=step, version=1, config=Section(), inputs={})


def refuse(folder: Path, *sources: Path) -> None:
    refuse_to_replace(folder, step="export", sources=sources)


def test_a_new_folder_an_empty_one_and_an_earlier_result_are_fine(tmp_path):
    refuse(tmp_path / "new")
    refuse(tmp_path)
    finish(tmp_path / "done", "export")
    refuse(tmp_path / "done")


def test_what_a_killed_attempt_left_is_fine(tmp_path):
    def fail(out: Path) -> StepResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step(tmp_path / "out", fail, step="export", version=1, config=Section(), inputs={})
    refuse(tmp_path / "out")


def test_a_folder_with_anything_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="something that is not ours, which would be deleted"):
        refuse(tmp_path)


def test_another_step_s_result_is_refused(tmp_path):
    finish(tmp_path / "dataset", "publish dataset")
    with pytest.raises(ValueError, match="the result of 'publish dataset'"):
        refuse(tmp_path / "dataset")


@pytest.mark.parametrize("out", [".", "inside", ".."])
def test_the_source_s_own_folder_and_those_around_and_in_it_are_refused(tmp_path, out):
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(ValueError, match="lie in one another"):
        refuse(source / out, source)


def test_a_file_is_no_folder_to_fill(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="would be deleted"):
        refuse(tmp_path / "file")
