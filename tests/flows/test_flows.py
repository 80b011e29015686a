"""The flows with a real server, a drawn series and the real builder; the processes they would start are recorded."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.build_dataset import build_dataset
from flows.end_to_end import end_to_end
from flows.evaluate import evaluate_stories
from flows.train_all import train_all
from story_model.evaluate_config import EvaluateConfig
from story_model.manifest import StepResult, run_step, write_atomically
from story_model.verdict import ChampionOutcome, Standing
from story_model.workspace import RunFolder
from tasks.summary import read_summary

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

TINY = (
    "cartoon.episodes=2",
    "cartoon.shots_per_episode=14",
    "cartoon.width=64",
    "cartoon.height=64",
    "build.filters.min_sharpness=1",
    "build.stories.min_length=4",
    "build.workers=1",
)
STEPS = {
    "training tokenizer language_model",
    "training autoencoder image_encoder",
    "training features",
    "training stage1",
    "training stage2",
    "training stage3",
    "training baseline",
    "evaluation.long_stories",
    "evaluation.report",
    "evaluation.champion",
}


METRICS = {
    "character_accuracy": 0.8,
    "character_accuracy_ci_low": 0.7,
    "character_accuracy_ci_high": 0.9,
    "character_accuracy_n": 50.0,
    "segments_told": 200.0,
    "free/dense/character_accuracy": 0.5,
}
Started = list[tuple[str, Path]]


def standing(folder: RunFolder, what: Standing, message: str = "for want of another") -> ChampionOutcome:
    return ChampionOutcome(
        run=folder.name, model="storystream", version=2, champion=1, against=None, standing=what, message=message
    )


def record_in(modules: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note modules instead of starting them; the last two leave what the real ones do."""

    def record(module: str, *args: str, **_: object) -> int:
        folder = RunFolder(Path(args[0]))
        modules.append((" ".join([module, *args[1:]]), folder.root))
        if module == "evaluation.report":
            run_step(
                folder.evaluation_dir,
                lambda _: StepResult(metrics=METRICS),
                step="evaluate",
                version=1,
                config=EvaluateConfig(),
                inputs={"dataset": folder.dataset_dir},
            )
        if module == "evaluation.champion":
            write_atomically(folder.standing_path, standing(folder, "crowned").model_dump_json().encode())
        return 0

    monkeypatch.setattr("tasks.train.run_module", record)
    monkeypatch.setattr("tasks.evaluate.run_module", record)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    modules: Started = []
    record_in(modules, monkeypatch)
    return modules


@pytest.fixture(scope="module")
def first_run(prefect_server: None, mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Started]:
    """A run that went from end to end once, and what it started."""
    workspace = tmp_path_factory.mktemp("workspace")
    modules: Started = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORY_WORKSPACE", str(workspace))
        patch.setenv("STORY_TRACKING_URI", mlflow_uri)
        record_in(modules, patch)
        end_to_end("one", overrides=TINY)
    return workspace / "one", modules


@pytest.fixture
def built(first_run: tuple[Path, Started], own_places: Path, started: Started) -> Path:
    """A copy of that run in a workspace of the test's own."""
    return Path(shutil.copytree(first_run[0], own_places / "one"))


def test_end_to_end_starts_every_step_once_on_the_run_s_folder(first_run: tuple[Path, Started]) -> None:
    folder, modules = first_run
    assert sorted(modules) == sorted((module, folder.resolve()) for module in STEPS)


def test_no_step_starts_before_what_it_builds_on(first_run: tuple[Path, Started]) -> None:
    names = [module for module, _ in first_run[1]]
    assert names.index("training autoencoder image_encoder") < names.index("training features")
    assert names.index("training features") < names.index("training stage1")
    assert names.index("training tokenizer language_model") < names.index("training stage2")
    assert names.index("training stage1") < names.index("training baseline")
    assert set(names[:-3]) >= {"training stage3", "training baseline"}
    assert names[-3:] == ["evaluation.long_stories", "evaluation.report", "evaluation.champion"]


def test_the_summary_joins_costs_counts_and_measurements(first_run: tuple[Path, Started]) -> None:
    summary = read_summary(first_run[0] / "summary.json")
    assert summary.counts["episodes"] == 2
    assert summary.counts["errors"] == 0
    assert summary.character_accuracy == 0.8
    assert summary.steps["draw series"] > 0
    assert summary.reused_steps == []


def test_a_second_run_reuses_every_finished_step(built: Path) -> None:
    first = {path: path.stat().st_mtime_ns for path in built.rglob("manifest.json")}
    end_to_end("one", overrides=TINY)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("manifest.json")} == first
    assert len(read_summary(built / "summary.json").reused_steps) == len(first)


def test_a_run_worse_than_the_champion_is_summed_up_before_it_ends_as_regressed(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = standing(RunFolder(built), "regressed", "character_agrees fell")
    monkeypatch.setattr("tasks.evaluate.read_standing", lambda _: worse)
    (built / "summary.json").unlink()
    state = end_to_end("one", overrides=TINY, return_state=True)
    assert (state.name, state.message) == ("Regressed", "character_agrees fell")
    assert (built / "summary.json").is_file()


def test_training_and_evaluation_keep_the_run_s_own_configuration(built: Path, started: Started) -> None:
    before = (built / "config.yaml").read_text()
    train_all("one")
    evaluate_stories("one")
    assert (built / "config.yaml").read_text() == before


def test_evaluate_takes_the_run_of_the_training_that_triggered_it(built: Path, started: Started) -> None:
    started.clear()
    state = train_all("one", return_state=True)
    evaluate_stories(source_run=f"prefect.flow-run.{state.state_details.flow_run_id}")
    assert started[-1] == ("evaluation.champion", built.resolve())


def test_a_wrong_key_is_refused_before_any_step(own_places: Path) -> None:
    with pytest.raises(ValueError, match=r"no key 'build.storys'; did you mean 'stories'"):
        build_dataset("two", overrides=("build.storys.length=4",))
    assert not (own_places / "two").exists()


def test_videos_of_the_user_replace_a_drawn_series_and_its_truth(built: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(built / "videos", tmp_path / "own"))
    build_dataset("one", overrides=TINY, videos=str(own))
    assert not (built / "videos").exists()


def test_the_mlflow_run_knows_its_flow_run(built: Path, mlflow_uri: str) -> None:
    state = train_all("one", return_state=True)
    tags = MlflowClient(mlflow_uri).get_run((built / ".tracking_run").read_text()).data.tags
    assert tags["prefect.flow_run_id"] == str(state.state_details.flow_run_id)
