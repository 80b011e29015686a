from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from story_model.checkpoint import assign_weights, load_weights, save_tensors, save_weights, write_tensors
from story_model.tensor_files import TensorInfo

IN_HALF = {"device": torch.device("cpu"), "dtype": torch.bfloat16}
STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(2.0)}


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
    with pytest.raises(ValueError, match=r".") as caught:
        assign_weights(nn.Linear(3, 2, device="meta"), tmp_path / "w.safetensors", **IN_HALF)
    assert message in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(nn.Linear(3, 2), path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is damaged"):
        load_weights(nn.Linear(3, 2), path)
    with pytest.raises(ValueError, match=r"is damaged .* run the step again"):
        assign_weights(nn.Linear(3, 2, device="meta"), path, **IN_HALF)


def test_a_missing_file_names_the_step_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights at .* run the step that trains them"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"no weights at .* run the step that trains them"):
        assign_weights(nn.Linear(3, 2, device="meta"), tmp_path / "w.safetensors", **IN_HALF)


def test_assigned_weights_are_the_file_s_in_the_wanted_precision(tmp_path: Path) -> None:
    saved, loaded = nn.Linear(3, 2), nn.Linear(3, 2, device="meta").requires_grad_(False)
    save_weights(saved, tmp_path / "w.safetensors")
    assign_weights(loaded, tmp_path / "w.safetensors", **IN_HALF)
    assert torch.equal(loaded.weight, saved.weight.bfloat16())
    assert not loaded.weight.requires_grad


def test_tensors_are_written_in_any_order_and_type(tmp_path: Path) -> None:
    infos = {name: TensorInfo(tuple(tensor.shape), torch.float16) for name, tensor in STATE.items()}
    path = tmp_path / "out.safetensors"
    write_tensors(path, infos, [(name, STATE[name]) for name in ("c", "a", "b")])
    written = load_file(path)
    assert {name: tensor.dtype for name, tensor in written.items()} == dict.fromkeys(STATE, torch.float16)
    for name, tensor in STATE.items():
        assert torch.equal(written[name], tensor.half())


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("story_model.checkpoint.publish", full)
    infos = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in STATE.items()}
    with pytest.raises(ValueError, match="No space left"):
        write_tensors(tmp_path / "out.safetensors", infos, STATE.items())
    assert list(tmp_path.iterdir()) == []
