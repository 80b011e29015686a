"""Trained networks -> long stories from validation openings -> scores, report, MLflow -> champion, or an alarm."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks import artifacts, evaluate, trained
from tasks.run import open_run


@flow(name="evaluate", flow_run_name="evaluate {run}")
def evaluate_stories(
    run: str = trained.NEWEST,
    preset: str | None = None,
    overrides: tuple[str, ...] = (),
    source_run: str | None = None,
) -> str | State[str]:
    """Tell long stories with a trained run, score them, and hold the run against the champion.

    Hands out the report's path. A run that is significantly worse than the champion ends in the state `Regressed`,
    with the reason as its message; one that did not change is not computed again.

    Args:
        run: Name of the trained run; `newest` or nothing: the run of the workspace that was trained last.
        preset: Configuration to start from; none: the run's own.
        overrides: Changes to it, `section.key=value` each.
        source_run: Resource id of the train-all flow run that triggered this one; its run is evaluated.
    """
    folder, config = open_run(trained.run_to_evaluate(run, source_run), preset, overrides)
    artifacts.link_to_tracking(folder)
    evaluate.tell_stories(folder, config.train.threads)
    evaluate.report(folder, config.train.threads)
    outcome = evaluate.hold_against_champion(folder, config.train.threads)
    return evaluate.final_state(folder, outcome)
