"""The child process: what kills it becomes a reason, and what it found is not computed twice."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from drawn_videos import draw_video, scenes, write_srt
from small_builds import small_config, source_of

from story_model.config import Settings
from story_model.workspace import RunFolder
from storystream_builder.build import make_voices
from storystream_builder.episodes import decode_key_of, prepare_episode
from storystream_builder.frames import load_episode


@pytest.fixture(scope="module")
def decoded_once(tmp_path_factory) -> Path:
    """A folder with a video and the run folder in which it was decoded."""
    place = tmp_path_factory.mktemp("decoded")
    video = draw_video(place / "x.mp4", scenes(1, 2))
    first = prepare_episode(source_of(video), RunFolder(place / "run"), config=small_config())
    assert not first.reused
    return place


@pytest.fixture
def place(decoded_once, tmp_path) -> Path:
    """A copy of that, to be changed."""
    return Path(shutil.copytree(decoded_once, tmp_path / "place"))


@pytest.fixture
def video(place) -> Path:
    return place / "x.mp4"


@pytest.fixture
def decoded(place) -> RunFolder:
    """The run folder in which `video` is decoded already."""
    return RunFolder(place / "run")


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """An empty run folder."""
    return RunFolder(tmp_path / "run")


def test_a_second_call_decodes_nothing(video, decoded):
    assert prepare_episode(source_of(video), decoded, config=small_config()).reused


def test_changed_subtitles_are_read_without_decoding_again(video, decoded):
    write_srt(video.with_suffix(".srt"), [(0, 1, "Hello")])
    again = prepare_episode(source_of(video), decoded, config=small_config())
    assert (again.reused, len(again.transcript.lines)) == (True, 1)


def test_another_number_of_workers_decodes_nothing_again(video, decoded):
    assert prepare_episode(source_of(video), decoded, config=small_config(workers=1, decode={"timeout_s": 5.0})).reused


def test_another_detector_decodes_again(video, decoded):
    assert not prepare_episode(source_of(video), decoded, config=small_config(shots={"detector": "content"})).reused


def test_a_decoder_that_takes_too_long_is_ended(video, folder):
    outcome = prepare_episode(source_of(video), folder, config=small_config(decode={"timeout_s": 0.01}))
    assert outcome.problems[0].reason.startswith("timed out")


def test_a_timeout_is_not_remembered(video, folder):
    prepare_episode(source_of(video), folder, config=small_config(decode={"timeout_s": 0.01}))
    assert prepare_episode(source_of(video), folder, config=small_config()).episode_id


def test_a_decoder_without_memory_ends_alone(video, folder):
    outcome = prepare_episode(source_of(video), folder, config=small_config(decode={"max_memory_gb": 0.001}))
    assert outcome.problems[0].reason.startswith("crashed")


def test_a_fault_of_the_file_is_remembered(tmp_path, folder):
    (tmp_path / "x.mp4").write_text("<html></html>")
    prepare_episode(source_of(tmp_path / "x.mp4"), folder, config=small_config())
    again = prepare_episode(source_of(tmp_path / "x.mp4"), folder, config=small_config())
    assert (again.reused, again.problems[0].reason[:10]) == (True, "unreadable")


def test_equal_files_are_decoded_once_even_at_the_same_time(video, folder):
    twin = Path(shutil.copy(video, video.with_name("twin.mp4")))
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(lambda path: prepare_episode(source_of(path), folder, config=small_config()), [video, twin])
        )
    assert sorted(outcome.reused for outcome in outcomes) == [False, True]
    assert outcomes[0].episode_id == outcomes[1].episode_id


def test_a_name_that_no_encoding_knows_is_no_hindrance(video, folder):
    strange = Path(os.fsdecode(os.fsencode(video.parent) + b"/-caf\xe9\n.mp4"))
    outcome = prepare_episode(source_of(Path(shutil.move(video, strange))), folder, config=small_config())
    assert (outcome.problems, outcome.name) == ((), "-caf%E9%0A.mp4")


def test_half_an_episode_that_a_kill_left_behind_is_done_again(video, decoded):
    (out_dir,) = (path for path in decoded.episodes_dir.iterdir() if path.is_dir())
    (out_dir / "manifest.json").unlink()
    (out_dir / "candidates.parquet").write_bytes(b"half")
    assert prepare_episode(source_of(video), decoded, config=small_config()).reused is False
    assert (out_dir / "candidates.parquet").stat().st_size > 1000


def test_a_network_that_finds_shots_is_told_missing_before_anything_is_decoded(tmp_path):
    config = small_config(shots={"detector": "transnetv2", "weights": str(tmp_path / "none.onnx")})
    with pytest.raises(ValueError, match="there is no file"):
        make_voices(RunFolder(tmp_path / "run"), config, Settings(_env_file=None, api_base_url=None))


def test_another_network_decodes_anew(monkeypatch):
    config = small_config(shots={"detector": "transnetv2", "weights": "x.onnx"})
    keys = []
    for digest in ("one", "two"):
        monkeypatch.setattr("storystream_builder.episodes._network", lambda _, digest=digest: digest)
        keys.append(decode_key_of("e0", "0", config))
    assert keys[0] != keys[1]


@pytest.mark.parametrize("file", ["candidates.parquet", "episode.json"])
def test_a_decoded_episode_that_rots_on_the_disk_says_what_to_remove(video, decoded, file):
    outcome = prepare_episode(source_of(video), decoded, config=small_config())
    out_dir = decoded.episodes_dir / str(outcome.episode_id)
    data = bytearray((out_dir / file).read_bytes())
    data[len(data) // 2] ^= 0x80
    (out_dir / file).write_bytes(data)
    with pytest.raises(ValueError, match=f"{out_dir} is damaged .* remove it"):
        load_episode(outcome, out_dir).images(dropped=True)
