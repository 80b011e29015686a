"""Is a story drawn in one hand? Style by statistics that do not know where in the picture anything is.

Means and spreads of a network's early channels are what style transfer calls style (Huang and Belongie 2017, section
5); untrained filters carry texture as well (Ustyuzhaninov et al. 2016). Beside them stands the plain histogram of
colours. Both are read beside the dataset's own value.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evaluation.distances.random_features import RandomFeatures, as_tensor
from evaluation.measures.features import Rows, StoryFeatures
from evaluation.measures.likeness import likeness_of
from evaluation.measures.measure import Values
from evaluation.pictures import Pixels, Telling, stack

_LAYERS = 2
_LEVELS = 4
"""Of each colour channel in a histogram."""
_BATCH = 128
_KINDS = ("opening", "within", "reference")


@torch.inference_mode()
def channel_statistics(pictures: Pixels, network: RandomFeatures) -> Rows:
    """Average and spread each early channel over the picture: uint8 [N, S, S, 3] -> [N, 2 x channels]."""
    if not len(pictures):
        return channel_statistics(np.zeros((1, *pictures.shape[1:]), np.uint8), network)[:0]
    starts = range(0, len(pictures), _BATCH)
    return np.concatenate([_statistics(as_tensor(pictures[start : start + _BATCH]), network) for start in starts])


def style_of(stories: Sequence[StoryFeatures]) -> dict[str, Values]:
    """Measure the likeness of style of one system's pictures: to the opening, within the story, to the dataset's.

    Args:
        stories: `channel_statistics`, standardised.
    """
    found = likeness_of(stories, "style")
    return {f"style_{kind}": found[f"style_{kind}"] for kind in _KINDS}


def colours_of(tellings: Sequence[Telling]) -> dict[str, Values]:
    """Measure the share of colours in common: with the opening, and on average with the story's other pictures."""
    opening: dict[str, list[tuple[int, float]]] = {}
    within: dict[str, list[tuple[int, float]]] = {}
    for telling in tellings:
        histograms = colour_histograms(stack([telling.opening, *telling.told]))
        shared = np.minimum(histograms[:, None], histograms[None]).sum(axis=2)
        indices = [pair.index for pair in telling.pictured]
        opening[telling.story_id] = [(index, float(at)) for index, at in zip(indices, shared[1:, 0], strict=True)]
        others = (shared[1:, 1:].sum(axis=1) - 1) / (len(indices) - 1) if len(indices) > 1 else []
        within[telling.story_id] = [(index, float(mean)) for index, mean in zip(indices, others, strict=False)]
    return {"colours_opening": opening, "colours_within": within}


def colour_histograms(pictures: Pixels) -> NDArray[np.float64]:
    """Count the shares of 4 x 4 x 4 colours in uint8 pictures [N, S, S, 3]: [N, 64]; the sum of minima of two is their
    intersection (Swain and Ballard 1991), 1 for equal ones.
    """
    bins = _LEVELS**3
    level = pictures.astype(np.int64) * _LEVELS // 256
    which = (level @ np.array([_LEVELS**2, _LEVELS, 1])).reshape(len(pictures), pictures.shape[1] * pictures.shape[2])
    counts = np.stack([np.bincount(row, minlength=bins) for row in which]) if len(which) else np.empty((0, bins))
    shares: NDArray[np.float64] = counts / max(which.shape[1], 1)
    return shares


def _statistics(hidden: Tensor, network: RandomFeatures) -> Rows:
    parts = []
    for conv in network.convs[:_LAYERS]:
        hidden = functional.relu(conv(hidden))
        parts += [hidden.mean(dim=(2, 3)), hidden.std(dim=(2, 3), correction=0)]
        hidden = functional.avg_pool2d(hidden, 2)
    return torch.cat(parts, dim=1).double().numpy()
