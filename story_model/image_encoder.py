"""Image encoder: a vision transformer whose attention pooling gives a picture as a grid of feature vectors.

Qwen-VL's encoder, with its parameter names and, in state dicts, its per-head interleaved query-key-value projection,
so that its weights load as they are. Letters: B batch, N patches, W width of the transformer, Q pooled features,
D their width.
"""

import math
from collections.abc import MutableMapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from story_model.resampler import Resampler, resize_grid

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

_POSITIONS = 16
_EPS = 1e-6


class ImageEncoder(nn.Module):
    """Vision transformer with attention pooling: normalised pixels -> `num_queries` features."""

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: float,
        num_queries: int,
        output_dim: int,
        pool_heads: int,
    ) -> None:
        """Set up the network; sizes as in `config.ImageEncoderConfig`."""
        super().__init__()
        self.image_size = image_size
        self.conv1 = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.positional_embedding = nn.Parameter(torch.randn(_POSITIONS**2, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width, eps=_EPS)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.ModuleList(_Block(width, heads, int(width * mlp_ratio)) for _ in range(layers))}
        )
        self.attn_pool = Resampler(math.isqrt(num_queries), output_dim, pool_heads, kv_dim=width, eps=_EPS)
        self.ln_post = nn.LayerNorm(output_dim, eps=_EPS)
        self.proj = nn.Parameter(torch.randn(output_dim, output_dim) * output_dim**-0.5)

    def forward(self, pixels_B3HH: Tensor) -> Tensor:
        """Encode pixels normalised by `MEAN` and `STD`, (B, 3, image_size, image_size), to features (B, Q, D)."""
        x_BNW = self.conv1(pixels_B3HH).flatten(2).transpose(1, 2)
        x_BNW = self.ln_pre(x_BNW + resize_grid(self.positional_embedding, x_BNW.shape[1]))
        for block in cast(nn.ModuleList, self.transformer["resblocks"]):
            x_BNW = block(x_BNW)
        return self.ln_post(self.attn_pool(x_BNW)) @ self.proj

    def of_nothing(self) -> Tensor:
        """Give the features (1, Q, D) of an all-zero input: what SEED-Story takes for no picture."""
        features: Tensor = self(self.proj.new_zeros(1, 3, self.image_size, self.image_size))
        return features


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = _Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})

    def forward(self, x_BNW: Tensor) -> Tensor:
        x_BNW = x_BNW + self.attn(self.ln_1(x_BNW))
        return x_BNW + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x_BNW))))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = _QueryKeyValue(width, heads)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BNW: Tensor) -> Tensor:
        q, k, v = self.in_proj(x_BNW).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _QueryKeyValue(nn.Linear):
    """Projection to the queries, keys and values of all heads.

    Its rows are published head by head, and inside a head query, key, value. State dicts hold them so; the parameters
    hold all queries, then all keys, then all values. `state_dict()` therefore gives copies of them, not the parameters.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, 3 * width)
        self.heads = heads
        self.register_load_state_dict_pre_hook(_take_published_rows)
        self.register_state_dict_post_hook(_give_published_rows)
        # Fresh numbers count as published ones: a seed means the same network whatever the layout in memory.
        self.load_state_dict(dict(self.named_parameters()))


# Functions, not methods: torch marks a post-hook by an attribute, and a copied or pickled module takes them along.


def _take_published_rows(module: _QueryKeyValue, state: MutableMapping[str, Any], prefix: str, *_: object) -> None:
    _replace_rows(module, state, prefix, (module.heads, 3))


def _give_published_rows(module: _QueryKeyValue, state: MutableMapping[str, Any], prefix: str, *_: object) -> None:
    _replace_rows(module, state, prefix, (3, module.heads))


def _replace_rows(
    module: _QueryKeyValue, state: MutableMapping[str, Any], prefix: str, groups: tuple[int, int]
) -> None:
    """Put tensors with their groups of rows transposed in the place of the given ones, which stay as they are."""
    for name in ("weight", "bias"):
        rows = state.get(prefix + name)
        # What has another shape, or is no tensor, is left for torch to refuse by name.
        if isinstance(rows, Tensor) and rows.shape[:1] == (module.out_features,):
            state[prefix + name] = rows.unflatten(0, (*groups, -1)).transpose(0, 1).flatten(0, 2)
