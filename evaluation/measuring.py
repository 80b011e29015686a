"""From a system's stories to its numbers: every measure and every distance, with one ruler for all systems."""

from collections.abc import Sequence

from evaluation.distances.distances import Distances, distances_of
from evaluation.distances.extraction import story_features
from evaluation.material import System
from evaluation.measures.alignment import alignment_of
from evaluation.measures.cartoon_world import ASPECTS, Accuracy, Aspect, Verdicts, accuracy_of, agreement_values
from evaluation.measures.catalog import AGAINST_THE_DATASET, in_reading_order
from evaluation.measures.characters import character_values, figures_of_texts
from evaluation.measures.copies import copies_of, copies_of_training, training_likeness
from evaluation.measures.degradation import degradation_of
from evaluation.measures.diversity import diversity_of
from evaluation.measures.entities import entity_values, naming_values
from evaluation.measures.features import StoryFeatures, features_of, unit_length
from evaluation.measures.likeness import likeness_of
from evaluation.measures.measure import Measured, Values
from evaluation.measures.style import colours_of, style_of
from evaluation.measures.summary import summarise_all
from evaluation.measures.texts import words
from evaluation.measures.wording import text_values
from evaluation.pictures import Pair, Telling
from evaluation.ruler import Ruler
from evaluation.scores import SystemScores


def measure_system(system: System, ruler: Ruler, verdicts: Verdicts | None) -> tuple[SystemScores, Measured]:
    """Take every measure of a system that can be taken, and its distances from the dataset.

    Args:
        system: with its stories.
        ruler: what it is measured with.
        verdicts: of the probe on these stories, where the videos are drawn.
    """
    tellings = system.tellings
    found = _values(tellings, ruler) | (agreement_values(verdicts) if verdicts else {})
    trivial = AGAINST_THE_DATASET if system.kind == "dataset" else frozenset[str]()
    values = {one.name: found[one.name] for one in in_reading_order(found) if one.name not in trivial}
    config = ruler.config
    trends = {
        name: degradation_of(found, trained_length=ruler.trained_length, resamples=config.bootstrap, seed=ruler.seed)
        for name, found in values.items()
    }
    shown = [pair for telling in tellings for pair in telling.told]
    return SystemScores(
        name=system.name,
        mode=system.mode,
        policy=system.policy,
        kind=system.kind,
        stories=len(tellings),
        segments=len(shown),
        pictures=sum(pair.pixels is not None for pair in shown),
        empty_texts=sum(not words(pair.text) for pair in shown),
        distances={} if system.kind == "dataset" else _distances(tellings, ruler),
        measures=summarise_all(values, resamples=config.bootstrap, seed=ruler.seed),
        slopes={name: trend.slope for name, trend in trends.items() if trend.slope is not None},
        beyond={name: trend.beyond for name, trend in trends.items() if trend.beyond is not None},
        accuracy=_accuracies(verdicts, ruler),
        notes=list(system.notes),
    ), values


def distances_between(
    told: Sequence[Sequence[Pair]], reference: Sequence[Sequence[Pair]], ruler: Ruler
) -> dict[str, Distances]:
    """Measure the distances of two sets of stories' pictures, in every network."""
    found = {}
    for network in ruler.networks:
        ours, true = (story_features(side, network, ruler.cache, square=ruler.square) for side in (told, reference))
        found[network.key] = distances_of(ours, true, network, ruler.config.distances, seed=ruler.seed)
    return found


def _values(tellings: Sequence[Telling], ruler: Ruler) -> dict[str, Values]:
    seen = ruler.looked_at(tellings, ruler.seen)
    found = likeness_of(seen) | diversity_of(seen)
    found |= style_of(ruler.looked_at(tellings, ruler.styled)) | colours_of(tellings)
    found |= copies_of(tellings)
    if ruler.gallery is not None:
        found |= copies_of_training(tellings, ruler.gallery) | dict(training_likeness(seen, ruler.gallery_features))
    for name, stories in ruler.trained_features(tellings).items():
        found |= likeness_of(stories, f"{name}_i") | diversity_of(stories, f"{name}_i")
        if name == "clip" and ruler.clip is not None:
            found |= alignment_of(tellings, stories, ruler.clip.texts)
        if ruler.names:
            found |= _characters(tellings, stories, ruler, prefix=f"{name}_character")
    if ruler.recognised is not None:
        recognised = unit_length(features_of(tellings, ruler.recognised))
        found |= _characters(tellings, recognised, ruler, prefix="character")
    if ruler.names:
        found |= naming_values(tellings, {str(aspect): names for aspect, names in ruler.names.items()})
    cast = [name for names in ruler.names.values() for name in names] or None
    found |= text_values(tellings) | entity_values(tellings, cast=cast)
    return {name: values for name, values in found.items() if any(values.values())}


def _characters(
    tellings: Sequence[Telling], stories: Sequence[StoryFeatures], ruler: Ruler, prefix: str
) -> dict[str, Values]:
    figures = {
        telling.story_id: figures_of_texts(telling, story, ruler.names["character"])
        for telling, story in zip(tellings, stories, strict=True)
    }
    return character_values(figures, prefix)


def _distances(tellings: Sequence[Telling], ruler: Ruler) -> dict[str, Distances]:
    return distances_between([one.told for one in tellings], [one.reference for one in tellings], ruler)


def _accuracies(verdicts: Verdicts | None, ruler: Ruler) -> dict[Aspect, Accuracy]:
    if verdicts is None or ruler.world is None:
        return {}
    draws, seed = ruler.config.bootstrap, ruler.seed
    return {aspect: accuracy_of(verdicts, aspect, ruler.world, resamples=draws, seed=seed) for aspect in ASPECTS}
