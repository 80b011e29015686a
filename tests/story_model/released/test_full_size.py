"""The published files at their full size, as sparse files: names, shapes and types are true, the values a hole."""

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from accelerate import init_empty_weights
from published import old_names, trained_only

from story_model.build import build_llama, llama2_vocabulary
from story_model.checkpoint import layout_of
from story_model.config import load_config
from story_model.mllm import Mllm
from story_model.released.networks import networks
from story_model.released.plans import (
    Computed,
    Shapes,
    Source,
    plan_autoencoder,
    plan_detokenizer,
    plan_image_encoder,
    plan_language_model,
    plan_mllm,
    plan_unet,
)
from story_model.released.sources import locate
from story_model.tensor_files import TensorInfo

RELEASED = json.loads((Path(__file__).parents[2] / "data" / "parity" / "released_state_dicts.json").read_text())
CONFIG = load_config("seed-story-7b").model


def write_sparse(path: Path, shapes: Shapes) -> Path:
    layout = layout_of({name: TensorInfo(tuple(shape), torch.float32) for name, shape in shapes.items()})
    with path.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.size)
    return path


def released(file: str) -> Shapes:
    return {name: tuple(shape) for name, shape in RELEASED[file]["state"].items()}


def test_the_released_encoder_fits(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "qwen_vit_G.safetensors", released("qwen_vit_G.pt"))
    plan = plan_image_encoder(path, networks(CONFIG)["image encoder"].shapes(CONFIG))
    assert {name: info.shape for name, info in plan.infos.items()} == released("qwen_vit_G.pt")


def test_the_released_detokenizer_fits(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "detokenizer.safetensors", released("detokenizer pytorch_model.bin"))
    shapes = networks(CONFIG)["de-tokenizer"].shapes(CONFIG)
    plan = plan_detokenizer(path, shapes, variant="seed-story")
    assert {name: info.shape for name, info in plan.infos.items()} == released("detokenizer pytorch_model.bin")


@pytest.mark.parametrize("spelling", ["current", "peft 0.4"])
def test_the_released_language_model_fits_in_both_spellings(tmp_path: Path, spelling: str) -> None:
    network = networks(CONFIG)["MLLM"]
    module = cast(Mllm, network.on_meta(CONFIG))
    names = released("agent pytorch_model.bin") if spelling == "current" else old_names(module)
    shapes = {name: tuple(getattr(value, "shape", value)) for name, value in names.items()}
    path = write_sparse(tmp_path / "agent.safetensors", shapes)
    plan = plan_mllm(path, network.shapes(CONFIG))
    assert {name: info.shape for name, info in plan.infos.items()} == released("agent pytorch_model.bin")


def test_the_trained_weights_alone_fit_over_llama(tmp_path: Path) -> None:
    network = networks(CONFIG)["MLLM"]
    module = cast(Mllm, network.on_meta(CONFIG))
    trained = {name: tuple(tensor.shape) for name, tensor in trained_only(module).items()}
    path = write_sparse(tmp_path / "agent.safetensors", trained)
    llama = {name: tuple(tensor.shape) for name, tensor in module.llama.state_dict().items()}
    plain = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): shape
        for name, shape in llama.items()
        if "lora_" not in name and "modules_to_save" not in name
    }
    (tmp_path / "Llama-2-7b-hf").mkdir()
    base = write_sparse(tmp_path / "Llama-2-7b-hf" / "model.safetensors", plain)
    plan = plan_mllm(path, network.shapes(CONFIG), base=base.parent)
    origins = [slot.file.path if isinstance(slot, Source) else "computed" for slot in plan.slots.values()]
    assert origins.count(path) == len(trained)
    assert origins.count(base) == 7 * 32 + 2 * 32 + 1
    assert sum(isinstance(slot, Computed) for slot in plan.slots.values()) == 2


def llama_2_7b() -> Shapes:
    """Names and shapes of meta-llama/Llama-2-7b-hf, written out: 291 tensors, 6,738,415,616 values."""
    shapes = {"model.embed_tokens.weight": (32000, 4096), "model.norm.weight": (4096,), "lm_head.weight": (32000, 4096)}
    for number in range(32):
        layer = f"model.layers.{number}"
        shapes |= {f"{layer}.self_attn.{name}_proj.weight": (4096, 4096) for name in "qkvo"}
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (11008, 4096) for name in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (4096, 11008)}
        shapes |= {f"{layer}.{name}.weight": (4096,) for name in ("input_layernorm", "post_attention_layernorm")}
    return shapes


def num_values(shapes: Shapes) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes.values())


def test_plain_llama_gives_a_training_all_but_the_rows_of_pictures(tmp_path: Path) -> None:
    plain = llama_2_7b()
    assert (len(plain), num_values(plain)) == (291, 6_738_415_616)
    (tmp_path / "Llama-2-7b-hf").mkdir()
    write_sparse(tmp_path / "Llama-2-7b-hf" / "model.safetensors", plain)
    with init_empty_weights(include_buffers=False):
        wanted = build_llama(CONFIG, llama2_vocabulary(CONFIG.mllm)).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    plan = plan_language_model(locate(tmp_path, "LLaMA").path, shapes, num_words=32000)
    vocabulary = {"model.embed_tokens.weight": (32066, 4096), "lm_head.weight": (32066, 4096)}
    assert {name: info.shape for name, info in plan.infos.items()} == {**plain, **vocabulary}
    assert {name for name, slot in plan.slots.items() if isinstance(slot, Computed)} == vocabulary.keys()


def test_sdxl_s_unet_is_all_of_a_detokenizer_but_its_resampler(tmp_path: Path) -> None:
    whole = released("detokenizer pytorch_model.bin")
    unet = {name.removeprefix("unet."): shape for name, shape in whole.items() if name.startswith("unet.")}
    assert (len(unet), num_values(unet)) == (1680, 2_567_463_684)
    folder = tmp_path / "stable-diffusion-xl-base-1.0" / "unet"
    folder.mkdir(parents=True)
    write_sparse(folder / "diffusion_pytorch_model.safetensors", unet)
    shapes = networks(CONFIG)["de-tokenizer"].shapes(CONFIG)
    plan = plan_unet(locate(tmp_path, "SD-XL UNet").path, shapes)
    assert all(name.startswith("resampler.") for name in shapes.keys() - plan.infos.keys())
    assert len(plan.infos) == 1680


def test_sdxl_s_autoencoder_fits_with_the_names_of_either_age(tmp_path: Path) -> None:
    shapes = networks(CONFIG)["autoencoder"].shapes(CONFIG)
    assert (len(shapes), num_values(shapes)) == (248, 83_653_863)
    ages = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, shape in shapes.items():
        changed = name
        for new, former in ages.items():
            changed = changed.replace(f"attentions.0.{new}.", f"attentions.0.{former}.")
        old[changed] = shape
    assert old.keys() != shapes.keys()
    for number, named in enumerate((shapes, old)):
        path = write_sparse(tmp_path / f"vae-{number}.safetensors", named)
        assert {name: info.shape for name, info in plan_autoencoder(path, shapes).infos.items()} == shapes
