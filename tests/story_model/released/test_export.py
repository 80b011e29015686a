import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from published import DETOKENIZER, ENCODER, MLLM, OVERRIDES, Published
from safetensors.torch import load_file, save_file

import story_model.build
from story_model.build import build_autoencoder, build_detokenizer
from story_model.config import load_config, read_config
from story_model.parts import tokenizer_path, weights_path
from story_model.released.check import check
from story_model.released.convert import convert
from story_model.released.export import export
from story_model.released.kinds import Variant
from story_model.released.pickled import write_pickle
from story_model.tensor_files import PickleFile, TensorInfo, open_tensors
from story_model.workspace import Part, RunFolder

PARTS: tuple[Part, ...] = ("image_encoder", "stage2", "stage3")
each_form = pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickles"])


def run_of(root: Path, folder: Path, *, variant: Variant | None = None, merge: bool = False) -> RunFolder:
    """Import a published folder."""
    config, run = load_config("tiny", OVERRIDES), RunFolder(folder)
    convert(check(root, config.model, variant=variant), run, config, dtype=None, merge=merge)
    return run


def exported(run: RunFolder, out_dir: Path, *, pickled: bool = False) -> Path:
    export(run, read_config(run.config_path), out_dir, pickled=pickled)
    return out_dir


@each_form
def test_what_is_imported_again_is_equal_to_the_bit(published: Published, tmp_path: Path, pickled: bool) -> None:
    published.write_all()
    first = run_of(published.root, tmp_path / "first")
    out_dir = exported(first, tmp_path / "published", pickled=pickled)
    assert check(out_dir, published.config).is_complete
    second = run_of(out_dir, tmp_path / "second")
    for part in PARTS:
        assert weights_path(first, part).read_bytes() == weights_path(second, part).read_bytes()
    assert tokenizer_path(first).read_bytes() == tokenizer_path(second).read_bytes()


def test_the_published_code_finds_its_names_at_its_places(published: Published, tmp_path: Path) -> None:
    published.write_all()
    out_dir = exported(run_of(published.root, tmp_path / "run"), tmp_path / "published", pickled=True)
    for place in (MLLM, DETOKENIZER, ENCODER):
        ours = torch.load(out_dir / place, weights_only=True)
        theirs = torch.load(published.root / place, weights_only=True)
        constants = {name for name in theirs if name.endswith("inv_freq")}  # LLaMA makes them itself
        assert ours.keys() == theirs.keys() - constants
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), name
            assert tensor.dtype == theirs[name].dtype


def test_sdxl_s_autoencoder_goes_along(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story_model.build, "_SDXL_WIDTHS", (32, 32, 32, 32))
    sdxl = [f"model.detokenizer.{word}" for word in ("autoencoder=sdxl", "latent_channels=4", "latent_factor=8")]
    config = load_config("tiny", [*OVERRIDES, *sdxl])
    published.detokenizer = build_detokenizer(config.model)
    published.write_all()
    vae = {name: tensor.clone() for name, tensor in build_autoencoder(config.model.detokenizer).state_dict().items()}
    save_file(vae, published.path("stable-diffusion-xl-base-1.0/vae/diffusion_pytorch_model.safetensors"))
    run = RunFolder(tmp_path / "run")
    convert(check(published.root, config.model), run, config, dtype=None, merge=False)
    out_dir = exported(run, tmp_path / "published")
    assert check(out_dir, config.model).is_complete
    found = load_file(out_dir / "stable-diffusion-xl-base-1.0/vae/diffusion_pytorch_model.safetensors")
    assert found.keys() == vae.keys()
    assert all(torch.equal(found[name], vae[name]) for name in vae)


def test_seed_x_s_detokenizer_lies_where_it_is_known_for_one(published: Published, tmp_path: Path) -> None:
    published.write_all()
    run = run_of(published.root, tmp_path / "run", variant="seed-x")
    assert check(exported(run, tmp_path / "published"), published.config).variant == "seed-x"


def test_a_run_whose_lora_was_folded_in_is_refused(published: Published, tmp_path: Path) -> None:
    published.write_all()
    run = run_of(published.root, tmp_path / "run", merge=True)
    with pytest.raises(ValueError, match="LoRA was folded"):
        exported(run, tmp_path / "published")


def test_a_run_that_is_not_trained_to_its_end_is_refused(published: Published, tmp_path: Path) -> None:
    published.write_all()
    run = run_of(published.root, tmp_path / "run")
    (run.part_dir("stage3") / "manifest.json").unlink()
    with pytest.raises(ValueError, match="no finished stage3"):
        exported(run, tmp_path / "published")
    assert not (tmp_path / "published").exists()


def test_the_command_says_what_to_do(published: Published, tmp_path: Path) -> None:
    published.write_all()
    run = run_of(published.root, tmp_path / "run")
    command = [sys.executable, "-m", "story_model.released", "export"]
    done = subprocess.run([*command, run.root, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / MLLM).with_suffix(".safetensors").is_file()
    wrong = subprocess.run([*command, tmp_path, tmp_path / "out"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error:")


TENSORS = {
    "matrix": torch.randn(5, 3),
    "number": torch.tensor(2.5),
    "none": torch.zeros(0, 4),
    "half": torch.randn(7).half(),
    "brain": torch.randn(2, 3, 4).bfloat16(),
}
INFOS = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in TENSORS.items()}


def test_a_pickle_written_bit_by_bit_is_one_of_torch_save(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    write_pickle(path, INFOS, TENSORS.items())
    for found in (torch.load(path, weights_only=True), torch.load(path, weights_only=True, mmap=True)):
        assert list(found) == list(TENSORS)
        for name, tensor in found.items():
            assert torch.equal(tensor, TENSORS[name])
            assert tensor.dtype == TENSORS[name].dtype
            assert tensor.stride() == TENSORS[name].stride()
    assert open_tensors(path).tensors == INFOS
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_its_values_begin_where_they_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    write_pickle(path, INFOS, TENSORS.items())
    assert [span.start % 64 for span in PickleFile(path)._spans.values()] == [0] * len(TENSORS)


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path) -> None:
    class Full:
        def __iter__(self):
            yield "matrix", TENSORS["matrix"]
            raise OSError("No space left on device")

    with pytest.raises(ValueError, match="free some space"):
        write_pickle(tmp_path / "pytorch_model.bin", INFOS, Full())
    assert list(tmp_path.iterdir()) == []
