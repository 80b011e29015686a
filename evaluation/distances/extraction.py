"""From stories of pictures to stories of features, each picture once."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from evaluation.distances.feature_cache import FeatureCache, Row, picture_key
from evaluation.distances.features import Features
from evaluation.distances.networks import FeatureNetwork, features_of
from evaluation.pictures import Pair
from story_model.pixels import Square


def story_features(
    stories: Sequence[Sequence[Pair]], network: FeatureNetwork, cache: FeatureCache, *, square: Square
) -> list[Features]:
    """Compute the features of each story's pictures, [n_k, D]; pairs without a picture are left out.

    Args:
        stories: told pairs, or the dataset's.
        network: what computes them.
        cache: features that are known are taken from it, new ones go into it.
        square: what told pictures are and the dataset's become, where the network takes whole pictures.

    Raises:
        ValueError: a picture cannot be decoded.
    """
    pairs = [pair for story in stories for pair in story if pair.pixels is not None]
    known = cache.known(network)
    found: dict[str, Row] = {}
    keys: list[str] = []
    bar = tqdm(pairs, desc=network.key, unit="picture", mininterval=2, delay=5, leave=False)
    for batch in _batches(_new_pictures(bar, network, square, known, keys), network.batch):
        rows = features_of([picture for _, picture in batch], network).numpy()
        found.update(zip((key for key, _ in batch), rows, strict=True))
    cache.add(network, found)
    rows_of = [found[key] if key in found else known[key] for key in keys]
    flat = np.stack(rows_of).astype(np.float64) if rows_of else np.empty((0, _width(known)))
    counts = [sum(pair.pixels is not None for pair in story) for story in stories]
    return np.split(flat, np.cumsum(counts)[:-1])


def _new_pictures(
    pairs: Iterable[Pair], network: FeatureNetwork, square: Square, known: dict[str, Row], keys: list[str]
) -> Iterator[tuple[str, Tensor]]:
    """Open pictures one by one, note their keys, and prepare those that nobody has seen."""
    seen: set[str] = set()
    for pair in pairs:
        assert pair.pixels is not None
        image = Image.fromarray(pair.pixels) if network.at_measured_size else pair.squared(square)
        key = picture_key(image)
        keys.append(key)
        if key not in known and key not in seen:
            seen.add(key)
            yield key, network.prepare(image)


def _batches(pictures: Iterator[tuple[str, Tensor]], size: int) -> Iterator[list[tuple[str, Tensor]]]:
    while batch := list(islice(pictures, size)):
        yield batch


def _width(rows: dict[str, Row]) -> int:
    return len(next(iter(rows.values()))) if rows else 0
