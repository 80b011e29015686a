"""Encoder and de-tokenizer each see a picture as the square that they are configured for, and the same picture."""

from pathlib import Path

import pytest
import torch
from small_run import OTHER_SQUARES, SAME_SQUARES, small_job

from story_model.dataset import Story
from story_model.detokenizer import size_ids
from story_model.parts import load_autoencoder, load_image_encoder
from story_model.pixels import SquarePicture, decode_square, detokenizer_square, encoder_square, normalised, signed
from training.batches import every_target
from training.corpus import load_chunks, load_split
from training.stage3_adapt import predicted_views
from training.steps import Job
from training.views import Views, true_views

STORED = {"atol": 1e-2, "rtol": 1e-2}
"""What bfloat16 and float16 keep."""


def views_of(job: Job) -> Views:
    return true_views(load_split(job, "train", "image_encoder", "autoencoder"))


def shown(story: Story, square) -> list[SquarePicture]:
    return [decode_square(image, square) for image in story.images]


@pytest.mark.parametrize("overrides", [SAME_SQUARES, OTHER_SQUARES], ids=["same squares", "other squares"])
@torch.no_grad()
def test_each_network_sees_its_own_square_of_the_same_picture(tmp_path: Path, overrides: list[str]) -> None:
    job = small_job(tmp_path, overrides)
    views, model, (story,) = views_of(job), job.config.model, load_chunks(job, "train")
    seen, painted = (
        shown(story, square) for square in (encoder_square(model.image_encoder), detokenizer_square(model.detokenizer))
    )
    values = signed(torch.stack([one.pixels for one in painted]))
    view = views.rows(range(4))
    assert torch.equal(views.pictures(job), values)
    latents = load_autoencoder(job.folder, model).encode(values)
    torch.testing.assert_close(view.latents, latents, **STORED)
    assert view.size_ids.tolist() == [list(one.size_ids) for one in painted]
    features = load_image_encoder(job.folder, model)(normalised(torch.stack([one.pixels for one in seen])))
    torch.testing.assert_close(view.features, features, **STORED)


def test_squashed_pictures_are_trained_with_the_sizes_that_they_are_painted_with(tmp_path: Path) -> None:
    view = views_of(small_job(tmp_path, SAME_SQUARES)).rows(range(4))
    assert torch.equal(view.size_ids, size_ids(32, 4))


def test_chosen_pictures_keep_their_own_views(tmp_path: Path) -> None:
    job = small_job(tmp_path, OTHER_SQUARES)
    views = views_of(job)
    whole, chosen = views.rows(range(4)), views.spread(2)
    for view in (chosen.rows([1, 0]), views.rows([2, 0])):
        for name in ("latents", "features", "size_ids"):
            assert torch.equal(getattr(view, name), getattr(whole, name)[[2, 0]])
        assert view.size_ids[0].tolist() != view.size_ids[1].tolist()
    assert torch.equal(chosen.pictures(job), views.pictures(job)[[0, 2]])


def test_stage_3_s_views_show_the_targets_as_the_de_tokenizer_paints_them(tmp_path: Path) -> None:
    job = small_job(tmp_path, OTHER_SQUARES)
    train, held_out = (predicted_views(job, split) for split in ("train", "validation"))
    (story,) = load_chunks(job, "train")
    painted = shown(story, detokenizer_square(job.config.model.detokenizer))
    expected = [painted[target] for _, target in every_target([story])]
    assert torch.equal(train.pictures(job), signed(torch.stack([one.pixels for one in expected])))
    view = train.rows(range(len(train)))
    assert view.size_ids.tolist() == [list(one.size_ids) for one in expected]
    assert view.features.shape == (3, 4, 32)
    assert len(held_out) == 3
    assert job.counts["predicted_features"] == 6
