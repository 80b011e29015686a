"""What the frozen networks make of pictures: read from the feature store, or made anew each time it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from story_model.device import dtype_of
from story_model.manifest import digest_of
from story_model.parts import load_autoencoder, load_image_encoder
from story_model.pixels import Square, detokenizer_square, encoder_square
from training.features import Maker, Store
from training.filling import filled_store
from training.makers import (
    FEATURES,
    LATENTS,
    SIZE_IDS,
    Encode,
    Pictures,
    autoencoder_maker,
    encode_features,
    encode_latents,
    image_encoder_maker,
    square_pictures,
)
from training.steps import Job

Network = Literal["image_encoder", "autoencoder"]


class Encodings(Protocol):
    """Features and latents of pictures by the sha256 of their files."""

    def features(self, digests: Sequence[str]) -> Tensor:
        """Give what the image encoder sees, float32 (N, F, D)."""
        ...

    def latents(self, digests: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give what the de-tokenizer is to paint, float32 (N, C, h, w), and its size numbers (N, 6)."""
        ...


@dataclass(frozen=True)
class StoredEncodings:
    """Encodings that lie in the feature store."""

    stores: Mapping[Network, Store]

    def features(self, digests: Sequence[str]) -> Tensor:
        """Read features."""
        return self.stores["image_encoder"].rows(digests, FEATURES)

    def latents(self, digests: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Read latents and size numbers."""
        store = self.stores["autoencoder"]
        return store.rows(digests, LATENTS), store.rows(digests, SIZE_IDS)


@dataclass(frozen=True)
class FreshEncodings:
    """Encodings that are made anew at each request, as the published training does."""

    pictures: Pictures
    squares: Mapping[Network, Square]
    encoders: Mapping[Network, Encode]

    def features(self, digests: Sequence[str]) -> Tensor:
        """Decode pictures and run the image encoder."""
        return self._encode("image_encoder", digests)[FEATURES]

    def latents(self, digests: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Decode pictures and run the autoencoder."""
        made = self._encode("autoencoder", digests)
        return made[LATENTS], made[SIZE_IDS]

    @torch.no_grad()
    def _encode(self, network: Network, digests: Sequence[str]) -> dict[str, Tensor]:
        load, unique = square_pictures(self.pictures, self.squares[network]), list(dict.fromkeys(digests))
        made = self.encoders[network]([load(digest) for digest in unique])
        rows = [unique.index(digest) for digest in digests]
        return {name: values.float().cpu()[rows] for name, values in made.items()}


def encodings_of(
    job: Job, pictures: Pictures, digests: Sequence[str], networks: Sequence[Network]
) -> tuple[Encodings, dict[str, str]]:
    """Give the encodings of pictures, and why some pictures have none (`train.bad_records=skip`).

    What the store lacks is made first; where it lacks nothing the frozen networks are not even loaded.
    """
    if not job.config.train.features.enabled:
        squares = {network: maker_of(job, network).square for network in networks}
        encoders = {network: _encoder(job, network) for network in networks}
        return FreshEncodings(pictures, {key: square for key, square in squares.items() if square}, encoders), {}
    stores: dict[Network, Store] = {}
    failures: dict[str, str] = {}
    for network in networks:
        stores[network], failed = _filled(job, pictures, digests, network)
        failures |= failed
    return StoredEncodings(stores), failures


def widened(
    encodings: Encodings, job: Job, pictures: Pictures, digests: Sequence[str], networks: Sequence[Network]
) -> tuple[Encodings, dict[str, str]]:
    """Give the encodings of more pictures by the same networks, as `encodings_of`; none is loaded a second time."""
    if isinstance(encodings, FreshEncodings):
        return replace(encodings, pictures=pictures), {}
    return encodings_of(job, pictures, digests, networks)


def maker_of(job: Job, network: Network) -> Maker:
    """Describe what a frozen network of a run keeps of pictures."""
    digest = digest_of(job.folder.part_dir(network))
    if network == "autoencoder":
        return autoencoder_maker(job.config.model, digest)
    precision = job.config.train.stage2.precision
    return image_encoder_maker(job.config.model, f"{digest} {precision}", job.config.train.features.dtype)


def _filled(job: Job, pictures: Pictures, digests: Sequence[str], network: Network) -> tuple[Store, dict[str, str]]:
    model = job.config.model
    square = detokenizer_square(model.detokenizer) if network == "autoencoder" else encoder_square(model.image_encoder)
    return filled_store(
        job,
        maker_of(job, network),
        digests,
        square_pictures(pictures, square),
        lambda: _encoder(job, network),
        desc=f"{network.replace('_', ' ')}: encode pictures",
        count_as="encoded_pictures",
        bad_records=job.config.train.bad_records,
    )


def _encoder(job: Job, network: Network) -> Encode:
    device = job.processes.device
    if network == "autoencoder":
        return encode_latents(load_autoencoder(job.folder, job.config.model, device=device), device)
    dtype = dtype_of(job.config.train.stage2.precision)
    return encode_features(load_image_encoder(job.folder, job.config.model, device=device, dtype=dtype))
