"""The numbers of one system (a mode of telling under a cache policy) and of the dataset's own stories beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from evaluation.distances.frechet import frechet_over_stories
from evaluation.distances.random_features import Features, RandomFeatures, extract
from evaluation.judging.judging import JudgeReport
from evaluation.measures.cartoon_world import ASPECTS, Accuracy, Aspect, Verdict, accuracy_of
from evaluation.measures.consistency import Consistency, consistency_of, standardised
from evaluation.measures.texts import distinct, named, overlap, repeated_texts, repetition, words
from evaluation.pictures import Pair, Pixels, Telling, stack
from evaluation.statistics import Estimate, mean_over_stories, sign_test
from story_model.schema import TrueWorld


class TextScores(BaseModel):
    """What can be counted in a system's texts."""

    words: Estimate | None
    """Words a text."""
    repetition: dict[str, Estimate | None]
    """rep-2, rep-3, rep-4 within a story."""
    distinct: dict[str, float | None]
    """distinct-1, distinct-2 over all texts."""
    repeated: Estimate | None
    """Share of texts told before in the same story, word for word."""
    empty: int
    """Texts without a word."""
    overlap: Estimate | None
    """F1 of words with the dataset's text of the same index."""
    names: dict[Aspect, Estimate | None]
    """Share of texts that name a character, a place; empty where the videos are not drawn."""


class SystemScores(BaseModel):
    """One system's numbers."""

    mode: str
    policy: str
    stories: int
    segments: int
    """Told, over all stories."""
    pictures: int
    """Segments with a picture."""
    frechet_random_features: Estimate | None
    consistency: Consistency
    texts: TextScores
    accuracy: dict[Aspect, Accuracy]
    """Empty where the videos are not drawn."""


class ReferenceScores(BaseModel):
    """The same numbers of the dataset's own stories, over the same stories and indices."""

    pictures: int
    frechet_other_episodes: Estimate | None
    """Distance of the reference pictures from as many training keyframes: true pictures, of other scenes."""
    consistency: Consistency
    texts: TextScores
    accuracy: dict[Aspect, Accuracy]


class Comparison(BaseModel):
    """Headline policy against another one, story by story, in one mode and aspect."""

    mode: str
    aspect: Aspect
    policy: str
    wins: int
    """Stories in which the headline policy's accuracy is higher."""
    losses: int
    p_value: float
    """Exact two-sided sign test; ties left out."""


class Scores(BaseModel):
    """Everything that was measured on a run."""

    headline: str | None
    """The system whose numbers stand for the run; none where captions-given stories were not told."""
    extractor: str
    extractor_fingerprint: str
    systems: dict[str, SystemScores]
    reference: ReferenceScores
    comparisons: list[Comparison]
    probe: dict[str, float] | None
    """Accuracy of the probe on validation keyframes; none where the videos are not drawn."""
    judge: JudgeReport


@dataclass(frozen=True)
class Ruler:
    """What all measures share."""

    network: RandomFeatures
    world: TrueWorld | None
    resamples: int
    seed: int

    def mean(self, groups: Sequence[Sequence[float]]) -> Estimate | None:
        """Average over stories with an interval."""
        return mean_over_stories(groups, resamples=self.resamples, seed=self.seed)


Verdicts = Mapping[str, Sequence[Verdict]]
"""Of each story, by its id."""


def score_system(tellings: Sequence[Telling], verdicts: Verdicts | None, ruler: Ruler) -> SystemScores:
    """Measure all stories told by one system."""
    told = [extract(stack(telling.told), ruler.network) for telling in tellings]
    reference = [extract(stack(telling.reference), ruler.network) for telling in tellings]
    first = tellings[0]
    return SystemScores(
        mode=first.mode,
        policy=first.policy,
        stories=len(tellings),
        segments=sum(len(telling.told) for telling in tellings),
        pictures=sum(len(telling.pictured) for telling in tellings),
        frechet_random_features=frechet_over_stories(told, reference, resamples=ruler.resamples, seed=ruler.seed),
        consistency=_consistency(tellings, told, reference, [stack(telling.told) for telling in tellings], ruler),
        texts=_texts([telling.told for telling in tellings], [telling.reference for telling in tellings], ruler),
        accuracy=_accuracies(verdicts, ruler),
    )


def score_reference(
    tellings: Sequence[Telling], verdicts: Verdicts | None, keyframes: Pixels, ruler: Ruler
) -> ReferenceScores:
    """Measure the dataset's own stories behind one system's tellings, and their distance from training keyframes."""
    reference = [extract(stack(telling.reference), ruler.network) for telling in tellings]
    pictures = [stack(telling.reference) for telling in tellings]
    known = [telling.reference for telling in tellings]
    return ReferenceScores(
        pictures=sum(len(story) for story in pictures),
        frechet_other_episodes=_other_episodes(reference, extract(keyframes, ruler.network), ruler),
        consistency=_consistency(tellings, reference, reference, pictures, ruler),
        texts=_texts(known, known, ruler),
        accuracy=_accuracies(verdicts, ruler),
    )


