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
    threads = config.train.threads
    threads = config.train.threads
    # Side by side what does not build on one another: two processes use two cores better than two threads do.
    words = train.train.submit(("tokenizer", "language_model"), folder, threads)
    pictures = train.train.submit(("autoencoder", "image_encoder"), folder, threads)
    stage1 = train.train.submit(("stage1",), folder, threads, wait_for=[pictures])
    stage2 = train.train.submit(("stage2",), folder, threads, wait_for=[words, pictures])
    stage3 = train.train.submit(("stage3",), folder, threads, wait_for=[stage1, stage2])
    for part in (words, pictures, stage1, stage2, stage3):  # the first that failed says why
        part.result()
    train.show_training(folder)
