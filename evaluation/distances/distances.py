"""All distances of one system's pictures from the dataset's in one network's features, and what weakens them."""

from collections.abc import Sequence

from pydantic import BaseModel

from evaluation.distances.extrapolation import MIN_STORIES, frechet_extrapolated
from evaluation.distances.features import Features
from evaluation.distances.frechet import frechet_over_stories
from evaluation.distances.kernel import kernel_over_stories
from evaluation.distances.neighbours import surroundings
from evaluation.distances.networks import FeatureNetwork
from evaluation.distances.protocols import BATCHES, kept_stories
from evaluation.distances.random_features import EXTRACTOR
from evaluation.statistics import Estimate
from story_model.evaluate_config import DistancesConfig

ENOUGH = 2048
"""Pictures on a side from which the field takes a Fréchet distance for itself (Heusel et al. 2017)."""


class Distances(BaseModel):
    """How far told pictures are from the dataset's, in the features of one network."""

    network: str
    protocol: str
    """How pictures entered it."""
    digest: str
    """Of its weights."""
    stories: int
    """Measured."""
    told: int
    """Pictures."""
    reference: int
    """Pictures of the dataset."""
    frechet: Estimate | None = None
    frechet_extrapolated: Estimate | None = None
    """At infinitely many pictures; near zero it may be negative."""
    kernel: Estimate | None = None
    """Unbiased; near zero it may be negative."""
    precision: Estimate | None = None
    recall: Estimate | None = None
    density: Estimate | None = None
    coverage: Estimate | None = None
    flags: list[str]
    """What a reader must know before these are believed or compared; what could not be measured, and why."""

    @property
    def key(self) -> str:
        """Network and way in one."""
        return f"{self.network}/{self.protocol}"

    @property
    def label(self) -> str:
        """What readers call it: what the documentation does."""
        return "random features" if self.network == EXTRACTOR else f"{self.network.partition('-')[0]}/{self.protocol}"


def distances_of(
    told: Sequence[Features],
    reference: Sequence[Features],
    network: FeatureNetwork,
    config: DistancesConfig,
    *,
    seed: int,
) -> Distances:
    """Measure every distance of told from true features, each with its interval over stories.

    Args:
        told: features of each story's told pictures, [n_k, D].
        reference: features of the same stories' pictures in the dataset, [m_k, D].
        network: what computed them.
        config: draws, subsets, neighbours.
        seed: of all draws.

    Raises:
        ValueError: a picture's features are not finite.
    """
    kept = kept_stories(network.protocol, len(told))
    flags = _dropped(network.protocol, len(told), kept)
    told, reference = told[:kept], reference[:kept]
    num_told, num_reference = (sum(len(story) for story in side) for side in (told, reference))
    flags += _weaknesses(num_told, num_reference, kept, config.neighbours)
    result = Distances(
        network=network.name,
        protocol=network.protocol,
        digest=network.digest,
        stories=kept,
        told=num_told,
        reference=num_reference,
        flags=flags,
    )
    if min(num_told, num_reference) < 2:
        return result
    draws = config.resamples
    near = surroundings(told, reference, neighbours=config.neighbours, resamples=draws, seed=seed)
    return result.model_copy(
        update={
            "frechet": frechet_over_stories(told, reference, resamples=draws, seed=seed),
            "frechet_extrapolated": frechet_extrapolated(told, reference, seed=seed),
            "kernel": kernel_over_stories(told, reference, subsets=config.subsets, resamples=draws, seed=seed),
            **({} if near is None else vars(near)),
        }
    )


def incomparable(first: Distances, second: Distances) -> str | None:
    """Say why two results must not be set side by side; none where they may."""
    if first.key != second.key:
        return f"one is in {first.key}, the other in {second.key}"
    if first.digest != second.digest:
        return f"the weights of {first.key} differ: {first.digest[:16]} and {second.digest[:16]}"
    if (first.told, first.reference) != (second.told, second.reference):
        numbers = f"{first.told} / {first.reference} and {second.told} / {second.reference} pictures"
        return f"a Fréchet distance depends on the number of pictures: {numbers}; compare the extrapolated one"
    return None


def _dropped(protocol: str, stories: int, kept: int) -> list[str]:
    if kept == stories:
        return []
    left_out = f"{stories - kept} of {stories} stories"
    return [f"{protocol} leaves out an incomplete last batch of {BATCHES[protocol]} stories: {left_out}"]


def _weaknesses(told: int, reference: int, stories: int, neighbours: int) -> list[str]:
    if min(told, reference) < 2:
        return [f"nothing measured: {told} told and {reference} true pictures, and two of each are needed"]
    found = []
    if min(told, reference) < ENOUGH:
        found.append(
            f"biased: {told} told and {reference} true pictures, under {ENOUGH} the Fréchet distance depends on their "
            "number; read the extrapolated and the kernel distance"
        )
    if told != reference:
        found.append(f"unequal numbers: {told} told pictures against {reference} true ones")
    if stories < MIN_STORIES:
        found.append(f"not extrapolated: {stories} stories, and {MIN_STORIES} are needed")
    if min(told, reference) <= neighbours:
        found.append(f"no precision or recall: no more pictures than the {neighbours} neighbours asked for")
    return found
