"""What the feature store keeps for a picture: fields, their types, and features of eight bits.

Letters: D features of a vector.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from story_model.tensor_files import TensorInfo

MIN_COSINE = 0.9995
"""Between a feature vector and its stored form of eight bits."""

_LARGEST = 127

Fields = Mapping[str, TensorInfo]
"""What is stored for each key, by name: a row's shape, and the type in which it is stored."""


def scales_of(name: str) -> str:
    """Name the tensor with the scales of a field of eight bits."""
    return f"{name}.scales"


def tensors_of(fields: Fields) -> dict[str, TensorInfo]:
    """List the tensors that hold the fields' rows: those of eight bits come with a scale for each vector."""
    found = dict(fields)
    for name, info in fields.items():
        if info.dtype == torch.int8:
            found[scales_of(name)] = TensorInfo(info.shape[:-1], torch.float32)
    return found


def row_bytes(fields: Fields) -> int:
    """Give what a key takes on the disk."""
    return sum(info.num_bytes for info in tensors_of(fields).values())


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Take memory by way of NumPy, which asks for huge pages: batches of 100 MB are filled four times as fast."""
    room = torch.from_numpy(np.empty(TensorInfo(shape, dtype).num_bytes, np.uint8))
    return room.view(dtype).reshape(shape) if len(room) else torch.empty(shape, dtype=dtype)


def quantised(values: Tensor) -> tuple[Tensor, Tensor]:
    """Round vectors (..., D) to eight bits, int8, by a scale each, float32 (...).

    Raises:
        ValueError: a vector's largest value is so far above the others that these would be lost.
    """
    values = values.float()
    scales = values.abs().amax(-1) / _LARGEST
    rounded = (values / scales.clamp(min=torch.finfo(torch.float32).tiny)[..., None]).round().to(torch.int8)
    cosine = torch.cosine_similarity(restored(rounded, scales), values, dim=-1)
    worst = float(cosine.masked_fill(scales == 0, 1).amin())
    if worst < MIN_COSINE:
        raise ValueError(
            f"eight bits do not hold these features (cosine {worst:.4f} to one of them, {MIN_COSINE} is wanted); "
            "set train.features.dtype=bfloat16"
        )
    return rounded, scales


def restored(values: Tensor, scales: Tensor) -> Tensor:
    """Undo `quantised`, float32 (..., D)."""
    return values * scales[..., None]
