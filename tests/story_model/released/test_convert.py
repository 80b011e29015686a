import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published import OVERRIDES, Published

from story_model.config import load_config, read_config
from story_model.manifest import Manifest
from story_model.mllm import Mllm
from story_model.parts import load_detokenizer, load_image_encoder, load_mllm, weights_path
from story_model.released.check import check
from story_model.released.convert import convert
from story_model.tensor_files import open_tensors
from story_model.workspace import RunFolder


def converted(
    published: Published, root: Path, *, dtype: torch.dtype | None = None, merge: bool = False
) -> tuple[RunFolder, list[Manifest]]:
    folder = RunFolder(root / "run")
    config = load_config("tiny", OVERRIDES)
    return folder, convert(check(published.root, config.model), folder, config, dtype=dtype, merge=merge)


def predict(mllm: Mllm) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and features of a fixed sequence."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 200, (2, 24), generator=generator)
    hidden = mllm.llama.model(inputs_embeds=mllm.embed(ids)).last_hidden_state
    return mllm.llama.lm_head(hidden), mllm.predict_features(hidden[:, :4].flatten(0, 1))


def test_a_converted_run_holds_the_published_networks(published: Published, tmp_path: Path) -> None:
    published.write_all()
    folder, _ = converted(published, tmp_path)
    model = read_config(folder.config_path).model
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(load_image_encoder(folder, model)(pixels), published.encoder(pixels))
    for ours, theirs in zip(predict(load_mllm(folder, model)), predict(published.mllm), strict=True):
        assert torch.equal(ours, theirs)
    for name, tensor in load_detokenizer(folder, model).state_dict().items():
        assert torch.equal(tensor, published.detokenizer.state_dict()[name])


def test_a_merged_language_model_says_the_same_without_lora(published: Published, tmp_path: Path) -> None:
    published.write_all()
    folder, _ = converted(published, tmp_path, merge=True)
    model = read_config(folder.config_path).model
    assert model.mllm.lora is None
    merged = load_mllm(folder, model)
    assert not any("lora" in name for name in merged.state_dict())
    for ours, theirs in zip(predict(merged), predict(published.mllm), strict=True):
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_weights_are_written_in_the_wanted_type(published: Published, tmp_path: Path) -> None:
    published.write_all()
    folder, _ = converted(published, tmp_path, dtype=torch.bfloat16)
    infos = open_tensors(weights_path(folder, "stage2")).tensors
    assert {info.dtype for info in infos.values()} == {torch.bfloat16}


def test_a_second_conversion_recomputes_nothing(published: Published, tmp_path: Path) -> None:
    published.write_all()
    converted(published, tmp_path)
    _, again = converted(published, tmp_path)
    assert all(manifest.reused for manifest in again)


def test_an_incomplete_folder_converts_to_nothing(published: Published, tmp_path: Path) -> None:
    published.write_encoder()
    with pytest.raises(ValueError, match="no MLLM"):
        converted(published, tmp_path)
    assert not (tmp_path / "run").exists()


def test_the_commands_tell_what_they_did(published: Published, tmp_path: Path) -> None:
    published.write_all()
    options = ["--preset", "tiny", "--set", *OVERRIDES]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "story_model.released", *arguments, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    found = run("check", str(published.root))
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("sha256") == 3
    assert found.stdout.splitlines()[-1].startswith("complete")
    made = run("convert", str(published.root), str(tmp_path / "run"))
    assert made.returncode == 0, made.stderr
    wrong = run("check", str(tmp_path / "run" / "model" / "stage2"), "--no-digests")
    assert wrong.returncode == 1
    assert "not complete" in wrong.stdout
