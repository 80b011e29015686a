"""What the loop's steps leave in MLflow."""

from story_model.tracking import Tracker
from story_model.train_config import StageConfig
from training.loop import Step


def log_step(tracker: Tracker, step: Step, config: StageConfig) -> None:
    """Log a step's losses, gradient norm, learning rate and pace, every `log_every` steps and at both ends."""
    if step.number % config.log_every and step.number not in {1, config.steps}:
        return
    numbers = {
        "gradient_norm": step.gradient_norm,
        "learning_rate": step.learning_rate,
        "samples_per_s": config.batch_size / step.seconds,
    }
    tracker.metrics({f"loss/{name}": value for name, value in step.losses.items()} | numbers, step.number)
