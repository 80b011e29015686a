"""A split as training reads it: whole chunks, each picture once, bad stories left out where that is asked for."""

from pathlib import Path

import pytest
from small_run import SAME_SQUARES, picture, row_of, small_job

from training.batches import rows_of_step
from training.corpus import load_split
from training.noise import denoising
from training.stage3_adapt import predicted_views
from training.steps import Job
from training.views import true_views

NETWORKS = ("image_encoder", "autoencoder")
SKIP = [*SAME_SQUARES, "train.bad_records=skip"]


def with_a_broken_picture(root: Path, overrides: list[str]) -> Job:
    """Make a run whose second story of three has a picture that ends too soon."""
    images = [picture(number) for number in range(12)]
    images[5] = images[5][:200]
    stories = [row_of(f"s{first // 4}", "train", images[first : first + 4]) for first in (0, 4, 8)]
    return small_job(root, overrides, train=stories)


def test_a_picture_of_two_chunks_is_one(tmp_path: Path) -> None:
    images = [picture(number) for number in (0, 1, 2, 3, 2, 4)]
    job = small_job(tmp_path, SAME_SQUARES, train=[row_of("s", "train", images)])
    split = load_split(job, "train", *NETWORKS)
    assert [chunk.story_id for chunk in split.chunks] == ["s/0", "s/1"]
    assert len(split.digests) == 5
    assert job.counts["encoded_pictures"] == 2 * 5


def test_a_picture_is_encoded_once_for_all_parts(tmp_path: Path) -> None:
    job = small_job(tmp_path, SAME_SQUARES)
    load_split(job, "train", *NETWORKS)
    load_split(job, "train", *NETWORKS)
    assert job.counts["encoded_pictures"] == 2 * 4


def test_a_broken_picture_ends_the_run_and_is_named(tmp_path: Path) -> None:
    job = with_a_broken_picture(tmp_path, SAME_SQUARES)
    with pytest.raises(ValueError, match=r"story s1, picture 1 does not decode"):
        load_split(job, "train", *NETWORKS)


@pytest.mark.parametrize("networks", [NETWORKS, ()], ids=["encoded", "pixels"])
@pytest.mark.parametrize("enabled", ["true", "false"], ids=["stored", "fresh"])
def test_a_story_with_a_broken_picture_is_left_out_counted_and_named(
    networks: tuple[str, ...], enabled: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = with_a_broken_picture(tmp_path, [*SKIP, f"train.features.enabled={enabled}"])
    split = load_split(job, "train", *networks)
    assert [chunk.story_id for chunk in split.chunks] == ["s0/0", "s2/0"]
    assert job.counts["skipped_stories"] == 1
    assert "1 of 3 stories are left out; the first: s1: story s1, picture 1 does not decode" in caplog.text
    if networks:
        assert len(split.encodings.features(split.digests)) == 8


def test_a_later_part_leaves_the_same_stories_out(tmp_path: Path) -> None:
    job = with_a_broken_picture(tmp_path, SKIP)
    first, second = (load_split(job, "train", *NETWORKS) for _ in range(2))
    assert [chunk.story_id for chunk in first.chunks] == [chunk.story_id for chunk in second.chunks]


def test_a_subset_is_drawn_as_often_as_its_weight_says(tmp_path: Path) -> None:
    stories = [
        row_of(f"{subset}{number}", "train", [picture(4 * number + at) for at in range(4)], subset=subset)
        for subset in ("rare", "common")
        for number in range(2)
    ]
    job = small_job(tmp_path, [*SAME_SQUARES, "train.subset_weights={rare: 3, common: 0.5}"], train=stories)
    split = load_split(job, "train", "image_encoder")
    rows = [row for step in range(7) for row in rows_of_step(4, 4, seed=0, step=step, weights=split.weights)]
    drawn = [split.chunks[row].subset for row in rows]
    assert (drawn.count("rare"), drawn.count("common")) == (24, 4)


def test_pictures_and_targets_weigh_what_their_subset_does(tmp_path: Path) -> None:
    images = [picture(number) for number in range(7)]
    stories = [
        row_of("r", "train", images[:4], subset="rare"),
        row_of("c", "train", images[3:], subset="common"),
    ]
    job = small_job(tmp_path, [*SAME_SQUARES, "train.subset_weights={rare: 3, common: 0.5}"], train=stories)
    split = load_split(job, "train", *NETWORKS)
    number_of = {row_of("", "", [image])["image_sha256"][0]: number for number, image in enumerate(images)}
    views = true_views(split)
    by_number = {number_of[digest]: weight for digest, weight in zip(split.digests, views.weights, strict=True)}
    assert by_number == {0: 3, 1: 3, 2: 3, 3: 3, 4: 0.5, 5: 0.5, 6: 0.5}
    assert denoising(views, job.config.model.detokenizer).weights == views.weights
    targets = predicted_views(job, "train")
    by_target = list(zip((number_of[digest] for digest in targets.digests), targets.weights, strict=True))
    assert sorted(by_target) == [(1, 3), (2, 3), (3, 3), (4, 0.5), (5, 0.5), (6, 0.5)]


def test_what_is_held_out_has_no_weights(tmp_path: Path) -> None:
    stories = [row_of("r", "train", [picture(number) for number in range(4)], subset="rare")]
    job = small_job(tmp_path, [*SAME_SQUARES, "train.subset_weights={rare: 3}"], train=stories)
    assert load_split(job, "train").weights == [3]
    assert load_split(job, "validation").weights is None
