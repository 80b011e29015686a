"""A run's networks come out of their files as they would by copying, without being held twice."""

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from story_model import parts
from story_model.build import build_autoencoder, build_detokenizer, build_image_encoder, build_llama, build_mllm
from story_model.checkpoint import load_weights, save_weights
from story_model.config import ModelConfig, load_config
from story_model.parts import load_networks, load_tokenizer, tokenizer_path, weights_path
from story_model.tensor_files import SafetensorsFile
from story_model.tokens import train_tokenizer
from story_model.workspace import Part, RunFolder

CONFIG = load_config(
    "tiny",
    (
        "model.image_encoder={image_size: 32, width: 32, layers: 1, num_queries: 4, output_dim: 32}",
        "model.mllm.language_model={vocab_size: 300, hidden_size: 32, intermediate_size: 48, layers: 2}",
        "model.mllm.num_image_tokens=4",
        "model.detokenizer.picture_size=32",
        "model.detokenizer.unet_channels=[16, 32]",
        "model.detokenizer.unet_heads=[2, 2]",
        "model.detokenizer.unet_transformer_layers=[1, 1]",
    ),
)
CPU = torch.device("cpu")


def fresh(part: Part, run: RunFolder, model: ModelConfig) -> nn.Module:
    """A part with weights of its own."""
    if part == "stage2":
        return build_mllm(model, build_llama(model, load_tokenizer(run, model)))
    if part == "image_encoder":
        return build_image_encoder(model.image_encoder)
    if part == "stage3":
        return build_detokenizer(model)
    autoencoder = build_autoencoder(model.detokenizer)
    autoencoder.fit(torch.rand(8, 3, 32, 32) * 2 - 1)
    return autoencoder


LOADERS: dict[Part, Callable[..., nn.Module]] = {
    "image_encoder": parts.load_image_encoder,
    "stage2": parts.load_mllm,
    "stage3": parts.load_detokenizer,
}
each_part = pytest.mark.parametrize("part", LOADERS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with untrained networks."""
    run = RunFolder(tmp_path_factory.mktemp("workspace") / "demo")
    names: tuple[Part, ...] = ("tokenizer", "autoencoder", *LOADERS)
    for part in names:
        run.part_dir(part).mkdir(parents=True)
    train_tokenizer(["The fox waves."], vocab_size=300, num_image_tokens=4).save(str(tokenizer_path(run)))
    torch.manual_seed(0)
    for part in names[1:]:
        save_weights(fresh(part, run, CONFIG.model), weights_path(run, part))
    return run


def copied(part: Part, run: RunFolder) -> nn.Module:
    """A part loaded into memory that it had before."""
    network = fresh(part, run, CONFIG.model).eval().requires_grad_(False)
    load_weights(network, weights_path(run, part))
    return network


def constants(network: nn.Module) -> dict[str, Tensor]:
    """What a network holds and no file does."""
    return {name: buffer for name, buffer in network.named_buffers() if name not in network.state_dict()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_part
def test_a_loaded_network_is_the_file_s_in_the_wanted_precision(run, part, dtype) -> None:
    loaded, plain = LOADERS[part](run, CONFIG.model, dtype=dtype), copied(part, run)
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in plain.named_parameters()]
    for one, other in zip(loaded.parameters(), plain.parameters(), strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other.to(dtype))
        assert not one.requires_grad
    assert not loaded.training


@each_part
def test_what_no_file_holds_is_as_built_whatever_the_precision(run, part) -> None:
    loaded, plain = (
        constants(network) for network in (LOADERS[part](run, CONFIG.model, dtype=torch.bfloat16), copied(part, run))
    )
    assert loaded.keys() == plain.keys()
    assert bool(loaded) == (part == "stage2")  # LLaMA's rotary frequencies
    for name, buffer in plain.items():
        assert loaded[name].dtype == buffer.dtype
        assert torch.equal(loaded[name], buffer)


@each_part
def test_loading_holds_one_tensor_beside_the_network(run, part, monkeypatch) -> None:
    read = SafetensorsFile.read
    held: list[weakref.ref[Tensor]] = []
    most = 0

    def counted(self: SafetensorsFile, name: str) -> Tensor:
        nonlocal most
        tensor = read(self, name)
        held.append(weakref.ref(tensor))
        most = max(most, sum(one() is not None for one in held))
        return tensor

    monkeypatch.setattr(SafetensorsFile, "read", counted)
    LOADERS[part](run, CONFIG.model, dtype=torch.bfloat16)
    assert len(held) > 10
    assert most <= 2  # the one before may not be let go yet


@each_part
def test_a_network_has_no_memory_for_its_weights_until_they_are_read(run, part, monkeypatch) -> None:
    built: list[nn.Module] = []

    def look(network: nn.Module, path: Path, **_: object) -> None:
        built.append(network)

    monkeypatch.setattr(parts, "assign_weights", look)
    LOADERS[part](run, CONFIG.model)
    assert {parameter.device.type for parameter in built[0].parameters()} == {"meta"}


def test_the_autoencoder_stays_float32(run) -> None:
    config = CONFIG.model_copy(update={"tell": CONFIG.tell.model_copy(update={"precision": "bfloat16"})})
    networks = load_networks(run, config, CPU)
    precisions = [
        {tensor.dtype for tensor in network.state_dict().values()}
        for network in (networks.encoder, networks.mllm, networks.painter.detokenizer, networks.painter.autoencoder)
    ]
    assert precisions == [{torch.bfloat16}, {torch.bfloat16}, {torch.bfloat16}, {torch.float32}]
    rotary = networks.mllm.llama.model.rotary_emb.inv_freq
    assert rotary.dtype == torch.float32
    assert torch.equal(rotary, copied("stage2", run).llama.model.rotary_emb.inv_freq)


@torch.inference_mode()
def test_half_precision_rounds_in_the_networks_and_not_in_the_latents(run) -> None:
    half = CONFIG.model_copy(update={"tell": CONFIG.tell.model_copy(update={"precision": "bfloat16"})})
    features = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(3))
    one, other = (load_networks(run, config, CPU).painter.paint_batch(features, [1, 2]) for config in (CONFIG, half))
    assert other.dtype == torch.float32
    assert 0 < (one - other).abs().mean() < 0.0013  # 0.0010; with latents rounded at every step 0.0016
