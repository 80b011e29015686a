"""The dataset -> stage 1 (detokenizer) -> stage 2 (multimodal language model) -> stage 3 (adaptation)."""

from prefect import flow

from tasks import artifacts, train
from tasks.run import open_run


@flow(name="train-all", flow_run_name="train-all {run}")
def train_all(run: str = "demo", preset: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Train the frozen parts and the three stages on a run's dataset.

    Args:
        run: Name of the run whose dataset is built.
        preset: Configuration to start from; none: the run's own.
        overrides: Changes to it, `section.key=value` each.
    """
    folder, config = open_run(run, preset, overrides)
    artifacts.link_to_tracking(folder)
    for name in train.STEPS:
        train.train(name, folder, config.train.threads)
    train.show_training(folder)
