"""What every trained part starts from: the chunks of both splits and their pictures."""

from dataclasses import dataclass

from story_model.dataset import Story, chunks, read_stories
from story_model.pixels import Square
from training.pictures import Pictures, load_pictures
from training.steps import Job


@dataclass(frozen=True)
class Split:
    """One split as chunks, with the pictures in them."""

    chunks: list[Story]
    pictures: Pictures

    def pictures_as(self, square: Square) -> Pictures:
        """Give the same pictures, row by row, as other squares; they are decoded again only where these differ."""
        return self.pictures if square == self.pictures.square else load_pictures(self.chunks, square)


def load_chunks(job: Job, split: str) -> list[Story]:
    """Read a split as views of `chunk_length` pairs."""
    return chunks(read_stories(job.folder.dataset_dir, split), job.config.build.stories.chunk_length)


def load_split(job: Job, split: str, square: Square) -> Split:
    """Read a split and decode its pictures to squares."""
    views = load_chunks(job, split)
    return Split(views, load_pictures(views, square))
