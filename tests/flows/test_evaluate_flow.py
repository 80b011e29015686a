"""The flow evaluate: which run it takes, how it ends, what its page shows; what it would start is recorded."""

import json
import shutil
import uuid
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact

from flows.evaluate import evaluate_stories
from story_model.config import load_config, save_config
from story_model.evaluate_config import EvaluateConfig
from story_model.manifest import StepResult, run_step, write_atomically
from story_model.verdict import ChampionOutcome, Change, Standing
from story_model.workspace import Part, RunFolder
from tasks.evaluate import REGRESSED, Regressed
from tasks.process import ProcessFailed

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

PARTS: tuple[Part, ...] = ("tokenizer", "image_encoder", "autoencoder", "stage1", "stage2", "stage3")
METRICS = {
    "character_accuracy": 0.8,
    "character_accuracy_ci_low": 0.7,
    "character_accuracy_ci_high": 0.9,
    "character_accuracy_n": 50.0,
    "segments_told": 200.0,
    "free/dense/character_accuracy": 0.5,
}
CHANGE = Change(
    name="captions_given/character_agrees",
    better="higher",
    before=0.9,
    after=0.7,
    difference=-0.2,
    low=-0.3,
    high=-0.1,
    p_adjusted=0.004,
    finding="worse",
)


def trained_run(workspace: Path, name: str, *, parts: tuple[Part, ...] = PARTS) -> RunFolder:
    folder = RunFolder(workspace / name)
    save_config(load_config("tiny", ["train.baseline=null"]), folder.config_path)
    for part in parts:
        finish(folder.part_dir(part))
    return folder


def finish(out_dir: Path, result: StepResult | None = None) -> None:
    def work(_: Path) -> StepResult:
        return result or StepResult()

    run_step(out_dir, work, step=out_dir.name, version=1, config=EvaluateConfig(), inputs={})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, own_places: Path) -> list[str]:
    """Names of the modules that were started, with the run they were started for."""
    return recorded(monkeypatch, "undecided")


def recorded(monkeypatch: pytest.MonkeyPatch, standing: Standing) -> list[str]:
    modules: list[str] = []

    def record(module: str, *args: str, **how: object) -> int:
        folder = RunFolder(Path(args[0]))
        modules.append(f"{module} {folder.name}")
        if module == "evaluation.report":
            finish(folder.evaluation_dir, StepResult(metrics=METRICS))
        if module != "evaluation.champion":
            return 0
        outcome = ChampionOutcome(
            run=folder.name,
            model="storystream",
            version=2,
            champion=1,
            against="first",
            standing=standing,
            message="character_agrees fell | by 0.2",
            changes=[CHANGE],
            page="comparisons/first/comparison.html",
        )
        folder.root.mkdir(exist_ok=True)
        write_atomically(folder.standing_path, outcome.model_dump_json().encode())
        code = 3 if standing == "regressed" else 0
        if code and code not in how["accept"]:  # type: ignore[operator]
            raise ProcessFailed("the champion's exit code was not accepted")
        return code

    monkeypatch.setattr("tasks.evaluate.run_module", record)
    return modules


def shown(flow_run_id: uuid.UUID) -> dict[str, Artifact]:
    """Artifacts of a flow run and its tasks by key, those with several kept by their last."""
    with get_client(sync_client=True) as client:
        found = client.request(
            "POST", "/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [str(flow_run_id)]}}}
        )
    return {one["key"]: Artifact.model_validate(one) for one in found.json()}


def test_the_newest_trained_run_is_taken_by_its_last_stage_not_by_its_folder(
    started: list[str], own_places: Path
) -> None:
    for name in ("a", "c", "b"):
        trained_run(own_places, name)
    trained_run(own_places, "half", parts=PARTS[:-1])
    (own_places / "c" / "touched").write_text("looked at last")
    evaluate_stories()
    assert {one.split()[1] for one in started} == {"b"}


def test_an_empty_workspace_says_what_to_do(started: list[str], own_places: Path) -> None:
    with pytest.raises(ValueError, match=r"no run in .* is fully trained; run train-all first"):
        evaluate_stories(run="")
    assert started == []


def test_a_run_that_lost_a_weight_s_file_is_not_taken_for_trained(started: list[str], own_places: Path) -> None:
    trained_run(own_places, "whole")
    broken = trained_run(own_places, "broken")
    shutil.rmtree(broken.part_dir("stage2"))
    evaluate_stories()
    assert {one.split()[1] for one in started} == {"whole"}


def test_a_regression_is_a_state_of_its_own_with_what_by_how_much_and_where(
    monkeypatch: pytest.MonkeyPatch, own_places: Path
) -> None:
    recorded(monkeypatch, "regressed")
    trained_run(own_places, "two")
    state = evaluate_stories("two", return_state=True)
    assert (state.name, state.is_failed(), state.message) == (REGRESSED, True, "character_agrees fell | by 0.2")
    page = str(shown(state.state_details.flow_run_id)["standing"].data)
    assert "## Regressed" in page
    assert (
        "| captions\\_given/character\\_agrees (higher is better) | 0.9 | 0.7 | -0.2 (-0.3 to -0.1) | 0.004 |" in page
    )
    assert "fell \\| by" in page
    assert "comparison.html" in page


def test_who_calls_the_flow_as_a_function_is_told_of_a_regression(
    monkeypatch: pytest.MonkeyPatch, own_places: Path
) -> None:
    recorded(monkeypatch, "regressed")
    trained_run(own_places, "two")
    with pytest.raises(Regressed, match=r"fell \| by 0\.2"):
        evaluate_stories("two")


def test_numbers_are_shown_with_their_intervals_and_the_report_is_linked_in_mlflow(
    started: list[str], own_places: Path, mlflow_uri: str
) -> None:
    folder = trained_run(own_places, "two")
    client = MlflowClient(mlflow_uri)
    run_id = client.create_run(client.create_experiment(uuid.uuid4().hex)).info.run_id
    finish(folder.evaluation_dir, StepResult(metrics=METRICS, tracking_run_id=run_id))
    flow_run_id = evaluate_stories("two", return_state=True).state_details.flow_run_id
    artifacts = shown(flow_run_id)
    assert client.get_run(run_id).data.tags["prefect.flow_run_id"] == str(flow_run_id)
    assert json.loads(str(artifacts["evaluation"].data)) == [
        {"what": "character accuracy", "value": 0.8, "low": 0.7, "high": 0.9, "n": 50.0},
        {"what": "segments told", "value": 200.0, "low": None, "high": None, "n": None},
    ]
    assert f"/runs/{run_id}/artifacts/report.html)" in str(artifacts["report"].data)
    assert {"evaluation", "report", "standing", "mlflow"} <= artifacts.keys()


def test_a_week_in_which_nothing_changed_says_so(started: list[str], own_places: Path) -> None:
    trained_run(own_places, "two")
    first = shown(evaluate_stories("two", return_state=True).state_details.flow_run_id)
    second = shown(evaluate_stories("two", return_state=True).state_details.flow_run_id)
    assert "Nothing changed" not in str(first["report"].data)
    assert "Nothing changed since 20" in str(second["report"].data)
    assert "Nothing changed since 20" in str(second["evaluation"].description)
