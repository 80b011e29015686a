"""What every trained part starts from: the chunks of both splits and their pictures."""

from dataclasses import dataclass

from story_model.dataset import Story, chunks, read_stories
from training.pictures import Pictures, load_pictures
from training.steps import Job


@dataclass(frozen=True)
class Split:
    """One split as chunks, with the pictures in them."""

    chunks: list[Story]
    pictures: Pictures


def load_chunks(job: Job, split: str) -> list[Story]:
    """Read a split as views of `chunk_length` pairs."""
    return chunks(read_stories(job.folder.dataset_dir, split), job.config.build.stories.chunk_length)


def load_split(job: Job, split: str, side: int) -> Split:
    """Read a split and decode its pictures to squares of `side` pixels."""
    views = load_chunks(job, split)
    return Split(views, load_pictures(views, side))
