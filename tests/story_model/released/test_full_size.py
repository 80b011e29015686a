"""The published files at their full size, as sparse files: names, shapes and types are true, the values a hole."""

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from published import old_names, trained_only

from story_model.checkpoint import layout_of
from story_model.config import load_config
from story_model.mllm import Mllm
from story_model.released.networks import networks
from story_model.released.plans import Computed, Shapes, Source, plan_detokenizer, plan_image_encoder, plan_mllm
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
