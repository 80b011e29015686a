"""Trained networks -> long stories from validation openings -> scores, report, MLflow."""

from prefect import flow

from tasks import artifacts, evaluate
from tasks.run import open_run


@flow(name="evaluate", flow_run_name="evaluate {run}")
def evaluate_stories(
    run: str = "demo", preset: str | None = None, overrides: tuple[str, ...] = (), source_run: str | None = None
) -> str:
    """Tell long stories with a trained run, score them and hand out the report's path.

    Args:
        run: Name of the trained run.
        preset: Configuration to start from; none: the run's own.
        overrides: Changes to it, `section.key=value` each.
        source_run: Resource id of the train-all flow run that triggered this one; its run is evaluated.
    """
    trained = evaluate.run_trained_by(source_run) if source_run else run
    folder, config = open_run(trained, preset, overrides)
    artifacts.link_to_tracking(folder)
    evaluate.tell_stories(folder, config.train.threads)
    evaluate.report(folder, config.train.threads)
    return str(folder.report_path)
