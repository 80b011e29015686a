"""What a comparison needs the told pictures for: distances from the dataset's, strips for readers, the judge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.comparing.comparison import Row
from evaluation.comparing.distances import distance_row
from evaluation.comparing.sides import Evaluated
from evaluation.comparing.starts import Pairing
from evaluation.distances.random_features import RandomFeatures, extract
from evaluation.pictures import Telling, read_tellings, stack
from story_model.dataset import read_stories
from story_model.pixels import detokenizer_square

Tellings = tuple[list[Telling], list[Telling]]
"""Of the left and the right run, the same stories in the same order, cut to what both told."""
DISTANCE = "frechet_random_features"
MEANING = "How far the told pictures lie from the dataset's, by features of a fixed random network (not FID)."


def paired_tellings(left: Evaluated, right: Evaluated, pairing: Pairing, mode: str) -> Tellings:
    """Read both runs' paired stories, each cut at the last segment that both have.

    Raises:
        ValueError: a story or one of its pictures cannot be read.
    """
    ours, theirs = (_tellings(one, mode, pairing.lengths) for one in (left, right))
    return ours, theirs


def distance_rows(tellings: Mapping[str, Tellings], *, resamples: int, seed: int) -> list[Row]:
    """Compare the distances from the dataset's pictures in every mode."""
    network = RandomFeatures()
    rows = []
    for mode, (left, right) in tellings.items():
        row = Row(mode=mode, measure=DISTANCE, better="lower", meaning=MEANING)
        told = [[extract(stack(one.told), network) for one in side] for side in (left, right)]
        known = [[extract(stack(one.reference), network) for one in side] for side in (left, right)]
        rows.append(distance_row(row, told[0], told[1], (known[0], known[1]), resamples=resamples, seed=seed))
    return rows


def _tellings(one: Evaluated, mode: str, lengths: Mapping[str, int]) -> list[Telling]:
    if not lengths:
        return []
    square = detokenizer_square(one.config.model.detokenizer)
    found = read_tellings(one.told_dir(mode), read_stories(one.run.dataset_dir, "validation"), square)
    return [_cut(telling, lengths[telling.story_id]) for telling in _shared(found, lengths)]


def _shared(tellings: Sequence[Telling], lengths: Mapping[str, int]) -> list[Telling]:
    return sorted((one for one in tellings if one.story_id in lengths), key=lambda one: one.story_id)


def _cut(telling: Telling, length: int) -> Telling:
    told = tuple(pair for pair in telling.told if pair.index <= length)
    return replace(telling, told=told, reference=tuple(pair for pair in telling.reference if pair.index <= length))
