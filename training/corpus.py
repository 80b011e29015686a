"""What every trained part starts from: the chunks of a split, their pictures, and what frozen networks make of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from story_model.dataset import Story, StorySet, chunks, read_split
from story_model.pixels import Square, encoder_square
from training.batches import weights_of
from training.encodings import Encodings, Network, encodings_of
from training.makers import Pictures, square_pictures
from training.steps import Job


@dataclass(frozen=True)
class Split:
    """One split as chunks; pictures go by the sha256 of their files."""

    chunks: list[Story]
    story_set: StorySet
    digests: list[str]
    """Unique pictures in order of first appearance."""
    encodings: Encodings
    weights: list[float] | None
    """How often each chunk is drawn, over how often it would be by itself; none: equally often."""

    @property
    def picture_weights(self) -> list[float] | None:
        """How often each of `digests` is drawn: as the chunk that shows it, the one drawn most if there are several."""
        if self.weights is None:
            return None
        most: dict[str, float] = {}
        for chunk, weight in zip(self.chunks, self.weights, strict=True):
            for digest in chunk.image_sha256:
                most[digest] = max(weight, most.get(digest, 0.0))
        return [most[digest] for digest in self.digests]

    def pixels(self, digests: Sequence[str], square: Square) -> Tensor:
        """Decode pictures to squares, uint8 (N, 3, H, W)."""
        return decoded(self.story_set.pictures, digests, square)


def load_chunks(job: Job, split: str) -> list[Story]:
    """Read a split as views of `chunk_length` pairs."""
    story_set = read_split(job.folder.dataset_dir, split, bad_records=job.config.train.bad_records)
    return chunks(story_set.stories, job.config.build.stories.chunk_length)


def load_split(job: Job, name: str, *networks: Network) -> Split:
    """Read a split, with what some frozen networks make of its pictures.

    Raises:
        ValueError: a story or picture cannot be read, and `train.bad_records` does not say to skip it.
    """
    story_set = read_split(job.folder.dataset_dir, name, bad_records=job.config.train.bad_records)
    views, digests = _views(job, story_set)
    encodings, failures = encodings_of(job, story_set.pictures, digests, networks)
    is_stored = bool(networks) and job.config.train.features.enabled
    if not is_stored and job.config.train.bad_records == "skip":
        failures = _undecodable(job, story_set, digests)
    if failures:
        story_set = story_set.without(failures)
        views, digests = _views(job, story_set)
    job.count(skipped_stories=len(story_set.skipped))
    weights = weights_of(views, job.config.train.subset_weights) if name == "train" else None
    return Split(views, story_set, digests, encodings, weights)


def decoded(pictures: Pictures, digests: Sequence[str], square: Square) -> Tensor:
    """Decode pictures to squares, uint8 (N, 3, H, W)."""
    load = square_pictures(pictures, square)
    return torch.stack([load(digest).pixels for digest in tqdm(digests, desc="decode pictures", leave=False)])


def _views(job: Job, story_set: StorySet) -> tuple[list[Story], list[str]]:
    views = chunks(story_set.stories, job.config.build.stories.chunk_length)
    return views, list(dict.fromkeys(digest for view in views for digest in view.image_sha256))


def _undecodable(job: Job, story_set: StorySet, digests: Sequence[str]) -> dict[str, str]:
    """Say why some pictures cannot be shown to any network."""
    load, failures = square_pictures(story_set.pictures, encoder_square(job.config.model.image_encoder)), {}
    for digest in tqdm(digests, desc="check pictures", leave=False):
        try:
            load(digest)
        except ValueError as error:
            failures[digest] = str(error)
    return failures
