"""prefect.yaml and the flows agree."""

import importlib
import inspect
from typing import Any

import pytest
import yaml
from prefect import Flow

from story_model.config import PROJECT_DIR

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((PROJECT_DIR / "prefect.yaml").read_text())["deployments"]
each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])


def flow_of(deployment: dict[str, Any]) -> Flow[Any, Any]:
    path, _, function = deployment["entrypoint"].partition(":")
    found = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    assert isinstance(found, Flow)
    return found


@each_deployment
def test_a_deployment_is_named_like_its_flow(deployment: dict[str, Any]) -> None:
    assert flow_of(deployment).name == deployment["name"]


@each_deployment
def test_parameters_of_a_deployment_are_parameters_of_its_flow(deployment: dict[str, Any]) -> None:
    given = [deployment, *deployment.get("triggers", []), *deployment.get("schedules", [])]
    names = {name for one in given for name in one.get("parameters", {})}
    assert names <= inspect.signature(flow_of(deployment).fn).parameters.keys()


@each_deployment
def test_the_flow_accepts_the_parameters_of_its_deployment(deployment: dict[str, Any]) -> None:
    flow_of(deployment).validate_parameters(deployment["parameters"])


def test_the_four_deployments_of_the_readme_are_there() -> None:
    assert [one["name"] for one in DEPLOYMENTS] == ["build-dataset", "train-all", "evaluate", "end-to-end"]


def test_the_weekly_evaluation_takes_the_newest_run() -> None:
    evaluate = DEPLOYMENTS[2]
    assert evaluate["parameters"] == {"run": "newest"}
    assert "parameters" not in evaluate["schedules"][0]
    assert evaluate["triggers"][0]["parameters"] == {"source_run": "{{ event.resource.id }}"}


def test_evaluate_runs_weekly_and_after_train_all() -> None:
    evaluate = DEPLOYMENTS[2]
    assert evaluate["schedules"][0]["cron"] == "0 3 * * 1"
    (trigger,) = evaluate["triggers"]
    assert trigger["expect"] == ["prefect.flow-run.Completed"]
    assert trigger["match_related"]["prefect.resource.name"] == "train-all"
