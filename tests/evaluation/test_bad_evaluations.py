"""What can be wrong with an evaluation is said before time or money is spent, and a killed one goes on."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fabricated_run import fabricate
from paid_server import serving

from evaluation import measured_run, scoring
from evaluation.report import evaluate
from story_model.manifest import read_manifest
from story_model.schema import STORIES_INLINE

JUDGE = "evaluate.judge={model: seer, stories: 1, segments: 2, anchors: 0, concurrency: 1}"
SHORT = ("tell.policies=[multimodal_sink]", "tell.modes=[captions_given]", "evaluate.bootstrap=50")


def says(body):
    asked = body["response_format"]["json_schema"]["schema"]["properties"]
    return json.dumps({"rationale": "As drawn."} | ({"score": 5} if "score" in asked else {"choice": "tie"}))


@pytest.fixture
def spent(monkeypatch):
    """What was measured."""
    calls = []
    measure = measured_run.measure_system
    monkeypatch.setattr(measured_run, "measure_system", lambda *given: calls.append(given) or measure(*given))
    return calls


def test_a_dataset_without_validation_stories_is_named(make_run, spent):
    made = make_run(with_truth=False, overrides=SHORT)
    (split,) = made.run.dataset_dir.glob("data/*/validation-*.parquet")
    pq.write_table(STORIES_INLINE.empty_table(), split)
    with pytest.raises(ValueError, match="no validation stor"):
        evaluate(made.run, made.config, made.settings)
    assert not spent


def test_one_story_is_measured_without_an_interval(tmp_path):
    made = fabricate(tmp_path / "demo", overrides=SHORT, stories=1)
    metrics = evaluate(made.run, made.config, made.settings).metrics
    assert metrics["character_accuracy"] == pytest.approx(0.8)
    assert not [name for name in metrics if name.endswith(("_ci_low", "_ci_high"))]
    assert "80 %" in made.run.report_path.read_text()


@pytest.mark.parametrize(("status", "said"), [(401, "denies model 'seer'"), (404, "seer")])
def test_a_judge_that_cannot_be_asked_is_said_before_anything_is_measured(make_run, spent, status, said):
    made = make_run(with_truth=False, overrides=(*SHORT, JUDGE))
    with serving() as server:
        server.models, server.refuse_after = [], (0, status)
        settings = made.settings.model_copy(update={"api_base_url": server.url})
        with pytest.raises(ValueError, match=said) as error:
            evaluate(made.run, made.config, settings)
    assert "\n" not in str(error.value)
    assert not spent
    assert not sum(server.paid.values())


def test_people_s_damaged_answers_are_named_before_a_judge_is_paid(make_run, spent):
    made = make_run(with_truth=False, overrides=(*SHORT, JUDGE))
    (made.run.root / "human.json").write_text('{"raters": ')
    with serving() as server, pytest.raises(ValueError, match=r"human\.json is damaged"):
        evaluate(made.run, made.config, made.settings.model_copy(update={"api_base_url": server.url}))
    assert not spent
    assert not sum(server.paid.values())


def test_a_picture_that_is_gone_is_named_before_a_judge_is_paid(make_run, spent):
    made = make_run(with_truth=False, overrides=(*SHORT, JUDGE))
    picture = sorted(made.run.told_dir("captions_given", "multimodal_sink").glob("*/03.png"))[0]
    picture.unlink()
    with serving() as server, pytest.raises(ValueError, match=r"03\.png"):
        evaluate(made.run, made.config, made.settings.model_copy(update={"api_base_url": server.url}))
    assert not spent
    assert not sum(server.paid.values())


@pytest.mark.parametrize("moment", ["measure_run", "judge", "render_page", "track_files"])
def test_an_evaluation_that_was_killed_goes_on_to_the_same_numbers_and_pays_nothing_twice(
    make_run, monkeypatch, moment
):
    made = make_run(with_truth=False, overrides=(*SHORT, JUDGE))

    def killed(*given, **named):
        raise KeyboardInterrupt

    with serving() as server:
        server.words, server.name = says, lambda body: json.dumps(body["messages"])
        settings = made.settings.model_copy(update={"api_base_url": server.url})
        with monkeypatch.context() as patch:
            patch.setattr(scoring, moment, killed)
            with pytest.raises(KeyboardInterrupt):
                evaluate(made.run, made.config, settings)
        assert read_manifest(made.run.evaluation_dir) is None
        evaluate(made.run, made.config, settings)
        resumed = (made.run.evaluation_dir / "values.parquet").read_bytes()
        shutil.rmtree(made.run.evaluation_dir)
        evaluate(made.run, made.config, settings)
    assert max(server.paid.values()) == 1
    assert Path(made.run.evaluation_dir / "values.parquet").read_bytes() == resumed
