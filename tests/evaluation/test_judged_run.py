"""A run's evaluation by a judge behind a real server: what failed is asked again, what was answered is not."""

import json

import pytest
from compared_runs import evaluated_run, settings_at
from fabricated_run import fabricate
from paid_server import serving
from pydantic import SecretStr

from evaluation.compare import compare
from evaluation.comparing.sides import open_evaluated
from evaluation.judging.again import ERRORS
from evaluation.report import evaluate
from story_model.config import override_config

JUDGE = "evaluate.judge={model: seer, stories: 1, segments: 2, anchors: 0, concurrency: 1}"
SHORT = ("tell.policies=[multimodal_sink]", "tell.modes=[captions_given]", "evaluate.bootstrap=0", JUDGE)


def says(body):
    asked = body["response_format"]["json_schema"]["schema"]["properties"]
    return json.dumps({"rationale": "As drawn."} | ({"score": 5} if "score" in asked else {"choice": "tie"}))


@pytest.fixture
def judged(make_run):
    """A server, and a function that evaluates a run anew."""
    made = make_run(with_truth=False, overrides=SHORT)
    with serving() as server:
        server.words, server.name = says, lambda body: json.dumps(body["messages"])
        settings = made.settings.model_copy(update={"api_base_url": server.url, "api_key": SecretStr("key-of-a-judge")})
        yield server, lambda: evaluate(made.run, made.config, settings)


def test_questions_that_failed_are_asked_again_by_the_next_run_and_answers_are_not(judged, caplog):
    server, again = judged
    server.refuse_after = (2, 400)
    first = again()
    assert first.counts["judge_failures"] > 0
    assert sum(server.paid.values()) == 2
    assert "unanswered, which the next run asks: status 400" in caplog.text
    server.refuse_after = None
    second = again()
    assert not second.reused
    assert second.counts["judge_failures"] == 0
    assert max(server.paid.values()) == 1
    assert again().reused


def test_a_judge_who_has_gone_leaves_the_evaluation_that_there_is(make_run):
    made = make_run(with_truth=False, overrides=SHORT)
    with serving() as server:
        server.words, server.name, server.models = says, lambda body: json.dumps(body["messages"]), ["seer"]
        settings = made.settings.model_copy(update={"api_base_url": server.url})
        first = evaluate(made.run, made.config, settings)
        server.models, server.refuse_after = ["seer"], (0, 404)
        with pytest.raises(ValueError, match="has no model 'gone'"):
            evaluate(made.run, override_config(made.config, ["evaluate.judge.model=gone"]), settings)
        assert made.run.report_path.is_file()
        again = evaluate(made.run, made.config, settings)
    assert (again.reused, again.digest) == (True, first.digest)


def test_a_comparison_that_lacks_answers_asks_for_them_again(tmp_path, settings_of_a_judge):
    server, settings = settings_of_a_judge
    left, right = (evaluated_run(tmp_path / name, stories=2, overrides=(JUDGE,)) for name in ("old", "new"))
    sides = open_evaluated(left.root), open_evaluated(right.root)
    server.refuse_after = (2, 400)
    assert compare(*sides, settings).counts[ERRORS] > 0
    server.refuse_after = None
    second = compare(*sides, settings)
    assert (second.reused, second.counts[ERRORS], max(server.paid.values())) == (False, 0, 1)
    assert compare(*sides, settings).reused


@pytest.fixture
def settings_of_a_judge(tmp_path):
    with serving() as server:
        server.words, server.name = says, lambda body: json.dumps(body["messages"])
        settings = settings_at(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", "compared")
        yield server, settings.model_copy(update={"judge_base_url": server.url})


def test_what_one_run_of_a_workspace_asked_is_asked_by_no_other(make_run):
    """The dataset's own stories above all: every run of it would pay for them."""
    made = make_run(with_truth=False, overrides=SHORT)
    other = fabricate(made.run.root.parent / "other", with_truth=False, overrides=SHORT)
    with serving() as server:
        server.words, server.name = says, lambda body: json.dumps(body["messages"])
        settings = made.settings.model_copy(update={"api_base_url": server.url})
        evaluate(made.run, made.config, settings)
        paid = sum(server.paid.values())
        second = evaluate(other.run, other.config, settings)
        assert (sum(server.paid.values()), second.metrics["judge/newly_paid"]) == (paid, 0)
    assert second.metrics["judge/questions"] > 0
