"""A machine with an empty disk and the same store: nothing is decoded, captioned or written again."""

from pathlib import Path

import pytest
from drawn_videos import draw_video, scenes, write_srt
from small_builds import small_config

from story_model.asking.answers import Answer, Ledger
from story_model.config import Settings
from story_model.store import Store, open_store
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset, prepare_episode, publish_dataset
from storystream_builder.sources import find_sources


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        draw_video(folder / f"{number}.mp4", scenes(*range(10 * number + 1, 10 * number + 7)))
    write_srt(folder / "0.srt", [(number, number + 1, f"Line {number}.") for number in range(6)])
    return folder


def no_decoder(*_: object, **__: object) -> None:
    raise AssertionError("something is decoded again")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_machine_with_an_empty_disk_takes_the_dataset_as_it_is(videos, s3, tmp_path, monkeypatch):
    settings, config = Settings(store=s3), small_config()
    ours, theirs = RunFolder(tmp_path / "here" / "run"), RunFolder(tmp_path / "there" / "run")
    build_dataset(videos, ours, config=config, settings=settings)
    for module in ("episodes", "listening.spoken"):
        monkeypatch.setattr(f"storystream_builder.{module}.run_child", no_decoder)
    manifest = build_dataset(videos, theirs, config=config, settings=settings)
    assert manifest.reused
    assert files(theirs.dataset_dir) == files(ours.dataset_dir)


def test_episodes_that_others_decoded_are_published_here(videos, s3, tmp_path):
    settings, config = Settings(store=s3), small_config()
    ours, theirs = RunFolder(tmp_path / "here" / "run"), RunFolder(tmp_path / "there" / "run")
    store = open_store(s3, theirs.root.parent)
    outcomes = [prepare_episode(source, theirs, config=config, store=store) for source in find_sources(videos, config)]
    manifest = publish_dataset(ours, outcomes, config=config, settings=settings)
    alone = build_dataset(videos, RunFolder(tmp_path / "alone" / "run"), config=config, settings=Settings())
    assert manifest.digest == alone.digest


def test_without_a_store_episodes_decoded_elsewhere_are_missed_by_name(videos, tmp_path):
    config = small_config()
    ours, theirs = RunFolder(tmp_path / "here" / "run"), RunFolder(tmp_path / "there" / "run")
    outcomes = [prepare_episode(source, theirs, config=config) for source in find_sources(videos, config)]
    with pytest.raises(ValueError, match=r"run/episodes/e\w+ was made on another machine"):
        publish_dataset(ours, outcomes, config=config, settings=Settings())


def test_videos_on_s3_make_the_same_dataset_as_local_ones(videos, s3, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    for path in videos.iterdir():
        fsspec.filesystem("s3").put_file(str(path), f"{s3}/show/{path.name}")
    config = small_config()
    local = build_dataset(videos, RunFolder(tmp_path / "local" / "run"), config=config, settings=Settings())
    folder = RunFolder(tmp_path / "remote" / "run")
    remote = build_dataset(f"{s3}/show", folder, config=config, settings=Settings())
    assert remote.digest == local.digest
    assert not any(folder.scratch_dir.iterdir())


def test_an_answer_paid_for_elsewhere_is_not_asked_again(s3, tmp_path):
    ours, theirs = tmp_path / "here" / "run" / "answers", tmp_path / "there" / "run" / "answers"
    answer = Answer("a dog runs", "stop", 10, 3)
    Ledger(ours / "e1.jsonl", Store(s3, tmp_path / "here")).put("q", answer)
    again = Ledger(theirs / "e1.jsonl", Store(s3, tmp_path / "there"))
    assert again.get("q") == answer
