"""What all systems of a run are measured with, each network opened once and shown each picture once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from evaluation.distances.extraction import story_features
from evaluation.distances.feature_cache import FeatureCache
from evaluation.distances.networks import FeatureNetwork, open_networks
from evaluation.distances.random_features import RandomFeatures, extract
from evaluation.measures.cartoon_world import ASPECTS, Aspect, names_of
from evaluation.measures.clip import Clip
from evaluation.measures.copies import Gallery
from evaluation.measures.features import (
    Extract,
    Rows,
    StoryFeatures,
    by_images,
    by_pixels,
    features_of,
    remembering,
    standard,
    standardised,
    unit_length,
)
from evaluation.measures.probe import Probe
from evaluation.measures.style import channel_statistics
from evaluation.pictures import Pair, Pixels, Telling
from story_model.evaluate_config import EvaluateConfig
from story_model.pixels import Square
from story_model.schema import TrueWorld


@dataclass
class Ruler:
    """What all systems of a run are measured with; networks look at each picture once."""

    config: EvaluateConfig
    square: Square
    """Of told pictures; the dataset's become it too."""
    world: TrueWorld | None
    """Of the drawn series."""
    probe: Probe | None
    """What knows its characters and places by sight."""
    keyframes: Pixels
    """Training pictures, to find copies of them: [N, side, side, 3]."""
    tellings: Sequence[Telling]
    """Of one system that told every story: random features are standardised by the dataset's pictures behind them."""
    features_dir: Path
    """Of what networks make of pictures; it outlives an evaluation."""
    trained_length: int
    """Index of the last pair in training's stories."""
    seed: int
    device: torch.device
    """That the user's networks compute on."""
    cache: FeatureCache = field(init=False)

    def __post_init__(self) -> None:
        self.cache = FeatureCache(self.features_dir)

    @cached_property
    def networks(self) -> list[FeatureNetwork]:
        """What distances are measured in, the random features first."""
        return open_networks(self.config.networks, self.config.distances, device=self.device)

    @cached_property
    def clip(self) -> Clip | None:
        """What knows pictures and texts, where the user has given it."""
        folder = self.config.networks.clip
        return Clip(Path(folder), device=str(self.device)) if folder is not None else None

    @property
    def names(self) -> dict[Aspect, list[str]]:
        """Who and what may be named, where that is known."""
        return {aspect: names_of(self.world, aspect) for aspect in ASPECTS} if self.world else {}

    @cached_property
    def digests(self) -> dict[str, str]:
        """What was measured with: weights' digests by the network's name."""
        found = {network.name: network.digest for network in self.networks}
        return found | ({"clip": self.clip.fingerprint} if self.clip is not None else {})

    @cached_property
    def gallery(self) -> Gallery | None:
        """Training pictures among which copies are looked for."""
        return Gallery(self.keyframes) if len(self.keyframes) else None

    @cached_property
    def gallery_features(self) -> Rows:
        """Random features of these pictures, standardised as stories' are, of unit length."""
        rows = extract(self.keyframes, RandomFeatures())
        return standard(_base(self.seen, self.tellings))(rows)

    @cached_property
    def seen(self) -> Extract:
        """Random features of pictures."""
        network = RandomFeatures()
        return remembering(by_pixels(lambda pixels: extract(pixels, network)))

    @cached_property
    def styled(self) -> Extract:
        """Statistics of pictures' early channels."""
        network = RandomFeatures()
        return remembering(by_pixels(lambda pixels: channel_statistics(pixels, network)))

    @property
    def recognised(self) -> Extract | None:
        """Whom the probe sees: probabilities of the characters."""
        probe = self.probe
        return None if probe is None else by_pixels(lambda pixels: probe.probabilities(pixels)[0])

    @cached_property
    def clipped(self) -> Extract | None:
        """CLIP's features of pictures."""
        return remembering(by_images(self.clip.pictures, self.square)) if self.clip is not None else None

    def looked_at(self, tellings: Sequence[Telling], extract_: Extract) -> list[StoryFeatures]:
        """See stories through an untrained network, standardised by the dataset's pictures."""
        base = _base(extract_, self.tellings)
        pictures = [pair for telling in tellings for pair in telling.pictured]
        if pictures:
            extract_(pictures)  # in large batches; each is remembered
        return standardised(features_of(tellings, extract_), base)

    def trained_features(self, tellings: Sequence[Telling]) -> dict[str, list[StoryFeatures]]:
        """See stories through the user's networks, by the network's short name."""
        found = {}
        if self.clipped is not None:
            found["clip"] = unit_length(features_of(tellings, self.clipped))
        dino = next((network for network in self.networks if network.name == "dinov2"), None)
        if dino is not None:

            def rows(pairs: Sequence[Pair]) -> Rows:
                return story_features([pairs], dino, self.cache, square=self.square)[0]

            found["dino"] = unit_length(features_of(tellings, rows))
        return found


def _base(extract_: Extract, tellings: Sequence[Telling]) -> Rows:
    rows = extract_([pair for telling in tellings for pair in (telling.opening, *telling.reference)])
    return rows.astype(float)
