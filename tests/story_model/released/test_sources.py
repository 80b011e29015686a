import json
import os
from pathlib import Path

import pytest
from published import ENCODER, Published

from story_model.released.sources import locate

UNET = "stable-diffusion-xl-base-1.0/unet"


def write(path: Path, data: bytes = b"values") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_full_precision_is_taken_before_half(tmp_path: Path) -> None:
    write(tmp_path / UNET / "diffusion_pytorch_model.fp16.safetensors")
    write(tmp_path / UNET / "diffusion_pytorch_model.bin")
    wanted = write(tmp_path / UNET / "diffusion_pytorch_model.safetensors")
    assert locate(tmp_path, "SD-XL UNet").files == (wanted,)


def test_an_index_brings_its_shards_along(tmp_path: Path) -> None:
    folder = tmp_path / "Llama-2-7b-hf"
    shards = [write(folder / f"model-0000{number}-of-00002.safetensors") for number in (1, 2)]
    write(folder / "pytorch_model.bin.index.json")
    places = {f"tensor {number}": shard.name for number, shard in enumerate(shards)}
    index = write(folder / "model.safetensors.index.json", json.dumps({"weight_map": places}).encode())
    assert locate(tmp_path, "LLaMA").files == (index, *shards)


def test_a_damaged_index_is_said(tmp_path: Path) -> None:
    write(tmp_path / "Llama-2-7b-hf" / "model.safetensors.index.json", b"{")
    with pytest.raises(ValueError, match="no index of weights; download it again"):
        locate(tmp_path, "LLaMA")


def test_the_encoder_is_found_inside_qwen_vl_as_well(published: Published) -> None:
    published.write_qwen()
    assert locate(published.root, "image encoder").path.parent.name == "Qwen-VL-Chat"
    published.write_encoder()
    assert locate(published.root, "image encoder").path == published.root / ENCODER


def test_a_safetensors_file_may_stand_in_the_place_of_a_pickle(tmp_path: Path) -> None:
    path = write(tmp_path / ENCODER).with_suffix(".safetensors")
    (tmp_path / ENCODER).rename(path)
    assert locate(tmp_path, "image encoder").path == path


@pytest.mark.parametrize("size", [100, 3 << 20, 20 << 20])
def test_a_file_is_known_by_what_is_in_it(tmp_path: Path, size: int) -> None:
    data = bytearray(os.urandom(size))
    path = write(tmp_path / ENCODER, data)
    before = locate(tmp_path, "image encoder").digest()
    os.utime(path, (1, 1))
    assert locate(tmp_path, "image encoder").digest() == before
    found = {before}
    for place in (0, size // 2, size - 1):
        # A training changes values all over a file; a stretch of them stands for that here.
        first = max(0, min(place, size - (100 << 10)))
        changed = data[:first] + bytes(100 << 10)[: size - first] + data[first + (100 << 10) :]
        path.write_bytes(changed)
        found.add(locate(tmp_path, "image encoder").digest())
    path.write_bytes(data[:-1])
    found.add(locate(tmp_path, "image encoder").digest())
    assert len(found) == (5 if size > 100 else 3)
