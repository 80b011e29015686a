"""Two builds of the same videos: what is told to differ is what was made to differ, and nothing else."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
import pytest
from small_builds import small_config

from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset
from storystream_builder.showing.diff import ABSENT, Change, Difference, compare
from storystream_builder.showing.diff_text import lines_of

VERSION_1 = Path(__file__).parent / "data" / "dataset_v1"
RIGHTS = {"license": "CC BY 3.0", "attribution": "us"}


@pytest.fixture(scope="module")
def rebuilt(built, mixed_videos, settings, tmp_path_factory):
    """A function that builds the dataset again with other videos or settings; decoded episodes are taken over."""

    def build(videos: Path = mixed_videos, **sections) -> Path:
        folder = RunFolder(tmp_path_factory.mktemp("again") / "run")
        shutil.copytree(built.episodes_dir, folder.episodes_dir)
        build_dataset(videos, folder, config=small_config(**RIGHTS | sections), settings=settings)
        return folder.root

    return build


@pytest.fixture
def fewer_videos(mixed_videos, tmp_path) -> Path:
    videos = Path(shutil.copytree(mixed_videos, tmp_path / "videos", symlinks=True))
    (videos / "one.mp4").unlink()
    return videos


def test_two_builds_of_the_same_are_equal(built, rebuilt):
    assert compare(built.root, rebuilt()) == Difference()


def test_a_run_and_its_dataset_are_the_same(built):
    assert compare(built.root, built.dataset_dir).is_empty


def test_a_setting_is_told_by_its_key(built, rebuilt):
    found = compare(built.dataset_dir, rebuilt(filters={"min_sharpness": 21.0}))
    assert found.config == {"build.filters.min_sharpness": Change(20.0, 21.0)}


def test_frames_are_counted_by_what_they_were_and_are(built, rebuilt):
    lumas = pq.read_table(next(built.dataset_dir.glob("frames/*")), columns=["luma"])["luma"].to_pylist()
    found = compare(built.dataset_dir, rebuilt(filters={"max_luma": median(lumas)}))
    assert sum(number for change, number in found.statuses.items() if change.endswith("-> white")) > 0
    assert any(change.startswith("kept -> ") for change in found.statuses)
    assert (found.frames_added, found.frames_removed, found.pictures, found.scores) == (0, 0, [], {})


def test_a_video_that_is_gone_is_an_episode_with_its_frames_and_stories(built, rebuilt, fewer_videos):
    found = compare(built.dataset_dir, rebuilt(fewer_videos))
    assert list(found.episodes_removed.values()) == ["one.mp4"]
    assert found.episodes_added == {}
    (episode,) = found.episodes_removed
    assert [name for name in found.stories_removed if episode in name] == [f"stories-{episode}-0000"]
    assert found.frames_removed > 0
    assert found.config["sources"] == Change("9 videos", "8 videos")


def test_a_video_with_other_content_is_an_episode_replaced(built, rebuilt, mixed_videos, tmp_path):
    videos = Path(shutil.copytree(mixed_videos, tmp_path / "videos", symlinks=True))
    with (videos / "one.mp4").open("ab") as file:
        file.write(bytes(8))
    found = compare(built.dataset_dir, rebuilt(videos))
    assert list(found.episodes_replaced) == ["one.mp4"]
    assert (found.episodes_added, found.episodes_removed) == ({}, {})


def test_a_changed_text_is_told_word_for_word(built, rebuilt, mixed_videos, tmp_path):
    videos = Path(shutil.copytree(mixed_videos, tmp_path / "videos", symlinks=True))
    subtitles = videos / "spoken.srt"
    subtitles.write_text(subtitles.read_text().replace("second 2.", "moment 2."))
    found = compare(built.dataset_dir, rebuilt(videos))
    (story,) = found.stories_changed.values()
    assert list(story.texts.values()) == [Change("This is second 2.", "This is moment 2.")]
    assert (story.frames_added, story.frames_removed) == ([], [])
    assert found.config["sources"].new == "9 videos, 1 of them new or not as they were"
    assert found.scores == {"caption": 1}


def test_a_story_in_another_split_is_told(built, rebuilt):
    found = compare(
        built.dataset_dir, rebuilt(stories={**small_config().stories.model_dump(), "validation_fraction": 0.5})
    )
    assert set(found.splits.values()) == {Change("train", "validation")}


def test_a_picture_with_other_bytes_is_told(built, rebuilt):
    found = compare(built.dataset_dir, rebuilt(candidates={"jpeg_quality": 60}))
    assert len(found.pictures) == 18


def test_versions_of_the_schema_are_compared_in_what_both_know(built):
    found = compare(VERSION_1, built.dataset_dir)
    assert found.config["schema version"] == Change("1", "2")
    assert ABSENT in {change.old for change in found.config.values()}


def test_a_folder_without_a_finished_dataset_is_an_error(built, tmp_path):
    with pytest.raises(ValueError, match="holds no finished dataset; build it first"):
        compare(built.dataset_dir, tmp_path)


def test_a_long_difference_says_what_it_leaves_out(built, rebuilt):
    found = compare(built.dataset_dir, rebuilt(candidates={"jpeg_quality": 60}))
    assert "  … and 16 more (--limit)" in list(lines_of(found, limit=2))


def test_a_difference_is_json(built, rebuilt):
    found = compare(built.dataset_dir, rebuilt(filters={"min_sharpness": 21.0}))
    assert json.loads(json.dumps(asdict(found)))["config"]["build.filters.min_sharpness"] == {"old": 20.0, "new": 21.0}
