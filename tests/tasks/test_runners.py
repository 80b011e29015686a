"""A runner is made of its name; what it needs and lacks is said in one line."""

import importlib.util
import sys
from typing import Any

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from story_model.build_config import Runner
from tasks.runners import runner_of

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("prefect_dask") is None,
    reason="prefect-dask is not installed; pip install -e '.[dask]'",
)


def test_threads_and_processes_are_as_many_as_workers() -> None:
    threads, processes = runner_of("threads", 3), runner_of("processes", 3)
    assert isinstance(threads, ThreadPoolTaskRunner)
    assert isinstance(processes, ProcessPoolTaskRunner)
    assert threads._max_workers == processes._max_workers == 3


@needs_dask
def test_a_dask_cluster_of_our_own_stays_on_this_machine() -> None:
    runner: Any = runner_of("dask", 3)
    assert (runner.address, runner.cluster_kwargs["n_workers"]) == (None, 3)
    assert runner.cluster_kwargs["host"] == "127.0.0.1"
    assert runner.cluster_kwargs["dashboard_address"].startswith("127.0.0.1:")


@needs_dask
def test_a_dask_cluster_that_runs_already_is_used() -> None:
    runner: Any = runner_of("dask", 3, cluster="tcp://scheduler:8786")
    assert (runner.address, runner.cluster_kwargs) == ("tcp://scheduler:8786", {})


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_runner_whose_package_is_missing_names_what_to_install(name: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"prefect_{name}", None)
    with pytest.raises(ValueError, match=rf"needs prefect_{name}, .* pip install -e '\.\[{name}\]'"):
        runner_of(name, 2)


def test_an_unknown_runner_is_refused() -> None:
    with pytest.raises(ValueError, match="no runner 'spark'; choose threads, processes, dask or ray"):
        runner_of("spark", 2)  # type: ignore[arg-type]
