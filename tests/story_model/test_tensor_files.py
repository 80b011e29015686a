import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from story_model.tensor_files import is_finite, open_tensors

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(2.0)}


def write(path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path)
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_file_tells_what_it_holds_and_gives_it(tmp_path: Path, name: str) -> None:
    file = open_tensors(write(tmp_path / name))
    assert {key: info.shape for key, info in file.tensors.items()} == {"a": (2, 3), "b": (4,), "c": ()}
    assert file.tensors["b"].dtype == torch.bfloat16
    for key, value in STATE.items():
        assert torch.equal(file.read(key), value)


def test_shards_are_one_file(tmp_path: Path) -> None:
    save_file({"a": STATE["a"]}, tmp_path / "one.safetensors")
    save_file({"b": STATE["b"]}, tmp_path / "two.safetensors")
    places = {"a": "one.safetensors", "b": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    file = open_tensors(tmp_path)
    assert set(file.tensors) == {"a", "b"}
    assert torch.equal(file.read("b"), STATE["b"])
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(ValueError, match=r"two\.safetensors is missing"):
        _ = open_tensors(tmp_path).tensors


def test_an_index_may_not_point_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')
    with pytest.raises(ValueError, match="outside its folder"):
        _ = open_tensors(tmp_path).tensors


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm",)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (1 << 20))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("m.bin", lambda path: torch.save({"a": torch.ones(1), "x": Harmful()}, path), "besides tensors"),
        ("m.bin", lambda path: torch.save({"a": torch.ones(1), "step": 3}, path), "besides tensors"),
        ("m.bin", lambda path: torch.save([torch.ones(1)], path), "no named tensors"),
        ("m.bin", lambda path: torch.save({"a": torch.ones(1, dtype=torch.int8)}, path), "int8"),
        ("m.bin", _bomb, "compressed"),
        ("m.bin", lambda path: path.write_bytes(b"not a zip"), "damaged"),
        ("m.bin", lambda path: path.write_bytes(write(path).read_bytes()[:-400]), "damaged"),
        ("m.safetensors", lambda path: path.write_bytes(write(path).read_bytes()[:-4]), "damaged"),
        ("m.safetensors", lambda path: path.write_bytes(b""), "damaged"),
        ("m.safetensors", lambda path: path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}"), "damaged"),
        ("m.safetensors", lambda path: save_file({"a": torch.ones(1, dtype=torch.int32)}, path), "I32"),
        ("m.txt", lambda path: path.write_text("hello"), "no file of weights"),
    ],
)
def test_whatever_is_no_file_of_weights_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: object, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    make(path)
    with pytest.raises(ValueError, match=says) as caught:
        _ = open_tensors(path).tensors
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_an_empty_folder_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no weights"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_value_that_is_no_number_is_seen(value: float, dtype: torch.dtype) -> None:
    tensor = torch.zeros(3, 5, dtype=dtype)
    assert is_finite(tensor)
    tensor[1, 2] = value
    assert not is_finite(tensor)
