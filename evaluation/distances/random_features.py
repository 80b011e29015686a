"""Pictures -> feature vectors by a fixed random convolutional network, for distances where no trained one is at hand.

Random filters followed by rectification and pooling keep colour, contrast and coarse texture by region. They know
nothing of what pictures mean, so distances in them are named after them and are comparable only with each other.
The weights come from NumPy's seeded generator, not from a file: every machine builds the same network.
"""

import hashlib
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluation.distances.features import Features
from evaluation.pictures import Pixels

EXTRACTOR = "random-conv-64px-1"
"""Goes with every number measured in these features; changes whenever the network does."""
FEATURE_DIM = 256
_SEED = 20_240_711
_WIDTHS = (3, 24, 48, 48)
_BATCH = 128


class RandomFeatures(nn.Module):
    """Three frozen convolutions; averages and spreads of the responses in each quadrant, mixed down.

    pictures [N, 3, S, S] in -1..1 -> [N, FEATURE_DIM].
    """

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(_SEED)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=1, padding=1, padding_mode="reflect")
            for before, after in pairwise(_WIDTHS)
        )
        self.mix = nn.Linear(2 * 4 * sum(_WIDTHS[1:]), FEATURE_DIM, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                scale = (2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.1
                values = rng.standard_normal(tuple(parameter.shape)) * scale
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features of a batch."""
        hidden, found = pictures, []
        for conv in self.convs:
            hidden = functional.relu(conv(hidden))
            average = functional.adaptive_avg_pool2d(hidden, 2)
            spread = (functional.adaptive_avg_pool2d(hidden.square(), 2) - average.square()).clamp_min(1e-6).sqrt()
            found += [average.flatten(1), spread.flatten(1)]
            hidden = functional.avg_pool2d(hidden, 2)
        return self.mix(torch.cat(found, dim=1))


def extract(pictures: Pixels, network: RandomFeatures) -> Features:
    """Compute the features of uint8 pictures [N, S, S, 3]."""
    found = [network(as_tensor(pictures[start : start + _BATCH])) for start in range(0, len(pictures), _BATCH)]
    if not found:
        return np.empty((0, FEATURE_DIM))
    return torch.cat(found).double().numpy()


def fingerprint(network: nn.Module) -> str:
    """Hash the weights, to show that two numbers were measured with one network."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()[:16]


def as_tensor(pictures: Pixels) -> Tensor:
    """Turn uint8 pictures [N, S, S, 3] into float [N, 3, S, S] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
