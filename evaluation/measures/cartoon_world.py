"""The objective measure on the drawn series: does the picture show the character and the place that its text names?

The series is drawn by program, so every keyframe's truth is known. A classifier learns it from training keyframes
(`probe.py`); here its sight is held against the words of each told text. Videos of a user have no such truth, and
then this measure is absent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import BaseModel

from evaluation.measures.measure import Values
from evaluation.measures.texts import named
from evaluation.pictures import Telling
from evaluation.statistics import Estimate, mean_over_stories
from story_model.dataset import Story
from story_model.schema import TrueEpisode, TrueShot, TrueWorld

Aspect = Literal["character", "place"]
ASPECTS: tuple[Aspect, ...] = ("character", "place")
_CURVE_REACH = 2
"""Neighbouring segments on each side that a point of the curve averages."""


@dataclass(frozen=True)
class Sight:
    """What the probe sees in a picture, beside what the picture's text names."""

    named: tuple[str, ...]
    """Names of the world in the text: none, one or several."""
    seen: str
    confidence: float
    """The probe's probability of `seen`."""

    @property
    def agrees(self) -> bool | None:
        """Whether the text names exactly this; none where it names nothing, or several."""
        return self.named[0] == self.seen if len(self.named) == 1 else None


@dataclass(frozen=True)
class Verdict:
    """A told picture, judged by the probe."""

    index: int
    character: Sight
    place: Sight

    def sight(self, aspect: Aspect) -> Sight:
        """Look up one aspect."""
        return self.character if aspect == "character" else self.place


Verdicts = Mapping[str, Sequence[Verdict]]
"""Of each story, by its id."""


class Accuracy(BaseModel):
    """How often the probe sees what the text names, over one system's pictures."""

    accuracy: Estimate | None
    """None where no text names exactly one."""
    chance_majority: float | None
    """Accuracy of always guessing the name that the texts name most often."""
    chance_uniform: float
    """1 / number of names."""
    unnamed: int
    """Pictures whose text names none; not in the accuracy."""
    several: int
    """Pictures whose text names more than one; not in the accuracy."""
    curve: list[Estimate | None]
    """Accuracy by position in the story (index 1 first), each averaged with its neighbours within two segments."""
    by_story: dict[str, float]
    """Accuracy of each story, for paired comparisons."""


def labels_of(
    stories: Sequence[Story], truth: Sequence[TrueEpisode], episodes_path: Path
) -> dict[str, list[TrueShot | None]]:
    """Look up the true shot of every pair of every story; none on titles, credits and fades.

    Raises:
        ValueError: an episode of the dataset is not among the drawn ones.
    """
    table = pq.read_table(episodes_path, columns=["episode_id", "source_name"]).to_pylist()
    videos = {row["episode_id"]: row["source_name"] for row in table}
    shots = {episode.video: episode.shots for episode in truth}
    found = {}
    for story in stories:
        video = videos.get(story.episode_id)
        if video not in shots:
            raise ValueError(f"story {story.story_id} comes from {video!r}, of which the drawn series knows nothing")
        found[story.story_id] = [_shot_at(shots[video], pts_ms) for pts_ms in story.pts_ms]
    return found


def sight(text: str, names: Sequence[str], probabilities: Sequence[float]) -> Sight:
    """Hold the probe's probabilities over names against a text."""
    best = max(range(len(names)), key=lambda number: probabilities[number])
    return Sight(tuple(named(text, names)), names[best], float(probabilities[best]))


def accuracy_of(
    verdicts: Mapping[str, Sequence[Verdict]], aspect: Aspect, world: TrueWorld, *, resamples: int, seed: int
) -> Accuracy:
    """Sum up the verdicts of each story told by one system."""
    sights = [verdict.sight(aspect) for story in verdicts.values() for verdict in story]
    judged = {
        story: [(verdict.index, bool(verdict.sight(aspect).agrees)) for verdict in found if _judged(verdict, aspect)]
        for story, found in verdicts.items()
    }
    targets = Counter(sight.named[0] for sight in sights if len(sight.named) == 1)
    length = max((verdict.index for found in verdicts.values() for verdict in found), default=0)
    groups = [[float(agrees) for _, agrees in found] for found in judged.values()]
    return Accuracy(
        accuracy=mean_over_stories(groups, resamples=resamples, seed=seed),
        chance_majority=max(targets.values()) / targets.total() if targets else None,
        chance_uniform=1 / len(names_of(world, aspect)),
        unnamed=sum(not sight.named for sight in sights),
        several=sum(len(sight.named) > 1 for sight in sights),
        curve=[_around(index, judged, resamples=resamples, seed=seed) for index in range(1, length + 1)],
        by_story={story: sum(agrees for _, agrees in found) / len(found) for story, found in judged.items() if found},
    )


def agreement_values(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Values]:
    """Tell for each picture whose text names exactly one whether the probe sees that one: `<aspect>_agrees`."""
    return {
        f"{aspect}_agrees": {
            story: [(one.index, float(bool(one.sight(aspect).agrees))) for one in found if _judged(one, aspect)]
            for story, found in verdicts.items()
        }
        for aspect in ASPECTS
    }


def names_of(world: TrueWorld, aspect: Aspect) -> list[str]:
    """List the world's names of an aspect."""
    return world.characters if aspect == "character" else world.places


def verdicts_of(
    telling: Telling, world: TrueWorld, characters: Sequence[Sequence[float]], places: Sequence[Sequence[float]]
) -> list[Verdict]:
    """Judge a story's told pictures from the probe's probabilities [pictures, names], in their order."""
    return [
        Verdict(pair.index, sight(pair.text, world.characters, who), sight(pair.text, world.places, where))
        for pair, who, where in zip(telling.pictured, characters, places, strict=True)
    ]


def _judged(verdict: Verdict, aspect: Aspect) -> bool:
    return verdict.sight(aspect).agrees is not None


def _around(
    index: int, judged: Mapping[str, Sequence[tuple[int, bool]]], *, resamples: int, seed: int
) -> Estimate | None:
    groups = [
        [float(agrees) for position, agrees in found if abs(position - index) <= _CURVE_REACH]
        for found in judged.values()
    ]
    return mean_over_stories(groups, resamples=resamples, seed=seed)


def _shot_at(shots: Sequence[TrueShot], pts_ms: int) -> TrueShot | None:
    for shot in shots:
        if shot.start_ms <= pts_ms < shot.end_ms:
            return shot if shot.character is not None and shot.place is not None else None
    return None
