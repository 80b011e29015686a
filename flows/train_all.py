"""The dataset -> stage 1 (detokenizer) -> stage 2 (multimodal language model) -> stage 3 (adaptation); the baseline."""

from prefect import flow

from tasks import artifacts, train
from tasks.run import open_run


@flow(name="train-all", flow_run_name="train-all {run}")
def train_all(run: str = "demo", preset: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Train the frozen parts, the three stages and, where it is configured, the baseline on a run's dataset.

    Args:
        run: Name of the run whose dataset is built.
        preset: Configuration to start from; none: the run's own.
        overrides: Changes to it, `section.key=value` each.
    """
    folder, config = open_run(run, preset, overrides)
    artifacts.link_to_tracking(folder)
    how = config.train
    # Side by side what does not build on one another: two processes use two cores better than two threads do.
    words = train.train.submit(("tokenizer", "language_model"), folder, how)
    before = [] if how.launch.side_by_side else [words]
    pictures = train.train.submit(("autoencoder", "image_encoder"), folder, how, wait_for=before)
    features = train.train.submit(("features",), folder, how, wait_for=[pictures])
    stage1 = train.train.submit(("stage1",), folder, how, wait_for=[features])
    before = [words, features] if how.launch.side_by_side else [words, stage1]
    stage2 = train.train.submit(("stage2",), folder, how, wait_for=before)
    stage3 = train.train.submit(("stage3",), folder, how, wait_for=[stage1, stage2])
    parts = [words, pictures, features, stage1, stage2, stage3]
    if how.baseline is not None:
        before = [words, stage1] if how.launch.side_by_side else [stage3]
        parts.append(train.train.submit(("baseline",), folder, how, wait_for=before))
    for part in parts:  # the first that failed says why
        part.result()
    train.show_training(folder)
