"""From a folder of good and bad videos to a published dataset, and what a second run does."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from drawn_videos import draw_video, scenes
from small_builds import small_config

from story_model.config import Settings
from story_model.dataset import chunks, read_stories
from story_model.manifest import read_manifest
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset, find_sources, prepare_episode, publish_dataset
from storystream_builder.verify import verify_dataset


def table(folder: RunFolder, name: str) -> list[dict]:
    return pq.read_table(folder.dataset_dir / "meta" / f"{name}.parquet").to_pylist()


@pytest.mark.parametrize(
    ("file", "step", "reason"),
    [
        ("cut_short.mp4", "decode", "truncated"),
        ("empty.mp4", "decode", "empty"),
        ("page.mp4", "decode", "unreadable"),
        ("sound.mp4", "decode", "no video stream"),
        ("mute.srt", "transcript", "the text's encoding is unknown"),
    ],
)
def test_a_bad_file_is_a_row_with_its_reason(built, file, step, reason):
    rows = [row for row in table(built, "errors") if row["file"] == file]
    assert [(row["step"], row["reason"][: len(reason)]) for row in rows] == [(step, reason)]


def test_no_good_file_is_a_row(built):
    bad = {"cut_short.mp4", "empty.mp4", "page.mp4", "sound.mp4", "mute.srt"}
    assert {row["file"] for row in table(built, "errors")} == bad


def test_every_good_video_is_an_episode_whatever_its_name(built):
    names = {row["source_name"] for row in table(built, "episodes")}
    assert names == {"one.mp4", "two.mp4", "spoken.mp4", "caf%E9.mp4", "mute.mp4"}


def test_the_ground_floor_reads_both_splits(built):
    train, validation = read_stories(built.dataset_dir, "train"), read_stories(built.dataset_dir, "validation")
    assert {story.episode_id for story in train}.isdisjoint({story.episode_id for story in validation})
    assert all(len(chunk.images) == 2 for chunk in chunks(train, 2) if len(chunk.images) > 1)


def test_captions_are_the_lines_spoken_over_the_pictures(built):
    episode = next(row["episode_id"] for row in table(built, "episodes") if row["source_name"] == "spoken.mp4")
    (row,) = [row for row in table(built, "stories") if row["episode_id"] == episode]
    assert row["captions"] == [f"This is second {second}." for second in range(1, 5)]


def test_the_shot_without_a_line_is_dropped_as_such(built):
    episode = next(row["episode_id"] for row in table(built, "episodes") if row["source_name"] == "spoken.mp4")
    outcomes = [row["outcome"] for row in table(built, "shots") if row["episode_id"] == episode]
    assert outcomes == ["no narration", "kept", "kept", "kept", "kept"]


def test_every_published_picture_is_among_the_frames(built):
    frames = pq.read_table(built.dataset_dir / "frames").to_pylist()
    stored = {row["image_sha256"] for row in frames if row["image"]}
    shown = [
        digest
        for split in ("train", "validation")
        for story in read_stories(built.dataset_dir, split)
        for digest in story.image_sha256
    ]
    assert set(shown) <= stored
    assert len(shown) == len(set(shown))


def test_licence_and_attribution_are_in_every_row(built):
    rows = pq.read_table(built.dataset_dir / "data", columns=["license", "attribution"]).to_pylist()
    assert {(row["license"], row["attribution"]) for row in rows} == {("CC BY 3.0", "us")}


def test_the_card_names_splits_that_exist(built):
    front = yaml.safe_load((built.dataset_dir / "README.md").read_text().split("---")[1])
    (config,) = front["configs"]
    found = {split["split"]: len(list(built.dataset_dir.glob(split["path"]))) for split in config["data_files"]}
    assert found == {"train": 1, "validation": 1}
    assert (front["license"], front["license_name"]) == ("other", "CC BY 3.0")


def test_the_card_tells_what_measured_captions_are(built):
    text = (built.dataset_dir / "README.md").read_text()
    assert "no objects and no names" in text


def test_the_manifest_accounts_for_every_candidate(built):
    manifest = read_manifest(built.dataset_dir)
    assert manifest is not None
    counts = manifest.counts
    assert counts["candidates"] == sum(n for name, n in counts.items() if name.startswith("frames "))
    assert (counts["videos"], counts["problems"]) == (9, 5)


def test_a_second_run_recomputes_nothing(built, mixed_videos, settings, monkeypatch):
    config = small_config(license="CC BY 3.0", attribution="us", workers=1)
    monkeypatch.setattr("storystream_builder.episodes.run_child", lambda *_, **__: pytest.fail("decoded again"))
    assert build_dataset(mixed_videos, built, config=config, settings=settings).reused


def test_the_same_videos_make_the_same_bytes_elsewhere(mixed_videos, settings, tmp_path):
    files = []
    for place, workers in (("here", 1), ("elsewhere", 3)):
        videos = tmp_path / place / "videos"
        videos.mkdir(parents=True)
        for name in ("one.mp4", "spoken.mp4", "spoken.srt", "empty.mp4"):
            shutil.copy(mixed_videos / name, videos)
        config = small_config(workers=workers)
        manifest = build_dataset(videos, RunFolder(tmp_path / place / "run"), config=config, settings=settings)
        files.append(manifest.files)
    assert files[0] == files[1]


def test_other_story_lengths_decode_nothing_again(built, mixed_videos, settings, tmp_path, monkeypatch):
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(built.root, copy.root)
    monkeypatch.setattr("storystream_builder.episodes.run_child", lambda *_, **__: pytest.fail("decoded again"))
    config = small_config(stories={"length": 2, "min_length": 2, "chunk_length": 2})
    manifest = build_dataset(mixed_videos, copy, config=config, settings=settings)
    assert manifest.counts["stories"] > read_manifest(built.dataset_dir).counts["stories"]


def test_videos_none_of_which_is_usable_are_one_clear_error(tmp_path, settings):
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of 1 videos can be used: x\.mp4: empty"):
        build_dataset(tmp_path, RunFolder(tmp_path / "run"), config=small_config(), settings=settings)


def test_videos_too_short_for_a_story_say_where_the_frames_went(tmp_path, settings):
    draw_video(tmp_path / "x.mp4", scenes(1))
    with pytest.raises(ValueError, match=r"min_length=2 .* 1 in no story"):
        build_dataset(tmp_path, RunFolder(tmp_path / "run"), config=small_config(), settings=settings)


def test_one_video_alone_makes_both_splits_with_a_warning(tmp_path, settings):
    video = draw_video(tmp_path / "x.mp4", scenes(1, 2, 3, 4))
    folder = RunFolder(tmp_path / "run")
    manifest = build_dataset(video, folder, config=small_config(), settings=settings)
    assert [len(read_stories(folder.dataset_dir, split)) for split in ("train", "validation")] == [1, 1]
    assert manifest.counts["warnings"] == 1
    assert "**Warning:** there is one story only" in (folder.dataset_dir / "README.md").read_text()


def test_a_copy_under_another_name_is_a_row_and_no_second_episode(tmp_path, settings):
    video = draw_video(tmp_path / "a.mp4", scenes(1, 2, 3, 4))
    shutil.copy(video, tmp_path / "b.mp4")
    folder = RunFolder(tmp_path / "run")
    build_dataset(tmp_path, folder, config=small_config(), settings=settings)
    assert len(table(folder, "episodes")) == 1
    assert [row["reason"] for row in table(folder, "errors")] == ["duplicate: the same file as a.mp4"]


def test_an_unconfigured_endpoint_is_noticed_before_anything_is_decoded(tmp_path):
    draw_video(tmp_path / "x.mp4", scenes(1))
    folder = RunFolder(tmp_path / "run")
    config = small_config(captions={"captioner": "openai", "model": "seer"})
    with pytest.raises(ValueError, match="STORY_API_BASE_URL"):
        build_dataset(tmp_path, folder, config=config, settings=Settings(_env_file=None, api_base_url=None))
    assert not folder.root.exists()


def test_outcomes_in_any_order_publish_the_same(built, mixed_videos, settings):
    config = small_config(license="CC BY 3.0", attribution="us")
    outcomes = [prepare_episode(source, built, config=config) for source in find_sources(mixed_videos, config)]
    assert publish_dataset(built, outcomes[::-1], config=config, settings=settings).reused


def test_a_rebuild_that_fails_leaves_the_dataset_as_it_was(built, mixed_videos, settings, tmp_path):
    copy = RunFolder(Path(shutil.copytree(built.root, tmp_path / "run")))
    before = read_manifest(copy.dataset_dir)
    config = small_config(stories={"length": 90, "min_length": 80, "chunk_length": 2})
    with pytest.raises(ValueError, match="no story"):
        build_dataset(mixed_videos, copy, config=config, settings=settings)
    assert read_manifest(copy.dataset_dir) == before
    assert verify_dataset(copy.dataset_dir) == []


def test_a_folder_that_is_not_ours_is_not_replaced(mixed_videos, settings, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.dataset_dir.mkdir(parents=True)
    (folder.dataset_dir / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="would be deleted"):
        build_dataset(mixed_videos, folder, config=small_config(), settings=settings)
    assert (folder.dataset_dir / "thesis.txt").read_text() == "years of work"


def test_where_the_lines_come_from_is_told(built):
    told = {row["source_name"]: row["transcript"] for row in table(built, "episodes")}
    assert (told["spoken.mp4"], told["one.mp4"]) == ("file", None)
