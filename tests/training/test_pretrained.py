"""Training builds on published files: parts hold exactly their weights, stages start from them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_run import CAPTIONS, picture, row_of, write_dataset
from torch import Tensor
from transformers import LlamaForCausalLM

import story_model.build
from story_model.build import (
    Vocabulary,
    build_autoencoder,
    build_detokenizer,
    build_image_encoder,
    build_llama,
    build_mllm,
    llama2_vocabulary,
)
from story_model.config import Settings, load_config, read_config, save_config
from story_model.manifest import Manifest, read_manifest
from story_model.parts import load_image_encoder, tokenizer_path, weights_path
from story_model.tokens import train_tokenizer
from story_model.workspace import Part, RunFolder
from training.steps import train_parts

WORDS = 300
PARTS: tuple[Part, ...] = ("tokenizer", "image_encoder", "autoencoder", "language_model")
OVERRIDES = [
    "build.stories.chunk_length=4",
    "model.image_encoder={image_size: 32, patch_size: 8, width: 32, layers: 1, heads: 2, mlp_ratio: 2.0, "
    "num_queries: 16, output_dim: 32, pool_heads: 2}",
    f"model.mllm.language_model={{vocab_size: {WORDS}, hidden_size: 32, intermediate_size: 48, layers: 2, heads: 2}}",
    "model.mllm.num_image_tokens=4",
    "model.mllm.resampler_heads=4",
    "model.detokenizer={picture_size: 32, autoencoder: sdxl, latent_channels: 4, latent_factor: 8, "
    "unet_channels: [16, 16], unet_heads: [1, 1], unet_transformer_layers: [1, 1], norm_groups: 8, resampler_dim: 32, "
    "resampler_depth: 1, resampler_heads: 2, resampler_head_dim: 16, num_queries: 4, prompt_dims: [16, 16], "
    "time_id_dim: 8}",
    "train.launch={}",
    "train.validation_samples=2",
    "train.reconstruction_steps=1",
    "train.stage1={steps: 1, batch_size: 2, optimizer: {learning_rate: 1.0e-30}}",
    "train.stage2={steps: 1, batch_size: 1, optimizer: {learning_rate: 1.0e-30}}",
]


class Given:
    """Published files at toy size, and a run that is to build on them."""

    def __init__(self, root: Path, workspace: Path) -> None:
        torch.manual_seed(0)
        self.root = root
        self.folder = RunFolder(workspace / "run")
        self.config = load_config("seed-story-7b", OVERRIDES)
        self.configure()
        model = self.config.model
        self.encoder = build_image_encoder(model.image_encoder)
        self.autoencoder = build_autoencoder(model.detokenizer)
        self.llama = build_llama(model, Vocabulary(WORDS, begin_of_story=1, end_of_story=2, pad=None)).half()
        self.detokenizer = build_detokenizer(model)

    def configure(self, *overrides: str) -> None:
        """Have the run made with other settings."""
        save_config(load_config("seed-story-7b", [*OVERRIDES, *overrides]), self.folder.config_path)

    def write_all(self) -> None:
        tokenizer = train_tokenizer(CAPTIONS, vocab_size=WORDS - 10, num_image_tokens=4)
        tokenizer.add_tokens([f"word{number}" for number in range(WORDS + 6 - tokenizer.get_vocab_size())])
        tokenizer.save(str(self.path("cvlm_llama2_tokenizer/tokenizer.json")))
        torch.save(self.encoder.state_dict(), self.path("visual_tokenizer/qwen_vit_G.pt"))
        sdxl = "stable-diffusion-xl-base-1.0"
        self.save(f"{sdxl}/vae/diffusion_pytorch_model.safetensors", self.autoencoder.state_dict())
        self.save(f"{sdxl}/unet/diffusion_pytorch_model.safetensors", self.detokenizer.unet.state_dict())
        other = {name: torch.zeros_like(tensor) for name, tensor in self.detokenizer.unet.state_dict().items()}
        self.save(f"{sdxl}/unet/diffusion_pytorch_model.fp16.safetensors", other)
        self.write_llama(self.llama)

    def write_llama(self, llama: LlamaForCausalLM) -> None:
        """In two shards behind an index."""
        state = llama.state_dict()
        names = sorted(state)
        shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for shard, held in shards.items():
            self.save(f"Llama-2-7b-hf/{shard}", {name: state[name] for name in held})
        places = {name: shard for shard, held in shards.items() for name in held}
        self.path("Llama-2-7b-hf/model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    def write_stories(self) -> None:
        rows = [row_of(split, split, [picture(number) for number in range(4)]) for split in ("train", "validation")]
        write_dataset(self.folder.dataset_dir, rows)

    def train(self, *parts: Part) -> None:
        """As `python -m training RUN PART...` does."""
        train_parts(parts, self.folder, read_config(self.folder.config_path), Settings(_env_file=None))

    def made(self, part: Part) -> Mapping[str, Tensor]:
        return load_file(weights_path(self.folder, part))

    def manifest(self, part: Part) -> Manifest:
        found = read_manifest(self.folder.part_dir(part))
        assert found is not None
        return found

    def save(self, name: str, state: Mapping[str, Tensor]) -> None:
        save_file({key: tensor.detach().clone().contiguous() for key, tensor in state.items()}, self.path(name))

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@pytest.fixture
def given(tmp_path: Path, own_places: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    monkeypatch.setenv("STORY_PRETRAINED", str(tmp_path / "pretrained"))
    monkeypatch.setenv("STORY_DEVICE", "cpu")
    monkeypatch.setattr(story_model.build, "_SDXL_WIDTHS", (32, 32, 32, 32))
    return Given(tmp_path / "pretrained", own_places)


def assert_same(made: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert made.keys() == expected.keys()
    for name, tensor in made.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name


def test_parts_hold_exactly_the_published_weights(given: Given) -> None:
    given.write_all()
    given.train(*PARTS)
    assert_same(given.made("autoencoder"), given.autoencoder.state_dict())
    assert_same(given.made("image_encoder"), given.encoder.state_dict())
    assert tokenizer_path(given.folder).is_file()
    llama, vocabulary = dict(given.made("language_model")), ("model.embed_tokens.weight", "lm_head.weight")
    for name in vocabulary:
        rows, known = llama.pop(name), given.llama.state_dict()[name]
        assert torch.equal(rows[:WORDS], known)
        assert len(rows) == llama2_vocabulary(given.config.model.mllm).vocab_size == WORDS + 6
        mean = known.float().mean(0)
        torch.testing.assert_close(rows[WORDS:].float(), mean.expand(6, -1), atol=2e-5, rtol=1e-3)
    assert_same(llama, {name: value for name, value in given.llama.state_dict().items() if name not in vocabulary})
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_image_encoder(given.folder, given.config.model)(pixels), given.encoder.eval()(pixels))


def test_a_second_start_copies_nothing_even_where_the_files_are_gone(given: Given) -> None:
    given.write_all()
    given.train(*PARTS)
    before = {part: given.manifest(part) for part in PARTS}
    given.root.rename(given.root.with_name("elsewhere"))
    given.train(*PARTS)
    assert {part: given.manifest(part) for part in PARTS} == before


def test_a_published_file_that_changed_is_taken_anew(given: Given) -> None:
    given.write_all()
    given.train("tokenizer", "language_model")
    before = given.manifest("language_model")
    with torch.no_grad():
        given.llama.model.norm.weight.add_(1)
    given.write_llama(given.llama)
    given.train("language_model")
    assert given.manifest("language_model").inputs != before.inputs
    assert torch.equal(given.made("language_model")["model.norm.weight"], given.llama.model.norm.weight)


@pytest.mark.parametrize(
    ("part", "place", "publisher"),
    [
        ("tokenizer", "cvlm_llama2_tokenizer", "TencentARC/SEED-Story"),
        ("image_encoder", "visual_tokenizer/qwen_vit_G.pt", "Qwen/Qwen-VL-Chat"),
        ("autoencoder", "stable-diffusion-xl-base-1.0/vae", "stabilityai/stable-diffusion-xl-base-1.0"),
        ("language_model", "Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
        ("stage1", "stable-diffusion-xl-base-1.0/unet", "stabilityai/stable-diffusion-xl-base-1.0"),
    ],
)
def test_what_is_missing_is_said_in_one_line(given: Given, part: Part, place: str, publisher: str) -> None:
    with pytest.raises(ValueError, match="download it from") as caught:
        given.train(part)
    said = str(caught.value)
    assert "\n" not in said
    for word in (str(given.root / place), publisher, "STORY_PRETRAINED"):
        assert word in said


def test_a_shard_that_is_missing_is_named(given: Given) -> None:
    given.write_all()
    given.path("Llama-2-7b-hf/model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-00002\.safetensors is missing"):
        given.train("tokenizer", "language_model")


def test_a_network_of_another_size_is_refused(given: Given) -> None:
    given.write_all()
    given.configure("model.image_encoder.width=48")
    with pytest.raises(ValueError, match="is not the image encoder that is configured"):
        given.train("image_encoder")


def assert_hardly_moved(made: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
    """A step at a learning rate of 1e-30 tells what training began with."""
    assert made.keys() == start.keys()
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, start[name], atol=1e-20, rtol=0, msg=name)


def test_stage_1_starts_from_the_published_unet(given: Given) -> None:
    given.write_all()
    given.write_stories()
    given.train("image_encoder", "autoencoder", "stage1")
    made = given.made("stage1")
    unet = {name.removeprefix("unet."): tensor for name, tensor in made.items() if name.startswith("unet.")}
    assert_hardly_moved(unet, given.detokenizer.unet.state_dict())
    assert set(given.manifest("stage1").inputs) == {"dataset", "image_encoder", "autoencoder", "published SD-XL UNet"}


def test_stage_2_goes_on_from_a_published_language_model(given: Given) -> None:
    given.write_all()
    given.write_stories()
    given.configure("train.pretrained.starts=[stage2]")
    model = given.config.model
    mllm = build_mllm(model, build_llama(model, llama2_vocabulary(model.mllm)))
    torch.nn.init.normal_(dict(mllm.named_parameters())["input_resampler.query"])
    torch.save(mllm.state_dict(), given.path("seedx/checkpoint-30000/pytorch_model.bin"))
    given.train("tokenizer", "image_encoder", "language_model", "stage2")
    assert_hardly_moved(given.made("stage2"), mllm.state_dict())
    assert "published MLLM" in given.manifest("stage2").inputs


def test_stage_1_itself_is_taken_over(given: Given) -> None:
    given.write_all()
    given.configure("train.pretrained={taken_over: [stage1]}")
    state = given.detokenizer.state_dict()
    trained = {name: tensor for name, tensor in state.items() if not name.startswith("unet.conv")}
    torch.save(trained, given.path("detokenizer_pretrained/checkpoint-55000/pytorch_model.bin"))
    given.train("stage1")
    assert_same(given.made("stage1"), state)


def test_parts_come_from_another_run_as_well(given: Given) -> None:
    given.write_all()
    given.train(*PARTS)
    first = given.folder
    given.folder = RunFolder(first.root.with_name("second"))
    given.configure("train.pretrained.run=run")
    given.root.rename(given.root.with_name("elsewhere"))
    given.train(*PARTS)
    for part in PARTS[1:]:
        assert_same(given.made(part), load_file(weights_path(first, part)))
    with pytest.raises(ValueError, match=r"run 'run' .* has no finished stage1 or stage3"):
        given.train("stage1")
