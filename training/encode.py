"""The feature store, filled: every frozen network runs once over each unique picture of both splits."""

from story_model.manifest import StepResult
from training.corpus import load_split
from training.steps import Job


def make(job: Job) -> StepResult:
    """Make what is missing; with `train.features.enabled=false` there is nothing to make."""
    if not job.config.train.features.enabled:
        return StepResult()
    pictures = [
        len(load_split(job, split, "image_encoder", "autoencoder").digests) for split in ("train", "validation")
    ]
    return StepResult(counts={"pictures": sum(pictures)})
