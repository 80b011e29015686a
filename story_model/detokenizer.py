"""De-tokenizer: image features -> picture, an SD-XL UNet conditioned through a Perceiver resampler.

SEED-Story's adapter with its parameter names. The resampler gives what SD-XL's two text encoders would: token
embeddings for the cross-attention and one pooled embedding. Letters: B batch, F features of a picture, Q condition
tokens, D width.
"""

import math
from typing import Literal, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F


class Detokenizer(nn.Module):
    """The UNet and its resampler."""

    def __init__(self, unet: UNet2DConditionModel, resampler: nn.Module) -> None:
        """Take the parts; `resampler` is SEED-Story's, or whatever else makes a condition of features."""
        super().__init__()
        self.unet = unet
        self.resampler = resampler

    def forward(self, noisy_latents: Tensor, timesteps: Tensor, features_BFD: Tensor, time_ids: Tensor) -> Tensor:
        """Predict the noise (or v) of latents (B, C, H, W) at timesteps (B,), given features and size ids (B, 6)."""
        prompt, pooled = self.resampler(features_BFD)
        return self.denoise(noisy_latents, timesteps, prompt, pooled, time_ids)

    def denoise(
        self, noisy_latents: Tensor, timesteps: Tensor, prompt: Tensor, pooled: Tensor, time_ids: Tensor
    ) -> Tensor:
        """Predict from a condition computed before: prompt (B, Q, D), pooled (B, P)."""
        added = {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(noisy_latents, timesteps, encoder_hidden_states=prompt, added_cond_kwargs=added).sample


class PerceiverResampler(nn.Module):
    """Image features -> condition tokens (B, Q, output1 + output2) and pooled embedding (B, output2)."""

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        dim_head: int,
        heads: int,
        num_queries: int,
        embedding_dim: int,
        output1_dim: int,
        output2_dim: int,
        ff_mult: int = 4,
        variant: Literal["seed-story", "seed-x"] = "seed-story",
        input_scale: float = 1.0,
    ) -> None:
        """Set up `depth` layers of width `dim` that read features of width `embedding_dim`."""
        super().__init__()
        self.variant = variant
        self.latents = nn.Parameter(torch.randn(1, num_queries, dim) * dim**-0.5)
        self.proj_in = nn.Linear(embedding_dim, dim)
        with torch.no_grad():
            self.proj_in.weight.mul_(input_scale)
        self.norm_out = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([_PerceiverAttention(dim, dim_head, heads), _feed_forward(dim, ff_mult)])
            for _ in range(depth)
        )
        self.unet_proj_1 = nn.Linear(dim, output1_dim)
        self.unet_proj_2 = nn.Linear(dim, output2_dim)
        self.unet_attnpool = _AttentionPool(num_queries, dim, heads, output2_dim)

    def forward(self, features_BFD: Tensor) -> tuple[Tensor, Tensor]:
        """Resample features of one picture each."""
        x = self.proj_in(self._prepared(features_BFD))
        latents = self.latents.expand(len(x), -1, -1)
        for layer in self.layers:
            attention, feed_forward = cast(nn.ModuleList, layer)
            latents = attention(x, latents) + latents
            latents = feed_forward(latents) + latents
        hidden = self.norm_out(latents)
        return torch.cat([self.unet_proj_1(hidden), self.unet_proj_2(hidden)], dim=-1), self.unet_attnpool(hidden)

    def _prepared(self, features_BFD: Tensor) -> Tensor:
        if self.variant == "seed-x":
            side = math.isqrt(features_BFD.shape[1])
            grid = features_BFD.transpose(1, 2).unflatten(2, (side, side))
            return F.avg_pool2d(grid, 2).flatten(2).transpose(1, 2)
        # Normalised over the tokens of a picture (dim 1), channel by channel: released weights were trained so.
        return F.normalize(features_BFD)


class _PerceiverAttention(nn.Module):
    def __init__(self, dim: int, dim_head: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, dim_head * heads, bias=False)
        self.to_kv = nn.Linear(dim, dim_head * heads * 2, bias=False)
        self.to_out = nn.Linear(dim_head * heads, dim, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm2(latents)
        k, v = self.to_kv(torch.cat([self.norm1(x), latents], dim=1)).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(latents), k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _feed_forward(dim: int, mult: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, dim * mult, bias=False),
        nn.GELU(),
        nn.Linear(dim * mult, dim, bias=False),
    )


class _AttentionPool(nn.Module):
    """CLIP's attention pooling: the mean token asks all tokens."""

    def __init__(self, num_tokens: int, dim: int, heads: int, output_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(num_tokens + 1, dim) * dim**-0.5)
        self.k_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.c_proj = nn.Linear(dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        q, k, v = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return self.c_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))[:, 0]


def size_ids(side: int, count: int) -> Tensor:
    """Give SD-XL's six size numbers for square pictures, (count, 6).

    Original height and width, crop top and left, target height and width.
    """
    return torch.tensor([[side, side, 0, 0, side, side]], dtype=torch.float32).expand(count, -1)


def train_adaptation_only(detokenizer: Detokenizer) -> None:
    """Let only the resampler and the UNet's key and value projections take gradients (SEED-Story's stage 3)."""
    detokenizer.requires_grad_(False)
    detokenizer.resampler.requires_grad_(True)
    for name, module in detokenizer.unet.named_modules():
        if name.endswith(("to_k", "to_v")):
            module.requires_grad_(True)
