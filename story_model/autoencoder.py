"""Linear autoencoder: what stands in for SD-XL's VAE where no pretrained one is at hand.

Principal components of square patches, fitted in closed form; latents are scaled by one number to unit variance over
all channels, so that the first components stay the large ones. Letters: B pictures, C latent channels, H and W sides.
"""

import torch
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
