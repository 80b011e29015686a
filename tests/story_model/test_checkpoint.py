from pathlib import Path

import pytest
import torch
from torch import nn

from story_model.checkpoint import load_weights, save_tensors, save_weights


def test_weights_come_back_equal(tmp_path: Path) -> None:
    saved, loaded = nn.Linear(3, 2), nn.Linear(3, 2)
    save_weights(saved, tmp_path / "w.safetensors")
    load_weights(loaded, tmp_path / "w.safetensors")
    assert torch.equal(saved.weight, loaded.weight)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "missing ['bias']"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)}, "unknown ['more']"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "of another shape ['weight']"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    save_tensors(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r".") as caught:
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")
    assert message in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Linear(3, 2), path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is damaged"):
        load_weights(nn.Linear(3, 2), path)
