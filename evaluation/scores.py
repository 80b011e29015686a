"""The numbers of a run: of each system, of the dataset's own stories beside them, and of one against another."""

from pydantic import BaseModel

from evaluation.distances.distances import Distances
from evaluation.distances.random_features import EXTRACTOR
from evaluation.judging.report import JudgeReport
from evaluation.measures.cartoon_world import Accuracy, Aspect
from evaluation.measures.summary import MeasureSummary
from evaluation.statistics import Estimate, Paired, spread
from evaluation.systems import Kind

KINDS = ("frechet", "frechet_extrapolated", "kernel", "precision", "recall", "density", "coverage")
"""Of distances, as fields and in names of metrics."""


class SystemScores(BaseModel):
    """One system's numbers."""

    name: str
    mode: str
    policy: str
    kind: Kind
    stories: int
    segments: int
    """Told, over all stories."""
    pictures: int
    """Segments with a picture."""
    empty_texts: int
    """Texts without a word."""
    distances: dict[str, Distances]
    """By the network that looks, and its protocol where there are several."""
    measures: dict[str, MeasureSummary]
    """By name, in reading order (`measures/catalog.py`); without those that cannot be taken here."""
    slopes: dict[str, Estimate] = {}
    """What a measure changes by per ten segments of a story, by its name; of those that have a place in the story."""
    beyond: dict[str, Estimate] = {}
    """Mean past the length that training's stories had, less the mean up to it."""
    accuracy: dict[Aspect, Accuracy]
    """Empty where the videos are not drawn."""
    notes: list[str] = []
    """What of its stories could not be used."""


class Comparison(BaseModel):
    """The headline system against another one on the same starts, in one measure."""

    system: str
    against: str
    measure: str
    paired: Paired
    p_value: float
    """Wilcoxon's signed-rank test over stories; 1 where no story differs."""
    p_holm: float
    """After Holm, over this pair's primary measures, or over its other ones."""
    is_primary: bool
    """Named beforehand in `evaluate.champion.primary`."""


class SlopeDifference(BaseModel):
    """How differently two cache policies change over a story's length, in one measure, on the same starts."""

    system: str
    against: str
    measure: str
    difference: Estimate
    """Slope of the first minus that of the second, per ten segments."""


class Scores(BaseModel):
    """Everything that was measured on a run."""

    networks: dict[str, str]
    """What pictures were seen with: weights' digests by the network's name."""
    headline: str | None
    """The system whose numbers stand for the run; none where captions-given stories were not told."""
    systems: dict[str, SystemScores]
    reference: SystemScores
    """The dataset's own stories behind the told ones; its distances are those of as many true keyframes of other
    episodes, so what true pictures of the same kind reach."""
    comparisons: list[Comparison]
    slope_differences: list[SlopeDifference] = []
    probe: dict[str, float] | None
    """Accuracy of the probe on validation keyframes; none where the videos are not drawn."""
    judge: JudgeReport


def flatten(scores: Scores) -> dict[str, float]:
    """Name the numbers for manifest and tracker.

    The headline's stand plainly, and `dataset/<name>` beside them, with intervals; other systems' values as
    `<mode>/<policy>/<name>`. Their intervals are in `scores.json`: thousands of metrics would drown the few.
    """
    numbers: dict[str, float] = {}
    for system in scores.systems.values():
        numbers |= {
            f"{place_of(system)}/{name}": value for name, value in _numbers(system, with_intervals=False).items()
        }
    if scores.headline is not None:
        numbers |= _numbers(scores.systems[scores.headline])
    numbers |= {f"dataset/{name}": value for name, value in _numbers(scores.reference).items()}
    return numbers | (scores.probe or {}) | scores.judge.numbers()


def place_of(system: SystemScores) -> str:
    """Name a system as a path, for those that sort metrics by folder."""
    return system.name if system.kind == "external" else f"{system.mode}/{system.policy}"


def _numbers(system: SystemScores, *, with_intervals: bool = True) -> dict[str, float]:
    estimates = {
        f"{kind}_{network_name(distances.network, distances.protocol)}": getattr(distances, kind)
        for distances in system.distances.values()
        for kind in KINDS
    }
    estimates |= {name: summary.value for name, summary in system.measures.items()}
    estimates |= {f"{aspect}_accuracy": accuracy.accuracy for aspect, accuracy in system.accuracy.items()}
    numbers: dict[str, float] = {"segments_told": system.segments, "pictures": system.pictures}
    for name, estimate in estimates.items():
        numbers |= spread(name, estimate) if with_intervals else {name: estimate.value} if estimate else {}
    for aspect, accuracy in system.accuracy.items():
        if accuracy.chance_majority is not None:
            numbers[f"{aspect}_chance"] = accuracy.chance_majority
    return numbers


def network_name(network: str, protocol: str) -> str:
    """Name a network and its way of preparing pictures as metrics do."""
    if network == EXTRACTOR:
        return "random_features"
    return f"{network.partition('-')[0]}_{protocol}".replace("-", "_")
