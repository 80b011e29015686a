"""The networks that distances are measured in: those that the configuration names, and fixed random features always.

A network's name, its way of preparing pictures and its weights' digest go with every number measured in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evaluation.distances import dino, inception_weights, protocols, random_features
from evaluation.pictures import MEASURED_SIDE
from story_model.evaluate_config import DistancesConfig, NetworksConfig

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network, with how pictures enter it."""

    name: str
    protocol: str
    """How a picture is prepared."""
    digest: str
    """Of the weights, in hexadecimal."""
    prepare: Callable[[Image.Image], Tensor]
    """From an RGB picture to the network's input, [3, H, W]."""
    forward: Callable[[Tensor], Tensor]
    """From a batch of these, [N, 3, H, W], to features [N, D]."""
    batch: int
    """Pictures that enter at once."""
    device: torch.device = _CPU
    """Where `forward` computes."""
    at_measured_size: bool = False
    """Whether it takes pictures as `Pair.pixels` has them; else whole, as `Pair.squared` opens them."""

    @property
    def key(self) -> str:
        """Name and way in one: in which distances with another key are never compared."""
        return f"{self.name}/{self.protocol}"


def open_networks(
    networks: NetworksConfig, distances: DistancesConfig, *, device: torch.device = _CPU
) -> list[FeatureNetwork]:
    """Open every network that is configured, the random features first; `device` is the trained ones'.

    Raises:
        ValueError: a file or folder does not hold what the configuration says.
    """
    found = [random_network()]
    if networks.inception is not None:
        forward, digest = inception_weights.open_inception(
            Path(networks.inception), allowed=networks.inception_sha256, device=device
        )
        found += [
            FeatureNetwork(inception_weights.NAME, protocol, digest, protocols.PREPARE[protocol], forward, 32, device)
            for protocol in distances.protocols
        ]
    if networks.dino is not None:
        forward, digest = dino.open_dino(Path(networks.dino), device=device)
        found.append(FeatureNetwork("dinov2", dino.PROTOCOL, digest, dino.prepare, forward, 32, device))
    return found


def random_network() -> FeatureNetwork:
    """Build the fixed random features, that need no file."""
    network = random_features.RandomFeatures()
    return FeatureNetwork(
        random_features.EXTRACTOR,
        "squashed",
        random_features.fingerprint(network),
        partial(_squashed, side=MEASURED_SIDE),
        network,
        batch=128,
        at_measured_size=True,
    )


def _squashed(image: Image.Image, side: int) -> Tensor:
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return random_features.as_tensor(np.array(image)[None])[0]


def features_of(inputs: list[Tensor], network: FeatureNetwork) -> Tensor:
    """Compute features [N, D] of prepared pictures, without gradients, in full precision on a GPU too."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return network.forward(torch.stack(inputs).to(network.device)).float().cpu()
