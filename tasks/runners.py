"""Where the tasks of a flow run: threads or processes here, or the workers of a Dask or a Ray cluster.

Workers on other machines need this package installed, the run's folder at the same path (their own disk will do, with
a store: see `story_model/store.py`), and the environment variables that hold keys.
"""

import importlib
import logging
import os
from types import ModuleType
from typing import Any

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from story_model.build_config import Runner

_LOOPBACK = "127.0.0.1"


def runner_of(name: Runner, workers: int, *, cluster: str | None = None) -> TaskRunner[Any]:
    """Make a task runner; what is handed to its tasks is pickled, unless they run in threads.

    `cluster` is for dask and ray: the address of a scheduler (tcp://host:8786) or a head (ray://host:10001) that runs
    already, and decides itself how much runs at once; without one, a cluster of `workers` processes here lives as long
    as the runner.

    Raises:
        ValueError: the runner is unknown, or its package is not installed.
    """
    if name == "dask":
        return _dask(workers, cluster)
    if name == "ray":
        return _ray(workers, cluster)
    if name == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)
    if name == "processes":
        return ProcessPoolTaskRunner(max_workers=workers)
    raise ValueError(f"no runner {name!r}; choose threads, processes, dask or ray")


def _dask(workers: int, cluster: str | None) -> TaskRunner[Any]:
    runner = _extra("prefect_dask", "dask").DaskTaskRunner
    logging.getLogger("distributed").setLevel(logging.WARNING)  # else a line for each connection
    if cluster:
        return runner(address=cluster)
    local = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "host": _LOOPBACK,
        "dashboard_address": f"{_LOOPBACK}:0",
        "env": {"PREFECT_PLUGINS_ENABLED": "false"},  # they want an event loop of their own, which a worker has not
    }
    return runner(cluster_kwargs=local)


def _ray(workers: int, cluster: str | None) -> TaskRunner[Any]:
    runner = _extra("prefect_ray", "ray").RayTaskRunner
    if cluster:
        return runner(address=cluster)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": _LOOPBACK}
    return runner(init_kwargs=local)


def _extra(module: str, extra: str) -> ModuleType:
    """Import a package that only some users need.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the runner {extra!r} needs {error.name}, which is not installed; pip install -e '.[{extra}]'"
        ) from None
