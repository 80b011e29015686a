"""Autoencoders: pictures <-> the latents that the de-tokenizer works on.

`SdxlAutoencoder` is SD-XL's own, pretrained. `LinearAutoencoder` stands in for it where no pretrained one is at hand:
principal components of square patches, fitted in closed form; its latents are scaled by one number to unit variance
over all channels, so that the first components stay the large ones. Letters: B pictures, C latent channels, H and W
sides.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional as F


class LinearAutoencoder(nn.Module):
    """Pictures in [-1, 1] <-> latents of a `factor` times smaller grid."""

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, latent_channels: int, factor: int) -> None:
        """Set up an autoencoder that is yet to be fitted or loaded."""
        super().__init__()
        self.factor = factor
        self.register_buffer("mean", torch.zeros(3 * factor**2))
        self.register_buffer("basis", torch.zeros(latent_channels, 3 * factor**2))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, pictures_B3HW: Tensor) -> Tensor:
        """Give latents (B, C, H / factor, W / factor)."""
        patches = F.pixel_unshuffle(pictures_B3HW, self.factor) - self.mean[:, None, None]
        return torch.einsum("bphw,cp->bchw", patches, self.basis) / self.scale

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Give pictures, clipped to [-1, 1]."""
        patches = torch.einsum("bchw,cp->bphw", latents_BCHW * self.scale, self.basis) + self.mean[:, None, None]
        return F.pixel_shuffle(patches, self.factor).clamp(-1, 1)

    @torch.no_grad()
    def fit(self, pictures_B3HW: Tensor) -> None:
        """Find the components that carry most of the pictures' variance."""
        patches = F.pixel_unshuffle(pictures_B3HW, self.factor).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = patches.mean(0)
        _, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean))
        basis = vectors.flip(1)[:, : len(self.basis)].T
        # An eigenvector's sign is arbitrary; fixed here, so that two fits agree.
        basis = basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()
        self.mean.copy_(mean)
        self.basis.copy_(basis)
        self.scale.copy_(((patches - mean) @ basis.T).std())


class SdxlAutoencoder(nn.Module):
    """SD-XL's variational autoencoder, its weights named as in the `vae/` folder that SD-XL is published with.

    It computes in float32 whatever is asked of it, by `.half()` or `autocast`: its activations overflow in float16.
    Pictures go through one by one: at 1024 pixels the activations of a single one take gigabytes.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        """Take over the parts of an `AutoencoderKL`; they keep their names."""
        super().__init__()
        self.factor: int = 2 ** (len(vae.config.block_out_channels) - 1)
        self.scaling_factor: float = vae.config.scaling_factor
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv
        self.post_quant_conv = vae.post_quant_conv
        self.decoder = vae.decoder
        self.float()

    def encode(self, pictures_B3HW: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Give latents (B, C, H / factor, W / factor), scaled to about unit variance.

        Without a generator they are the distribution's mode, so that a picture that is encoded once has one answer;
        with one they are a sample, as SEED-Story draws anew at each step.
        """
        return torch.cat([self._encode_one(picture, generator) for picture in pictures_B3HW.float().split(1)])

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Give pictures, clipped to [-1, 1]."""
        return torch.cat([self._decode_one(latents) for latents in latents_BCHW.float().split(1)])

    def _encode_one(self, picture_13HW: Tensor, generator: torch.Generator | None) -> Tensor:
        with torch.autocast(picture_13HW.device.type, enabled=False):
            posterior = DiagonalGaussianDistribution(self.quant_conv(self.encoder(picture_13HW)))
        latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
        return latents * self.scaling_factor

    def _decode_one(self, latents_1CHW: Tensor) -> Tensor:
        with torch.autocast(latents_1CHW.device.type, enabled=False):
            picture: Tensor = self.decoder(self.post_quant_conv(latents_1CHW / self.scaling_factor))
        return picture.clamp(-1, 1)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:  # noqa: ANN401 - torch's own
        """Load weights; those of a file in half precision are widened, be they assigned as they are."""
        found = super().load_state_dict(state_dict, strict, assign)
        self.float()
        return found

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SdxlAutoencoder":
        """Move to a device as asked, and stay float32; nothing is rounded on the way."""

        def moved(tensor: Tensor) -> Tensor:
            asked = fn(tensor)
            return asked if asked.dtype == torch.float32 else tensor.to(asked.device, torch.float32)

        super()._apply(moved, recurse)
        return self


Autoencoder = LinearAutoencoder | SdxlAutoencoder
"""Either: `factor`, `encode` and `decode`, pictures in [-1, 1]."""
