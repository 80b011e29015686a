"""A preview says what a build with those settings would do, and does none of it."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_builds import small_config
from test_show import Page, rewrite

from story_model.config import load_config, save_config
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset
from storystream_builder.frames import Episode
from storystream_builder.showing.diff import Change
from storystream_builder.showing.preview import lines_of, preview
from storystream_builder.showing.preview_page import write_preview
from storystream_builder.showing.stored_run import read_run

RIGHTS = {"license": "CC BY 3.0", "attribution": "us"}


@pytest.fixture
def run_folder(built, tmp_path) -> RunFolder:
    """The built run, with its configuration beside it as the command saves it."""
    folder = RunFolder(Path(shutil.copytree(built.root, tmp_path / "run")))
    save_config(load_config("tiny").model_copy(update={"build": small_config(**RIGHTS)}), folder.config_path)
    return folder


@pytest.fixture
def median(built):
    """A function that gives the median of a score over all candidates."""
    table = pq.read_table(next(built.dataset_dir.glob("frames/*")))
    return lambda score: sorted(table[score].to_pylist())[table.num_rows // 2]


def statuses(dataset_dir: Path) -> Counter[str]:
    return Counter(pq.read_table(next(dataset_dir.glob("frames/*")), columns=["status"])["status"].to_pylist())


def test_without_a_change_all_is_as_published(run_folder):
    found = preview(read_run(run_folder), [])
    published = statuses(run_folder.dataset_dir)
    assert {reason: change.new for reason, change in found.reasons.items()} == published
    assert (found.settings, found.notes) == ({}, [])
    assert not [one for one in found.episodes if one.newly_kept or one.newly_dropped]


@pytest.mark.parametrize(
    ("score", "setting"), [("sharpness", "min_sharpness"), ("luma", "max_luma"), ("contrast", "min_contrast")]
)
def test_a_preview_is_what_a_build_with_the_settings_gives(run_folder, mixed_videos, settings, median, score, setting):
    limit = median(score)
    found = preview(read_run(run_folder), [f"build.filters.{setting}={limit}"])
    config = small_config(filters={setting: limit}, **RIGHTS)
    manifest = build_dataset(mixed_videos, run_folder, config=config, settings=settings)
    built_anew = statuses(run_folder.dataset_dir)
    assert {reason: change.new for reason, change in found.reasons.items() if change.new} == built_anew
    assert sum(one.stories.new for one in found.episodes) == manifest.counts["stories"]
    assert any(change.old != change.new for change in found.reasons.values())


def test_a_preview_decodes_nothing(run_folder, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was decoded")

    for place, name in ((subprocess, "Popen"), (av, "open"), (Image, "open"), (Episode, "images")):
        monkeypatch.setattr(place, name, refuse)
    assert preview(read_run(run_folder), ["build.filters.min_sharpness=1e9"]).reasons["kept"].new == 0


def test_a_preview_publishes_nothing(run_folder, tmp_path):
    before = {path: path.read_bytes() for path in run_folder.root.rglob("*") if path.is_file()}
    write_preview(run_folder, ["build.filters.min_sharpness=1e9"], tmp_path / "pages")
    assert {path: path.read_bytes() for path in run_folder.root.rglob("*") if path.is_file()} == before


def test_newly_kept_and_dropped_frames_are_shown_with_pictures(run_folder, tmp_path, median):
    path, found = write_preview(run_folder, [f"build.filters.min_sharpness={median('sharpness')}"], tmp_path / "pages")
    frames = [frame for one in found.episodes for frame in (*one.newly_kept, *one.newly_dropped)]
    pictures = [address for address in Page(path).addresses if address.endswith(".jpg")]
    assert len(frames) == len(pictures) > 0
    assert all((path.parent / address).is_file() for address in pictures)


def test_scores_are_drawn_with_the_limit_in_them(run_folder, tmp_path):
    path, _ = write_preview(run_folder, ["build.filters.max_text=0.05"], tmp_path / "pages")
    page = Page(path)
    assert page.tags.count("svg") == 5
    for expected in ("keeps ≤ 0.05", "keeps ≥ 20", "max_text 0.05 alone drops"):
        assert expected in " ".join(page.text.split())


def test_what_a_limit_leaves_out_of_a_preview_is_said(run_folder, tmp_path):
    path, _ = write_preview(run_folder, ["build.filters.min_sharpness=1e9"], tmp_path / "pages", limit=3)
    assert "3 of them, spread over the episodes" in Page(path).text


def test_other_lengths_of_stories_are_told(run_folder):
    found = preview(read_run(run_folder), ["build.stories.length=2"])
    assert sum(one.stories.new for one in found.episodes) > sum(one.stories.old for one in found.episodes)


def test_silent_shots_stay_silent(run_folder):
    found = preview(read_run(run_folder), ["build.filters.min_sharpness=19"])
    assert found.reasons["no narration"] == Change(1, 1)


def test_a_frame_that_was_refused_a_caption_stays_out(run_folder):
    (frames,) = run_folder.dataset_dir.glob("frames/*")
    first = next(row["frame_id"] for row in pq.read_table(frames).to_pylist() if row["status"] == "kept")
    rewrite(frames, status=lambda row: "no caption: refused" if row["frame_id"] == first else row["status"])
    assert preview(read_run(run_folder), []).reasons["no caption"] == Change(1, 1)


def test_appeal_is_what_was_stored_and_what_was_not_is_noted(run_folder):
    (frames,) = run_folder.dataset_dir.glob("frames/*")
    first = next(row["frame_id"] for row in pq.read_table(frames).to_pylist() if row["status"] == "kept")
    rewrite(frames, appeal=lambda row: 0.55 if row["frame_id"] == first else None)
    found = preview(read_run(run_folder), ["build.filters.appeal.min_score=0.6"])
    assert found.reasons["unappealing"] == Change(0, 1)
    assert any("have no appeal yet" in note for note in found.notes)


def test_a_run_without_a_dataset_can_be_previewed(run_folder):
    shutil.rmtree(run_folder.dataset_dir)
    found = preview(read_run(run_folder), ["build.filters.min_sharpness=1e9"])
    assert found.reasons["kept"].old > 0
    assert any("the run has no dataset" in note for note in found.notes)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("build.shots.detector=hash", "decides what is decoded"),
        ("build.candidates.per_shot=9", "decides what is decoded"),
        ("build.filters.min_sharpnes=1", "did you mean 'min_sharpness'"),
        ("build.filters.max_text", "has no '='"),
    ],
)
def test_a_preview_that_cannot_be_given_is_an_error(run_folder, override, reason):
    with pytest.raises(ValueError, match=reason):
        preview(read_run(run_folder), [override])


def test_a_setting_that_decides_nothing_is_noted(run_folder):
    assert preview(read_run(run_folder), ["build.workers=7"]).notes == [
        "build.workers does not decide which frames are kept"
    ]


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.yaml"):
        read_run(RunFolder(tmp_path))


def test_a_preview_is_told_in_lines(run_folder):
    lines = list(lines_of(preview(read_run(run_folder), ["build.filters.min_sharpness=1e9"])))
    assert lines[0] == "build.filters.min_sharpness: 20.0 -> 1000000000.0"
    assert any(line.endswith("stories") and "-> 0" in line for line in lines)
