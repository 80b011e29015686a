import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_clip import LONGEST, save_clip
from transformers import CLIPModel, CLIPTokenizer

from evaluation.measures.clip import Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def spoiled(tmp_path):
    return save_clip(tmp_path)


def noise(number):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(number)]


def test_rows_are_those_of_the_network_itself(folder):
    images, texts = noise(2), ["a b", "abc"]
    clip = Clip(folder)
    rows, _ = clip.texts(texts)
    model = CLIPModel.from_pretrained(folder, local_files_only=True)
    tokens = CLIPTokenizer.from_pretrained(folder, local_files_only=True)(texts, padding=True, return_tensors="pt")
    side = 32
    scaled = [image.resize((round(60 * side / 40), side), Image.Resampling.BICUBIC) for image in images]
    cropped = [np.asarray(image.crop((8, 0, 40, 32)), dtype=np.float32) / 255 for image in scaled]
    mean, spread = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.tensor(np.stack([(image - mean) / spread for image in cropped])).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found = model(**tokens, pixel_values=pixels)
    assert np.allclose(rows, found.text_embeds.numpy(), atol=1e-5)
    assert np.allclose(clip.pictures(images), found.image_embeds.numpy(), atol=1e-4)


def test_rows_have_unit_length(folder):
    clip = Clip(folder)
    assert np.linalg.norm(clip.pictures(noise(3)), axis=1) == pytest.approx(np.ones(3))
    assert np.linalg.norm(clip.texts(["a", "b"])[0], axis=1) == pytest.approx(np.ones(2))


def test_equal_texts_have_equal_rows_whatever_stands_beside_them(folder):
    clip = Clip(folder)
    first, _ = clip.texts(["a", "b c d e"])
    again, _ = clip.texts(["x y", "a", "a"])
    assert (again[1] == first[0]).all()
    assert (again[2] == first[0]).all()


def test_a_text_that_is_too_long_is_told_of(folder):
    fits = " ".join("a" * (LONGEST - 2))
    _, cut = Clip(folder).texts([fits, f"{fits} a", ""])
    assert cut.tolist() == [False, True, False]


def test_nothing_has_no_rows(folder):
    clip = Clip(folder)
    assert clip.pictures([]).shape == (0, 12)
    assert clip.texts([])[0].shape == (0, 12)


def test_the_fingerprint_is_that_of_the_weights(folder, tmp_path):
    assert Clip(folder).fingerprint == Clip(save_clip(tmp_path / "same")).fingerprint
    assert Clip(folder).fingerprint != Clip(save_clip(tmp_path / "other", seed=1)).fingerprint


def test_a_folder_with_code_of_its_own_runs_none(spoiled):
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        path = spoiled / name
        known = json.loads(path.read_text())
        classes = {"AutoModel": "evil.Model", "AutoTokenizer": ["evil.Tokenizer", None], "AutoProcessor": "evil.P"}
        path.write_text(json.dumps({**known, "auto_map": classes}))
    marker = spoiled / "ran"
    (spoiled / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()")
    Clip(spoiled).texts(["a"])
    assert not marker.exists()


def test_another_network_s_folder_is_refused(spoiled):
    (spoiled / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="of type 'bert', not a CLIP"):
        Clip(spoiled)


def test_a_folder_that_is_none_is_refused_without_asking_the_network(tmp_path):
    with pytest.raises(ValueError, match=r"there is no config\.json"):
        Clip(tmp_path / "openai" / "clip-vit-base-patch32")


def test_a_broken_configuration_is_named(spoiled):
    (spoiled / "config.json").write_text('{"model_type": NaN}')
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        Clip(spoiled)


def test_weights_that_could_hold_code_are_refused(spoiled):
    torch.save(load_file(spoiled / "model.safetensors"), spoiled / "pytorch_model.bin")
    (spoiled / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights as safetensors"):
        Clip(spoiled)


def test_weights_that_are_missing_are_not_made_up(spoiled):
    path = spoiled / "model.safetensors"
    weights = load_file(path)
    del weights["visual_projection.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights, among them visual_projection\.weight"):
        Clip(spoiled)


@pytest.mark.parametrize(
    ("missing", "said"), [("tokenizer.json", "no tokenizer"), ("preprocessor_config.json", "how pictures are prepared")]
)
def test_what_is_missing_is_not_made_up(spoiled, missing, said):
    (spoiled / missing).unlink()
    with pytest.raises(ValueError, match=said):
        Clip(spoiled)


def test_the_tokenizer_of_the_first_release_is_read(spoiled):
    known = Clip(spoiled).texts(["a b", "abc"])[0]
    model = json.loads((spoiled / "tokenizer.json").read_text())["model"]
    (spoiled / "vocab.json").write_text(json.dumps(model["vocab"]))
    (spoiled / "merges.txt").write_text("#version: 0.2\n")
    (spoiled / "tokenizer.json").unlink()
    assert np.allclose(Clip(spoiled).texts(["a b", "abc"])[0], known)


def test_another_network_s_tokenizer_is_refused(spoiled):
    path = spoiled / "tokenizer.json"
    known = json.loads(path.read_text())
    known["model"]["vocab"] |= {"zz</w>": len(known["model"]["vocab"])}
    path.write_text(json.dumps(known))
    with pytest.raises(ValueError, match="that it was trained with"):
        Clip(spoiled)


def test_broken_weights_are_an_error_of_the_folder(spoiled):
    path = spoiled / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be opened as CLIP"):
        Clip(spoiled)


def test_weights_of_other_sizes_are_an_error_of_the_folder(spoiled):
    path = spoiled / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "projection_dim": 14}))
    with pytest.raises(ValueError, match="cannot be opened as CLIP"):
        Clip(spoiled)
