import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from evaluation.distances.dino import open_dino, prepare
from story_model.manifest import sha256_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny DINOv2 with random weights, as transformers saves it, that learnt on smaller pictures."""
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    folder = tmp_path_factory.mktemp("dino")
    Dinov2Model(config).save_pretrained(folder)
    return folder


def test_a_picture_becomes_the_class_token(folder):
    features, digest = open_dino(folder)
    pixels = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = Dinov2Model.from_pretrained(folder).eval()(pixel_values=pixels)
        found = features(pixels)
    assert found.shape == (2, 16)
    assert torch.allclose(found, expected.pooler_output, atol=1e-5)
    assert digest == sha256_of(folder / "model.safetensors")


def test_pictures_are_scaled_to_224_and_to_imagenets_deviation():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8)
    found = prepare(Image.fromarray(pixels)).numpy()
    green = Image.fromarray(pixels[..., 1].astype(np.float32)).resize((224, 224), Image.Resampling.BICUBIC)
    assert found.shape == (3, 224, 224)
    assert found[1] == pytest.approx((np.clip(np.asarray(green), 0, 255) / 255 - 0.456) / 0.224, abs=1e-5)


def test_a_folder_without_safetensors_is_refused(tmp_path, folder):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"must hold config\.json and model\.safetensors"):
        open_dino(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path, folder):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "clip"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="not of a dinov2 model"):
        open_dino(tmp_path)


def test_a_cut_off_file_is_refused(tmp_path, folder):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be opened as DINOv2"):
        open_dino(tmp_path)


def test_weights_of_another_depth_are_refused(tmp_path, folder):
    """What a file lacks would otherwise be drawn at random, and measured in."""
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="lacks"):
        open_dino(tmp_path)
