"""The pictures that stage 1 learns to rebuild: those of the training stories, mixed with those of other sources."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from story_model.pixels import Square
from training.corpus import Split, decoded
from training.encodings import Encodings, Network, widened
from training.makers import Pictures
from training.picture_sources import SourcePictures, choose, open_sources
from training.steps import Job


@dataclass(frozen=True)
class Mixture:
    """Pictures by the sha256 of their files, with what frozen networks make of them."""

    digests: Sequence[str]
    """Of the stories, then source by source."""
    pictures: Pictures
    encodings: Encodings
    picture_weights: Sequence[float] | None
    """How often each of `digests` is drawn; none: equally often."""
    counts: dict[str, int]
    """Pictures by where they come from, and those that were left out."""

    def pixels(self, digests: Sequence[str], square: Square) -> Tensor:
        """Decode pictures to squares, uint8 (N, 3, H, W)."""
        return decoded(self.pictures, digests, square)


@dataclass(frozen=True)
class _Both:
    """Pictures of stories and of sources."""

    stories: Pictures
    sources: SourcePictures

    def read(self, digest: str) -> bytes:
        return self._of(digest).read(digest)

    def name(self, digest: str) -> str:
        return self._of(digest).name(digest)

    def _of(self, digest: str) -> Pictures:
        return self.sources if digest in self.sources else self.stories


def mixture(job: Job, train: Split, held_out: Split, *networks: Network) -> Mixture:
    """Mix a split's pictures with those of the run's sources; `networks` are those that the split was loaded with.

    A picture that is held out is not trained on, wherever else it lies.

    Raises:
        ValueError: a picture cannot be read, and `train.bad_records` does not say to skip it.
    """
    sources = open_sources(job.folder, job.config, job.settings)
    if not sources:
        counts = {"pictures": len(train.digests)}
        return Mixture(train.digests, train.story_set.pictures, train.encodings, train.picture_weights, counts)
    chosen = choose(sources, job.config.train.stage1, in_stories=train.digests, held_out=_shown(held_out))
    pictures = _Both(train.story_set.pictures, SourcePictures(sources))
    found = [digest for one in chosen for digest in one.digests]
    encodings, failures = widened(train.encodings, job, pictures, found, networks)
    chosen = [one.without(failures) for one in chosen]
    digests, weights = list(train.digests), train.picture_weights or [1.0] * len(train.digests)
    counts = {"story_pictures": len(digests)}
    for one in chosen:
        # Where they lie decides the order in which they are encoded, but not what a step sees.
        digests += sorted(one.digests)
        weights = [*weights, *[one.source.config.weight] * len(one.digests)]
        counts |= one.counts
    even = len(set(weights)) == 1
    return Mixture(digests, pictures, encodings, None if even else weights, {"pictures": len(digests)} | counts)


def _shown(split: Split) -> set[str]:
    return {digest for story in split.story_set.stories for digest in story.image_sha256}
