"""The baseline's training: from stage 1's UNet, on pairs each by itself, captions read once; it learns."""

from pathlib import Path

import pytest
import torch
from small_run import CAPTIONS, SAME_SQUARES, small_job

from story_model.build import build_captions_diffusion, build_detokenizer, build_llama
from story_model.checkpoint import load_tensors, save_weights
from story_model.manifest import read_manifest
from story_model.parts import load_caption_encoder, load_tokenizer, weights_path
from training import baseline_diffusion
from training.baseline_diffusion import captioned_views, take_unet
from training.steps import Job, train_parts

OVERRIDES = [
    *SAME_SQUARES,
    "model.detokenizer.unet_channels=[16, 32]",
    "model.detokenizer.unet_heads=[2, 2]",
    "train.reconstruction_steps=2",
    "train.baseline={steps: 12, batch_size: 4, rank: 4, max_words: 12, optimizer: {learning_rate: 0.01}}",
]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A run whose networks were never trained."""
    made = small_job(tmp_path, OVERRIDES)
    folder, model = made.folder, made.config.model
    for part in ("language_model", "stage1"):
        folder.part_dir(part).mkdir(parents=True)
    torch.manual_seed(0)
    save_weights(build_llama(model, load_tokenizer(folder, model)), weights_path(folder, "language_model"))
    save_weights(build_detokenizer(model), weights_path(folder, "stage1"))
    return made


def test_the_unet_is_stage_1_s_until_it_is_trained(job: Job) -> None:
    network = build_captions_diffusion(job.config.model, job.config.train.baseline)
    take_unet(network, job)
    stage1 = build_detokenizer(job.config.model)
    stage1.load_state_dict(load_tensors(weights_path(job.folder, "stage1")))
    torch.manual_seed(1)
    latents, prompt, pooled = torch.randn(2, 24, 4, 4), torch.randn(2, 5, 128), torch.randn(2, 80)
    asked = latents, torch.tensor([3, 700]), prompt, pooled, torch.full((2, 6), 32.0)
    torch.testing.assert_close(network.eval().denoise(*asked), stage1.eval().denoise(*asked))


def test_another_unet_is_refused(job: Job) -> None:
    save_weights(torch.nn.Linear(2, 2), weights_path(job.folder, "stage1"))
    with pytest.raises(ValueError, match="does not fit"):
        take_unet(build_captions_diffusion(job.config.model, job.config.train.baseline), job)


def test_a_picture_s_features_are_what_its_own_caption_says(job: Job) -> None:
    views = captioned_views(job, "train")
    known = load_caption_encoder(job.folder, job.config)(CAPTIONS)
    torch.testing.assert_close(views.rows(range(4)).features, known, atol=0.05, rtol=0.02)
    torch.testing.assert_close(views.rows([2]).features, known[2:3], atol=0.05, rtol=0.02)


def test_captions_are_read_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    captioned_views(job, "train")
    assert job.counts["encoded_captions"] == len(CAPTIONS)
    monkeypatch.setattr(baseline_diffusion, "load_caption_encoder", lambda *_, **__: pytest.fail("read again"))
    captioned_views(job, "train")
    captioned_views(job, "validation")  # its captions are the same ones


def test_it_learns_and_leaves_stage_1_s_weights_alone(job: Job, mlflow_uri: str) -> None:
    settings = job.settings.model_copy(update={"tracking_uri": mlflow_uri, "workspace": job.folder.root.parent})
    (manifest,) = train_parts(["baseline"], job.folder, job.config, settings)
    assert manifest.metrics["baseline_noise_loss_after"] < manifest.metrics["baseline_noise_loss_before"]
    assert manifest.metrics["baseline_psnr_db"] > 0
    assert manifest.counts["pairs"] == 4
    trained, given = (
        load_tensors(weights_path(job.folder, "baseline")),
        load_tensors(weights_path(job.folder, "stage1")),
    )
    kept = {name.replace(".base_layer.", "."): value for name, value in trained.items() if "lora" not in name}
    for name, value in given.items():
        if name.startswith("unet."):
            torch.testing.assert_close(kept[name], value, atol=0, rtol=0)
    assert all(trained[name].any() for name in trained if "lora_B" in name)
    assert read_manifest(job.folder.part_dir("baseline")) is not None
    (again,) = train_parts(["baseline"], job.folder, job.config, settings)
    assert again.reused
