"""Presets at full size, on the meta device: the published system's networks are the released ones, name by name."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.meta_build import FILES, build
from story_model.build import Vocabulary, llama2_vocabulary
from story_model.config import PRESETS_DIR, PROJECT_DIR, load_config
from story_model.detokenizer import train_adaptation_only
from story_model.mllm import trainable

PARITY_DIR = Path(os.environ.get("STORY_PARITY_DIR", Path(__file__).parents[1] / "data" / "parity"))
RELEASED = PARITY_DIR / "released_state_dicts.json"
NETWORKS = (*FILES, "autoencoder")

each_network = pytest.mark.parametrize("name", FILES)
needs_released = pytest.mark.skipif(not RELEASED.is_file(), reason=f"no file {RELEASED}")


@cache
def networks(preset: str) -> dict[str, nn.Module]:
    """Build a preset's networks; its vocabulary is full, and what stage 3 freezes is frozen."""
    config = load_config(preset).model
    words = llama2_vocabulary(config.mllm)
    if preset != "seed-story-7b":  # the tokenizer that is trained for it has a token more, the separator
        words = Vocabulary(words.vocab_size + 1, begin_of_story=1, end_of_story=2, pad=3)
    made = build(config, words)
    train_adaptation_only(made["detokenizer"])
    return made


def built(name: str) -> nn.Module:
    return networks("seed-story-7b")[name]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def trained_count(network: nn.Module) -> int:
    return sum(parameter.numel() for _, parameter in trainable(network))


def total(preset: str) -> int:
    return sum(count(network) for network in networks(preset).values())


@cache
def released(name: str) -> dict:
    return json.loads(RELEASED.read_text())[FILES[name]]


@needs_released
@each_network
def test_names_and_shapes_are_the_released_ones(name) -> None:
    ours = {key: list(value.shape) for key, value in built(name).state_dict().items()}
    assert ours == released(name)["state"]


@needs_released
@each_network
def test_parameter_counts_are_the_released_ones(name) -> None:
    assert count(built(name)) == released(name)["parameters"]


@needs_released
@each_network
def test_what_is_trained_is_what_the_published_system_trains(name) -> None:
    ours = [key for key, _ in trainable(built(name))]
    assert sorted(ours) == sorted(released(name)["trainable"])


def test_sdxl_s_autoencoder_has_its_published_size() -> None:
    autoencoder = built("autoencoder")
    assert (count(autoencoder), len(autoencoder.state_dict())) == (83_653_863, 248)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_take_no_memory_and_what_no_file_holds_is_real(name) -> None:
    network = built(name)
    files = network.state_dict().keys()
    buffers = {key: buffer for key, buffer in network.named_buffers() if key not in files}
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert {buffer.device.type for buffer in buffers.values()} <= {"cpu"}
    assert any("inv_freq" in key for key in buffers) == (name == "mllm")


def test_a_picture_at_full_size_becomes_256_features() -> None:
    encoder = built("image_encoder")
    with torch.no_grad():
        assert encoder(torch.empty(2, 3, 448, 448, device="meta")).shape == (2, 256, 4096)


def test_features_at_full_size_condition_sdxl_s_unet() -> None:
    latents, features = torch.empty(2, 4, 128, 128, device="meta"), torch.empty(2, 256, 4096, device="meta")
    with torch.no_grad():
        predicted = built("detokenizer")(
            latents, torch.empty(2, device="meta"), features, torch.empty(2, 6, device="meta")
        )
    assert predicted.shape == latents.shape


@pytest.mark.parametrize("preset", ["seed-story-7b", "small"])
def test_a_preset_says_how_large_it_is(preset) -> None:
    comment = re.match(r"(#.*\n)+", (PRESETS_DIR / f"{preset}.yaml").read_text())
    assert comment
    made = networks(preset)
    counts = {count(network) for network in made.values()} - {0}  # a linear autoencoder has no parameters
    counts |= {total(preset), trained_count(made["mllm"]), trained_count(made["detokenizer"])}
    said = {int(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+", comment[0])}
    assert said == counts


def test_small_is_between_tiny_and_the_published_system() -> None:
    tiny, small, full = (total(preset) for preset in ("tiny", "small", "seed-story-7b"))
    assert 10 * tiny < small < full / 10
    assert 100e6 <= small <= 300e6


@needs_released
def test_the_published_system_is_built_in_seconds_and_without_its_memory() -> None:
    command = [sys.executable, "-m", "benchmarks.meta_build", "--released", str(RELEASED)]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["names_equal"]
    assert measured["seconds"] < 60
    assert measured["peak_memory_mb"] < 4096
    assert measured["parameters"] == {name: count(built(name)) for name in NETWORKS}
