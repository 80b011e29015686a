"""Stored encodings are those that would be made anew, but for rounding; and are made once."""

from pathlib import Path

import pytest
import torch
from small_run import SAME_SQUARES, job_of, small_job

from story_model.checkpoint import save_weights
from story_model.parts import load_mllm, load_tokenizer, weights_path
from training import encodings
from training.corpus import load_split
from training.encodings import FreshEncodings, StoredEncodings
from training.makers import FEATURES
from training.rows import MIN_COSINE
from training.stage2_mllm import held_out_batches, measure
from training.steps import Job

NETWORKS = ("image_encoder", "autoencoder")
CPU = torch.device("cpu")


def other(job: Job, *overrides: str) -> Job:
    """Set up another job on the same run."""
    return job_of(job.folder, [*SAME_SQUARES, *overrides])


def losses(job: Job) -> tuple[float, float]:
    """Measure stage 2's losses over the training split."""
    tokenizer = load_tokenizer(job.folder, job.config.model)
    batches = held_out_batches(load_split(job, "train", "image_encoder"), tokenizer, 3)
    return measure(load_mllm(job.folder, job.config.model), batches, CPU)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_losses_over_stored_features_are_those_over_fresh_ones(dtype: str, tmp_path: Path) -> None:
    stored = small_job(tmp_path, [*SAME_SQUARES, f"train.features.dtype={dtype}"])
    fresh = other(stored, "train.features.enabled=false")
    assert losses(stored) == pytest.approx(losses(fresh), rel=2**-8)
    assert stored.counts["encoded_pictures"] == 4
    assert fresh.counts == {"skipped_stories": 0}


def test_stored_and_fresh_encodings_are_in_the_order_asked_for(tmp_path: Path) -> None:
    stored = small_job(tmp_path, SAME_SQUARES)
    fresh = other(stored, "train.features.enabled=false")
    splits = [load_split(job, "train", *NETWORKS) for job in (stored, fresh)]
    kinds = [type(split.encodings) for split in splits]
    assert kinds == [StoredEncodings, FreshEncodings]
    asked = [splits[0].digests[number] for number in (2, 0, 2)]
    one, another = (split.encodings for split in splits)
    torch.testing.assert_close(one.features(asked), another.features(asked), atol=1e-2, rtol=2**-8)
    for kept, made in zip(one.latents(asked), another.latents(asked), strict=True):
        torch.testing.assert_close(kept, made, atol=1e-3, rtol=1e-3)
    assert torch.equal(one.features(asked)[0], one.features(asked)[2])
    assert not torch.equal(one.features(asked)[0], one.features(asked)[1])


def test_features_of_eight_bits_keep_their_direction(tmp_path: Path) -> None:
    jobs = [small_job(tmp_path, SAME_SQUARES)]
    jobs.append(other(jobs[0], "train.features.dtype=int8"))
    splits = [load_split(job, "train", "image_encoder") for job in jobs]
    wide, narrow = (split.encodings.features(split.digests) for split in splits)
    assert torch.cosine_similarity(wide, narrow, dim=-1).min() > MIN_COSINE
    stores = [split.encodings.stores["image_encoder"] for split in splits]
    assert [store.maker.fields[FEATURES].dtype for store in stores] == [torch.bfloat16, torch.int8]
    assert stores[0].folder != stores[1].folder


def test_frozen_networks_are_not_loaded_where_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(tmp_path, SAME_SQUARES)
    load_split(job, "train", *NETWORKS)
    for name in ("load_image_encoder", "load_autoencoder"):
        monkeypatch.delattr(encodings, name)
    split = load_split(other(job), "train", *NETWORKS)
    assert split.encodings.features(split.digests).shape == (4, 4, 32)


def test_features_of_other_weights_are_made_anew(tmp_path: Path) -> None:
    job = small_job(tmp_path, SAME_SQUARES)
    load_split(job, "train", *NETWORKS)
    path = weights_path(job.folder, "image_encoder")
    network = encodings.load_image_encoder(job.folder, job.config.model)
    with torch.no_grad():
        network.proj.mul_(2)
    save_weights(network, path)
    again = other(job)
    load_split(again, "train", *NETWORKS)
    assert again.counts["encoded_pictures"] == 4
