"""Stage 1's pictures: the stories' and the sources', drawn by weight, each encoded once, none of them held out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from picture_folders import drawn, write_folder, write_table, write_tar
from small_run import SAME_SQUARES, job_of, picture, small_job

from story_model.config import Settings, override_config
from story_model.manifest import Manifest, StepResult
from story_model.pixels import decode_square, detokenizer_square
from training import stage1_detokenizer
from training.batches import rows_of_step
from training.corpus import load_split
from training.mixture import Mixture, mixture
from training.noise import denoising
from training.picture_sources import SourcePictures, source_inputs
from training.steps import Job, train_parts
from training.views import true_views

NETWORKS = ("image_encoder", "autoencoder")
SOURCES = "train.stage1.sources=[{name: folder, weight: 3}, {name: shards}, {name: table, weight: 0.5}]"
MIXED = [*SAME_SQUARES, "train.stage1.min_side=16", "train.bad_records=skip", SOURCES]
TAKEN = {"folder_pictures": 2, "shards_pictures": 2, "table_pictures": 4}


def write_sources(root: Path) -> None:
    """Write three sources with 2, 2 and 4 pictures of their own; the shards also have one that is held out."""
    cut = drawn(8, (300, 200))[:-400]
    write_folder(root / "folder", {"a/0.jpg": drawn(0), "1.png": drawn(1, form="PNG"), "cut.jpg": cut})
    write_tar(root / "shards/0.tar", {"2.jpg": drawn(2), "3.jpg": drawn(3), "leak.png": picture(4)})
    write_table(root / "table/0.parquet", [drawn(4), drawn(5), None], as_struct=True)
    write_table(root / "table/1.parquet", [drawn(6), drawn(7)], as_struct=False)


def mixed_job(root: Path, overrides: Sequence[str] = ()) -> Job:
    """Set up stage 1 of a run of four story pictures, with all sources looked through."""
    write_sources(root / "pictures")
    job = replace(small_job(root / "run", [*MIXED, *overrides]), settings=settings_of(root))
    source_inputs("stage1", job.folder, job.config, job.settings)
    return job


def settings_of(root: Path) -> Settings:
    return Settings(_env_file=None, pictures=root / "pictures", tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


def mixed(job: Job) -> Mixture:
    train, held_out = (load_split(job, split, *NETWORKS) for split in ("train", "validation"))
    return mixture(job, train, held_out, *NETWORKS)


def test_pictures_of_all_sources_join_the_stories_and_held_out_ones_do_not(tmp_path: Path) -> None:
    job = mixed_job(tmp_path)
    found = mixed(job)
    bad = {"folder_unreadable": 1, "shards_held_out": 1, "table_unreadable": 1}
    assert found.counts == {"pictures": 12, "story_pictures": 4, **TAKEN, **bad}
    assert len(set(found.digests)) == 12
    assert not set(found.digests) & set(load_split(job, "validation").digests)


def test_a_second_run_encodes_nothing(tmp_path: Path) -> None:
    job = mixed_job(tmp_path)
    mixed(job)
    # Of the stories 4 and 4 that are held out, of the sources 8; each by both networks.
    assert job.counts["encoded_pictures"] == 2 * (4 + 4 + 8)
    first = mixed(job)
    assert job.counts["encoded_pictures"] == 2 * (4 + 4 + 8)
    assert mixed(job).digests == first.digests


@pytest.mark.parametrize("enabled", ["true", "false"], ids=["stored", "fresh"])
def test_views_show_a_source_s_pictures_as_any_other(enabled: str, tmp_path: Path) -> None:
    job = mixed_job(tmp_path, [f"train.features.enabled={enabled}"])
    found = mixed(job)
    square = detokenizer_square(job.config.model.detokenizer)
    shown = {decode_square(drawn(number), square).pixels.numpy().tobytes() for number in (0, 2, 3, 4, 5, 6, 7)}
    pixels = [one.numpy().tobytes() for one in found.pixels(found.digests, square)]
    assert shown < set(pixels)
    view = true_views(found).rows(range(12))
    assert view.features.shape[:1] == view.latents.shape[:1] == (12,)
    assert len({one.numpy().tobytes() for one in view.latents}) == 12
    other = override_config(job.config, [f"train.features.enabled={enabled == 'false'}"])
    features = mixed(replace(job, config=other)).encodings.features(found.digests)
    torch.testing.assert_close(features, view.features, atol=1e-2, rtol=1e-2)


def test_networks_that_run_at_each_step_are_loaded_once_for_stories_and_sources(tmp_path: Path) -> None:
    job = mixed_job(tmp_path, ["train.features.enabled=false"])
    train, held_out = (load_split(job, split, *NETWORKS) for split in ("train", "validation"))
    assert mixture(job, train, held_out, *NETWORKS).encodings.encoders is train.encodings.encoders


def test_an_epoch_draws_each_source_by_its_weight(tmp_path: Path) -> None:
    job = mixed_job(tmp_path)
    found = mixed(job)
    task = denoising(true_views(found), job.config.model.detokenizer)
    of = ["stories"] * 4 + ["folder"] * 2 + ["shards"] * 2 + ["table"] * 4
    assert sum(task.weights) == 14
    drawn_rows = [row for step in range(7) for row in rows_of_step(12, 2, seed=0, step=step, weights=task.weights)]
    assert Counter(of[row] for row in drawn_rows) == {"stories": 4, "folder": 6, "shards": 2, "table": 2}


def test_without_sources_stage_1_sees_what_it_saw_before(tmp_path: Path) -> None:
    job = small_job(tmp_path, SAME_SQUARES)
    train = load_split(job, "train", *NETWORKS)
    found = mixed(job)
    assert (found.digests, found.picture_weights, found.counts) == (train.digests, None, {"pictures": 4})


def test_where_pictures_lie_does_not_change_what_a_step_sees(tmp_path: Path) -> None:
    here, there = mixed_job(tmp_path / "here"), mixed_job(tmp_path / "there")
    pictures = tmp_path / "there/pictures"
    (pictures / "folder/a/0.jpg").rename(pictures / "folder/z.jpg")
    (pictures / "table/0.parquet").rename(pictures / "table/9.parquet")
    inputs = [source_inputs("stage1", job.folder, job.config, job.settings) for job in (here, there)]
    assert inputs[0] == inputs[1]
    assert mixed(here).digests == mixed(there).digests


def test_a_kill_in_the_middle_costs_what_was_not_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = mixed_job(tmp_path, ["train.features.shard_pictures=2"])
    for split in ("train", "validation"):
        load_split(job, split, *NETWORKS)
    made, given, read = job.counts["encoded_pictures"], 0, SourcePictures.read

    class Killed(BaseException):
        pass

    def six_times(self: SourcePictures, digest: str) -> bytes:
        nonlocal given
        given += 1
        if given > 6:
            raise Killed
        return read(self, digest)

    with monkeypatch.context() as patch:
        patch.setattr(SourcePictures, "read", six_times)
        patch.setattr("training.filling._BATCH", 2)
        with pytest.raises(Killed):
            mixed(job)
    assert len(mixed(job).digests) == 12
    assert made < job.counts["encoded_pictures"] < made + 2 * 8


def test_changed_pictures_train_stage_1_anew_and_unchanged_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = mixed_job(tmp_path)
    made: list[int] = []

    def make(job: Job) -> StepResult:
        made.append(len(mixed(job).digests))
        return StepResult(counts=mixed(job).counts)

    monkeypatch.setattr(stage1_detokenizer, "make", make)

    def train() -> Manifest:
        (manifest,) = train_parts(["stage1"], job.folder, job.config, job.settings)
        return manifest

    first = train()
    assert first.counts["pictures"] == 12
    assert first.inputs.keys() > {"pictures of folder", "pictures of shards", "pictures of table"}
    assert train().reused
    write_folder(tmp_path / "pictures/folder", {"new.jpg": drawn(30)})
    assert not train().reused
    assert made == [12, 13]


def test_stage_1_trains_on_the_mixture(tmp_path: Path) -> None:
    small = ["train.stage1.steps=2", "train.stage1.batch_size=4", "train.reconstruction_steps=1"]
    job = mixed_job(tmp_path, small)
    (manifest,) = train_parts(["stage1"], job.folder, job.config, job.settings)
    assert TAKEN.items() <= manifest.counts.items()
    assert manifest.counts["pictures"] == 12
    again = job_of(job.folder, [*MIXED, *small])
    assert train_parts(["stage1"], job.folder, again.config, job.settings)[0].reused
