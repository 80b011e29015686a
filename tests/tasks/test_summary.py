"""The summary takes its numbers from manifests, and the closing words say them."""

from pathlib import Path

import pytest

from story_model.manifest import StepResult, run_step
from story_model.schema import LearningRow
from story_model.section import Section
from story_model.workspace import RunFolder
from tasks.console import closing_words, learning_lines
from tasks.measure import Measurement, Span
from tasks.summary import Summary, finished_steps, read_summary, summarise

COUNTS = {"episodes": 3, "pairs": 70, "stories": 4, "problems": 2, "warnings": 1}
ROW = LearningRow(
    stage="Stage 1",
    measure="PSNR",
    value=20.0,
    unit="dB",
    baseline=15.0,
    baseline_name="mean picture",
    target="3 dB above",
    reached=True,
)


@pytest.fixture
def folder(own_places: Path) -> RunFolder:
    folder = RunFolder(own_places / "run")
    finish(folder.dataset_dir, StepResult(counts=COUNTS))
    finish(folder.part_dir("stage1"), StepResult(metrics={"stage1_psnr_gain_db": 3.5, "loss": 0.1}))
    return folder


def finish(out_dir: Path, result: StepResult) -> None:
    def work(out_dir: Path) -> StepResult:
        (out_dir / "learning.json").write_text(f"[{ROW.model_dump_json()}]")
        return result

    run_step(out_dir, work, step=out_dir.name, version=1, config=Section(), inputs={})


def measurement() -> Measurement:
    return Measurement(started_s=0, spans=[Span("stage 1", 0, 2)], peak_memory_mb=100)


def test_metrics_of_the_stages_and_counts_of_the_dataset_are_joined(folder: RunFolder) -> None:
    summary = summarise(folder, measurement(), {})
    assert summary.stage1_psnr_gain_db == 3.5
    assert summary.counts == {"episodes": 3, "frames": 70, "stories": 4, "errors": 2}


def test_what_was_not_measured_is_null(folder: RunFolder) -> None:
    assert summarise(folder, measurement(), {}).stage2_word_loss_ratio is None


def test_the_file_holds_what_was_handed_out(folder: RunFolder) -> None:
    written = summarise(folder, measurement(), {})
    assert read_summary(folder.summary_path) == written


def test_only_steps_finished_before_count_as_reused(folder: RunFolder) -> None:
    before = finished_steps(folder)
    finish(folder.evaluation_dir, StepResult())
    assert summarise(folder, measurement(), before).reused_steps == ["dataset", "model/stage1"]


def test_the_last_line_counts_what_was_set_aside(folder: RunFolder) -> None:
    finish(folder.evaluation_dir, StepResult())
    summarise(folder, measurement(), {})
    assert closing_words(folder).splitlines()[-1].startswith("2 inputs were set aside")


def test_a_row_names_its_baseline_and_whether_the_target_was_reached() -> None:
    _, line = learning_lines([ROW])
    assert line.split("  ")[-1] == "yes"
    assert "15 mean picture" in line


def test_a_missed_target_stands_out() -> None:
    assert learning_lines([ROW.model_copy(update={"reached": False})])[1].endswith("NO")


def test_every_number_of_the_contract_has_a_field() -> None:
    assert {"wall_s", "steps", "peak_memory_mb", "orchestration_share", "reused_steps", "report"} <= set(
        Summary.model_fields
    )