def compare(systems: Mapping[str, SystemScores], headline_policy: str) -> list[Comparison]:
    """Set the headline policy against each other policy of its mode, story by story."""
    found = []
    for mode in sorted({system.mode for system in systems.values()}):
        ours = systems.get(f"{mode}-{headline_policy}")
        rivals = [one for one in systems.values() if one.mode == mode and one.policy != headline_policy]
        if ours is None:
            continue
        for rival in rivals:
            for aspect in ours.accuracy:
                left, right = ours.accuracy[aspect].by_story, rival.accuracy[aspect].by_story
                shared = left.keys() & right.keys()
                wins = sum(left[story] > right[story] for story in shared)
                losses = sum(left[story] < right[story] for story in shared)
                p = sign_test(wins, losses)
                found.append(
                    Comparison(mode=mode, aspect=aspect, policy=rival.policy, wins=wins, losses=losses, p_value=p)
                )
    return found


def flatten(scores: Scores) -> dict[str, float]:
    """Name every number for manifest and tracker: the headline's plainly, each system's as `<mode>/<policy>/<name>`."""
    numbers = {}
    for system in scores.systems.values():
        own = _numbers(system)
        numbers.update({f"{system.mode}/{system.policy}/{name}": value for name, value in own.items()})
    if scores.headline is not None:
        numbers.update(_numbers(scores.systems[scores.headline]))
    numbers.update(_spread("other_episodes/frechet_random_features", scores.reference.frechet_other_episodes))
    numbers.update(scores.probe or {})
    for judged, dimensions in scores.judge.systems.items():
        for dimension, score in dimensions.items():
            name = f"judge/{judged}/{dimension}"
            numbers.update(_spread(name, score.score))
            numbers[f"{name}_coverage"] = score.coverage
    return numbers


def _numbers(system: SystemScores) -> dict[str, float]:
    numbers: dict[str, float] = {"segments_told": system.segments, "pictures": system.pictures}
    estimates = {
        "frechet_random_features": system.frechet_random_features,
        "similarity_within": system.consistency.within,
        "similarity_neighbours": system.consistency.neighbours,
        "copies_of_opening": system.consistency.copies_of_opening,
        "copies_of_previous": system.consistency.copies_of_previous,
        "text_words": system.texts.words,
        "text_repeated": system.texts.repeated,
        "text_overlap": system.texts.overlap,
    } | {f"text_{name.replace('-', '_')}": value for name, value in system.texts.repetition.items()}
    for aspect, accuracy in system.accuracy.items():
        estimates[f"{aspect}_accuracy"] = accuracy.accuracy
        if accuracy.chance_majority is not None:
            numbers[f"{aspect}_chance"] = accuracy.chance_majority
    for name, estimate in estimates.items():
        numbers.update(_spread(name, estimate))
    return numbers


def _spread(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {}
    ends = {f"{name}_ci_low": estimate.low, f"{name}_ci_high": estimate.high}
    return {name: estimate.value, f"{name}_n": estimate.n} | {end: at for end, at in ends.items() if at is not None}


def _accuracies(verdicts: Verdicts | None, ruler: Ruler) -> dict[Aspect, Accuracy]:
    if verdicts is None or ruler.world is None:
        return {}
    return {
        aspect: accuracy_of(verdicts, aspect, ruler.world, resamples=ruler.resamples, seed=ruler.seed)
        for aspect in ASPECTS
    }


def _consistency(
    tellings: Sequence[Telling],
    features: Sequence[Features],
    reference: Sequence[Features],
    pictures: Sequence[Pixels],
    ruler: Ruler,
) -> Consistency:
    return consistency_of(
        standardised(features, np.concatenate(reference)),
        stack([telling.opening for telling in tellings]),
        pictures,
        resamples=ruler.resamples,
        seed=ruler.seed,
    )


def _texts(stories: Sequence[Sequence[Pair]], reference: Sequence[Sequence[Pair]], ruler: Ruler) -> TextScores:
    texts = [[pair.text for pair in story] for story in stories]
    flat = [text for story in texts for text in story]
    rep = {f"rep-{n}": ruler.mean([_present(repetition(story, n)) for story in texts]) for n in (2, 3, 4)}
    pairs = [list(zip(story, known, strict=False)) for story, known in zip(stories, reference, strict=True)]
    return TextScores(
        words=ruler.mean([[len(words(text)) for text in story] for story in texts]),
        repetition=rep,
        distinct={f"distinct-{n}": distinct(flat, n) for n in (1, 2)},
        repeated=ruler.mean([[float(again) for again in repeated_texts(story)] for story in texts]),
        empty=sum(not words(text) for text in flat),
        overlap=ruler.mean([[overlap(own.text, known.text) for own, known in story] for story in pairs]),
        names=_naming(texts, ruler),
    )


def _naming(texts: Sequence[Sequence[str]], ruler: Ruler) -> dict[Aspect, Estimate | None]:
    if ruler.world is None:
        return {}
    names: dict[Aspect, list[str]] = {"character": ruler.world.characters, "place": ruler.world.places}
    return {
        aspect: ruler.mean([[float(bool(named(text, known))) for text in story] for story in texts])
        for aspect, known in names.items()
    }


def _other_episodes(reference: Sequence[Features], keyframes: Features, ruler: Ruler) -> Estimate | None:
    """Hold each story's pictures against an equal share of keyframes."""
    if len(keyframes) < sum(len(story) for story in reference):
        return None
    ends = np.cumsum([len(story) for story in reference])
    return frechet_over_stories(
        np.split(keyframes[: ends[-1]], ends[:-1]), reference, resamples=ruler.resamples, seed=ruler.seed
    )


def _present(value: float | None) -> list[float]:
    return [] if value is None else [value]
