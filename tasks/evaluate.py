"""The tasks of evaluate: tell long stories, score them, hold the run against the best one so far."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from story_model.manifest import MANIFEST
from story_model.verdict import ChampionOutcome, read_standing
from story_model.workspace import RunFolder
from tasks.measure import step
from tasks.process import run_module
from tasks.standing import show_evaluation, show_standing

REGRESSED = "Regressed"
"""Name of the state, failed, of a flow run whose stories are significantly worse than the champion's."""
_EXIT_REGRESSED = 3
"""Of `python -m evaluation.champion`."""


class Regressed(RuntimeError):  # noqa: N818 - says what happened
    """The run is worse than the champion; nothing went wrong on the way to that result."""


@task(name="tell stories", cache_policy=NO_CACHE)
def tell_stories(folder: RunFolder, threads: int) -> None:
    """Continue validation openings in every configured mode under every cache policy."""
    with step("tell stories"):
        run_module("evaluation.long_stories", str(folder.root), threads=threads)


@task(name="score and report", cache_policy=NO_CACHE)
def report(folder: RunFolder, threads: int) -> None:
    """Score the told stories, write the report and show the headline numbers."""
    before = _finished_at(folder)
    with step("score and report"):
        run_module("evaluation.report", str(folder.root), threads=threads)
    show_evaluation(folder, unchanged_since=before if before == _finished_at(folder) else None)


@task(name="hold against the champion", cache_policy=NO_CACHE)
def hold_against_champion(folder: RunFolder, threads: int) -> ChampionOutcome:
    """Compare the run with the best one so far, which it may replace, and show what came of it.

    Raises:
        ProcessFailed: it could not be compared.
        ValueError: the comparison left no outcome.
    """
    with step("hold against the champion"):
        run_module("evaluation.champion", str(folder.root), threads=threads, accept=(_EXIT_REGRESSED,))
    outcome = read_standing(folder.standing_path)
    if outcome is None:
        raise ValueError(f"{folder.standing_path} is missing; run python -m evaluation.champion {folder.root}")
    show_standing(folder, outcome)
    return outcome


def final_state(folder: RunFolder, outcome: ChampionOutcome) -> str | State[str]:
    """Hand out the report's path, or a state that everybody sees where the run is worse than the champion."""
    return regressed(outcome.message) if outcome.standing == "regressed" else str(folder.report_path)


def regressed(message: str) -> State[str]:
    """Make the state of a flow run that found a regression; whoever called it as a function gets `Regressed`."""
    return Failed(name=REGRESSED, message=message, data=Regressed(message))


def _finished_at(folder: RunFolder) -> float | None:
    """Say when the evaluation was finished (seconds since 1970); none where it is not."""
    path = folder.evaluation_dir / MANIFEST
    return path.stat().st_mtime if path.is_file() else None
