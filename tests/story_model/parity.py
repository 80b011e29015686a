"""The published system's inputs and outputs, read from files; `STORY_PARITY_DIR` names a folder of others."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from torch import Tensor, nn

from story_model.resampler import Resampler

PARITY_DIR = Path(os.environ.get("STORY_PARITY_DIR", Path(__file__).parents[1] / "data" / "parity"))
TOLERANCE = 1e-5

if not PARITY_DIR.is_dir():
    pytest.skip(f"no folder {PARITY_DIR}", allow_module_level=True)


class Fixture:
    """One file of reference tensors."""

    def __init__(self, name: str) -> None:
        with safe_open(PARITY_DIR / f"{name}.safetensors", "pt") as file:
            self.config = json.loads(file.metadata()["config"])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict

    def group(self, prefix: str) -> dict[str, Tensor]:
        start = f"{prefix}."
        return {key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)}

    def load(self, module: nn.Module) -> None:
        module.load_state_dict(self.group("state"), strict=True)


def assert_equal(ours: Tensor, reference: Tensor) -> None:
    error = (ours - reference).norm() / reference.norm().clamp_min(1e-12)
    assert error < TOLERANCE, f"relative error {error:.1e}"


def resamplers_of(config: dict[str, Any]) -> dict[str, Resampler]:
    width = config["llama"]["hidden_size"]
    heads = config.get("num_heads", config["llama"]["num_attention_heads"])
    sides = ("input_resampler", "output_resampler")
    return {side: Resampler(config[side]["grid_size"], width, config[side].get("num_heads", heads)) for side in sides}
