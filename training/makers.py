"""The frozen networks as makers of the feature store: how each one's pictures are loaded, and what is kept of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from PIL import Image
from torch import Tensor

from story_model.autoencoder import Autoencoder
from story_model.config import ModelConfig
from story_model.image_encoder import ImageEncoder
from story_model.pixels import (
    Square,
    SquarePicture,
    decode_square,
    detokenizer_square,
    encoder_square,
    normalised,
    signed,
)
from story_model.tensor_files import TensorInfo
from training.features import Maker

FEATURES = "features"
"""Field (F, D): what the image encoder makes of a picture."""
LATENTS = "latents"
"""Field (C, h, w): what the autoencoder makes of the picture that the de-tokenizer is to paint."""
SIZE_IDS = "size_ids"
"""Field (6,): what SD-XL is told about that picture's size and crop."""

DTYPES = {"bfloat16": torch.bfloat16, "int8": torch.int8}
"""Of stored features, by the configuration's names."""

Encode = Callable[[Sequence[SquarePicture]], Mapping[str, Tensor]]


class Pictures(Protocol):
    """Encoded pictures by the sha256 of their files."""

    def read(self, digest: str) -> bytes:
        """Read one; a ValueError says why that cannot be."""
        ...

    def name(self, digest: str) -> str:
        """Say which one it is, for a person."""
        ...


def image_encoder_maker(model: ModelConfig, digest: str, dtype: Literal["bfloat16", "int8"]) -> Maker:
    """Describe the store of features; `digest` is of the encoder's weights."""
    encoder = model.image_encoder
    fields = {FEATURES: TensorInfo((encoder.num_queries, encoder.output_dim), DTYPES[dtype])}
    return Maker("image-encoder", digest, encoder_square(encoder), fields)


def autoencoder_maker(model: ModelConfig, digest: str) -> Maker:
    """Describe the store of latents; `digest` is of the autoencoder's weights.

    Latents are of about unit variance, for which float16 has eight times bfloat16's resolution.
    """
    detokenizer = model.detokenizer
    side = detokenizer.picture_size // detokenizer.latent_factor
    fields = {
        LATENTS: TensorInfo((detokenizer.latent_channels, side, side), torch.float16),
        SIZE_IDS: TensorInfo((6,), torch.float32),
    }
    return Maker("autoencoder", digest, detokenizer_square(detokenizer), fields)


def square_pictures(pictures: Pictures, square: Square) -> Callable[[str], SquarePicture]:
    """Give a loader of pictures by their sha256; what does not decode is a ValueError that names it."""

    def load(digest: str) -> SquarePicture:
        data = pictures.read(digest)
        try:
            return decode_square(data, square)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{pictures.name(digest)} does not decode ({reason})") from None

    return load


def encode_features(encoder: ImageEncoder) -> Encode:
    """Run the encoder on its own device and at its own precision."""

    def encode(batch: Sequence[SquarePicture]) -> Mapping[str, Tensor]:
        pixels = torch.stack([picture.pixels for picture in batch])
        return {FEATURES: encoder(normalised(pixels).to(encoder.proj))}

    return encode


def encode_latents(autoencoder: Autoencoder, device: torch.device) -> Encode:
    """Run the autoencoder, which is on a device; size numbers go with its latents."""

    def encode(batch: Sequence[SquarePicture]) -> Mapping[str, Tensor]:
        pixels = torch.stack([picture.pixels for picture in batch]).to(device)
        sizes = torch.tensor([picture.size_ids for picture in batch], dtype=torch.float32)
        return {LATENTS: autoencoder.encode(signed(pixels)), SIZE_IDS: sizes}

    return encode
