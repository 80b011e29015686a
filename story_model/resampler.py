"""Cross-attention resampler: a fixed number of learned queries look at a set of features of any number.

One class serves three places, as in SEED-Story: the pooling of the image encoder, and the ways of pictures into and
out of the language model. Letters in tensor names: B batch, L features looked at, Q queries, D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Resampler(nn.Module):
    """One layer of cross-attention from a square grid of learned queries, with fixed 2-D sine positions."""

    def __init__(self, grid_size: int, dim: int, heads: int, *, kv_dim: int | None = None, eps: float = 1e-5) -> None:
        """Set up `grid_size ** 2` queries of width `dim`; features of another width `kv_dim` are projected."""
        super().__init__()
        self.grid_size = grid_size
        self.pos_embed = nn.Parameter(sincos_positions(dim, grid_size), requires_grad=False)
        self.query = nn.Parameter(torch.randn(grid_size**2, dim) * 0.02)
        self.kv_proj = nn.Identity() if kv_dim in (None, dim) else nn.Linear(kv_dim or dim, dim, bias=False)
        self.attn = _CrossAttention(dim, heads)
        self.ln_q = nn.LayerNorm(dim, eps=eps)
        self.ln_kv = nn.LayerNorm(dim, eps=eps)

    def forward(self, features_BLD: Tensor) -> Tensor:
        """Map features (B, L, kv_dim), L a square number, to (B, grid_size ** 2, dim)."""
        kv_BLD = self.ln_kv(self.kv_proj(features_BLD))
        positions_LD = resize_grid(self.pos_embed, kv_BLD.shape[1])
        return self.attn(self.ln_q(self.query) + self.pos_embed, kv_BLD + positions_LD, kv_BLD)


class _CrossAttention(nn.Module):
    """Attention of the same queries to each row of a batch.

    Parameters, their names and their fresh values are those of `nn.MultiheadAttention`. That one puts the sequence
    first, which costs copies of a batch, and projects the queries once a row.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query_QD: Tensor, key_BLD: Tensor, value_BLD: Tensor) -> Tensor:
        given = (query_QD[None], key_BLD, value_BLD)
        projections = zip(given, self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x, weight, bias in projections
        )
        # Copied, for not every fused kernel takes a batch whose rows are the same memory.
        q = q.expand(len(k), -1, -1, -1).contiguous()
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def resize_grid(table: Tensor, num_positions: int) -> Tensor:
    """Resize a position table of a square grid (G*G, D) to another square number of positions, bicubically."""
    if len(table) == num_positions:
        return table
    old, new = math.isqrt(len(table)), math.isqrt(num_positions)
    grid = table.float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)


def sincos_positions(dim: int, grid_size: int) -> Tensor:
    """Give the fixed 2-D positions (grid_size ** 2, dim) of masked autoencoders: half the width a coordinate.

    As there, the first half holds the column and the second the row.
    """
    row, column = torch.meshgrid(torch.arange(grid_size), torch.arange(grid_size), indexing="ij")
    frequency = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    angles = [coordinate.flatten()[:, None].double() * frequency for coordinate in (column, row)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()
