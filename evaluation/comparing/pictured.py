"""What a comparison needs the told pictures for: distances from the dataset's, strips for readers, the judge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evaluation.comparing.comparison import Row
from evaluation.comparing.distances import distance_row
from evaluation.comparing.sides import Evaluated
from evaluation.comparing.starts import Pairing
from evaluation.distances.extraction import story_features
from evaluation.distances.feature_cache import FeatureCache
from evaluation.distances.networks import open_networks
from evaluation.pictures import Telling, read_tellings
from evaluation.scores import network_name
from story_model.config import Settings
from story_model.dataset import read_stories
from story_model.device import chosen_device
from story_model.pixels import detokenizer_square

Tellings = tuple[list[Telling], list[Telling]]
"""Of the left and the right run, the same stories in the same order, cut to what both told."""
MEANING = "Fréchet distance of the told pictures from the dataset's."


def paired_tellings(left: Evaluated, right: Evaluated, pairing: Pairing, mode: str) -> Tellings:
    """Read both runs' paired stories, each cut at the last segment that both have.

    Raises:
        ValueError: a story or one of its pictures cannot be read.
    """
    ours, theirs = (_tellings(one, mode, pairing.lengths) for one in (left, right))
    return ours, theirs


def distance_rows(tellings: Mapping[str, Tellings], right: Evaluated) -> list[Row]:
    """Compare the distances from the dataset's pictures in every mode, in every network of the newer run's settings.

    Raises:
        ValueError: a network's file does not hold what the configuration says.
    """
    evaluate, cache = right.config.evaluate, FeatureCache(right.run.seen_dir)
    square = detokenizer_square(right.config.model.detokenizer)
    rows = []
    device = chosen_device(Settings().device)
    for network in open_networks(evaluate.networks, evaluate.distances, device=device):
        for mode, sides in tellings.items():
            told, known = [], []
            for side in sides:
                told.append(story_features([one.told for one in side], network, cache, square=square))
                known.append(story_features([one.reference for one in side], network, cache, square=square))
            row = Row(
                mode=mode,
                measure=f"frechet_{network_name(network.name, network.protocol)}",
                better="lower",
                meaning=MEANING,
            )
            draws, seed = evaluate.distances.resamples, right.config.seed
            rows.append(distance_row(row, told[0], told[1], (known[0], known[1]), resamples=draws, seed=seed))
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
