import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from evaluation.judging.questions import Judgement
from evaluation.statistics import Estimate
from evaluation.traced import sample, trace_judgements
from evaluation.tracked import rows_of, track_files, track_tables
from story_model.tracking import Tracker


@pytest.fixture
def tracker(tmp_path):
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("x", artifact_location=(tmp_path / "artifacts").as_uri())
    return Tracker(client, client.create_run(experiment).info.run_id)


def judgement(number=0, **fields):
    return Judgement(
        **{
            "judge": "m",
            "purpose": "score",
            "dimension": "style",
            "story_id": f"e{number}/0",
            "systems": ("free-window",),
            "status": "ok",
            "score": 7.5,
            "rationale": "Picture 3 is of another book.",
            "prompt_tokens": 1200,
            "completion_tokens": 90,
            "usd": 0.004,
        }
        | fields
    )


def traces(tracker):
    experiment = tracker.client.get_run(tracker.run_id).info.experiment_id
    return tracker.client.search_traces(locations=[experiment], run_id=tracker.run_id, max_results=200)


def test_an_answer_is_a_trace_of_the_run_with_its_score_as_feedback(tracker):
    trace_judgements(tracker, [judgement()], texts={("free-window", "e0/0"): ["Once."]})
    (trace,) = traces(tracker)
    (feedback,) = trace.info.assessments
    assert (feedback.name, feedback.value, feedback.source.source_id) == ("style", 7.5, "m")
    assert trace.info.request_preview == "style of e0/0 by free-window"
    assert trace.info.response_preview == "7.5: Picture 3 is of another book."
    assert trace.info.token_usage["total_tokens"] == 1290
    (span,) = trace.data.spans
    assert span.inputs["texts"] == {"free-window": ["Once."]}
    assert span.outputs["rationale"] == "Picture 3 is of another book."
    assert json.loads(trace.info.trace_metadata["mlflow.trace.cost"]) == {"total_cost": 0.004}


def test_a_question_without_an_answer_has_no_feedback_and_says_why(tracker):
    trace_judgements(tracker, [judgement(status="refused", score=None, rationale=None, reason="I will not.")])
    (trace,) = traces(tracker)
    assert trace.info.assessments == []
    assert trace.data.spans[0].status.description == "I will not."


def test_logging_again_leaves_what_a_person_overruled(tracker):
    trace_judgements(tracker, [judgement()])
    trace_judgements(tracker, [judgement(score=2.0)])
    (trace,) = traces(tracker)
    assert [feedback.value for feedback in trace.info.assessments] == [7.5]


def test_traces_are_bounded(tracker):
    assert trace_judgements(tracker, [judgement(number) for number in range(90)], limit=8) == 8
    assert len(traces(tracker)) == 8


def test_a_sample_spreads_and_keeps_a_few_failures():
    answered = [judgement(number) for number in range(100)]
    failed = [judgement(number, status="error", score=None) for number in range(100, 150)]
    never = [judgement(number, status="not_asked", score=None) for number in range(150, 160)]
    chosen = sample([*never, *answered, *failed], 40)
    assert [one.status for one in chosen] == ["error"] * 10 + ["ok"] * 30
    assert {chosen[10].story_id, chosen[-1].story_id} == {"e0/0", "e96/0"}
    assert sample(answered[:3], 40) == answered[:3]
    assert sample(never, 40) == []


def test_tables_have_a_column_for_every_field_of_any_row(tracker):
    track_tables(tracker, {"items": [{"a": 1}, {"a": 2, "b": ["x", "y"]}], "none": []})
    names = {artifact.path for artifact in tracker.client.list_artifacts(tracker.run_id)}
    assert names == {"items.json"}
    path = tracker.client.download_artifacts(tracker.run_id, "items.json")
    found = json.loads(Path(path).read_text())
    assert found == {"columns": ["a", "b"], "data": [[1, None], [2, "x, y"]]}


def test_nested_models_become_flat_rows():
    class Outer(Judgement):
        mean: Estimate

    (row,) = rows_of([Outer(**judgement().model_dump(), mean=Estimate(value=1, n=2))])
    assert (row["mean.value"], row["mean.n"], row["judge"]) == (1, 2, "m")


def test_files_that_are_not_there_are_no_artifacts(tracker, tmp_path):
    (tmp_path / "report.html").write_text("x")
    (tmp_path / "other.txt").write_text("x")
    track_files(tracker, tmp_path)
    assert [artifact.path for artifact in tracker.client.list_artifacts(tracker.run_id)] == ["report.html"]
