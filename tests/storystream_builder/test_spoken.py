"""Where an episode's lines come from: the file beside it first, then the video itself, in a process of its own."""

from pathlib import Path

import pytest
from drawn_videos import draw_video, scenes, write_srt
from small_builds import small_config
from test_embedded_subtitles import Track, mux

from story_model.workspace import RunFolder
from storystream_builder.listening.spoken import check_transcripts, transcript_of


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def found(video: Path, folder: RunFolder, **transcripts):
    config = small_config(transcripts=transcripts)
    return transcript_of(video, video.name, episode_id="e0", digest="0", folder=folder, config=config)


def test_a_file_beside_the_video_is_taken_and_the_video_is_not_asked(tmp_path, folder, monkeypatch):
    video = draw_video(tmp_path / "x.mp4", scenes(1))
    write_srt(tmp_path / "x.srt", [(0, 1, "Hello.")])
    monkeypatch.setattr("storystream_builder.listening.spoken.run_child", lambda *_, **__: pytest.fail("asked"))
    transcript, problems = found(video, folder)
    assert ([line.text for line in transcript.lines], transcript.source, problems) == (["Hello."], "file", [])


def test_the_wanted_language_is_taken(tmp_path, folder):
    video = draw_video(tmp_path / "x.mp4", scenes(1))
    write_srt(tmp_path / "x.srt", [(0, 1, "Hello.")])
    write_srt(tmp_path / "x.de.srt", [(0, 1, "Hallo.")])
    assert found(video, folder)[0].lines[0].text == "Hello."
    assert found(video, folder, language="de")[0].lines[0].text == "Hallo."


def test_a_video_without_any_lines_has_none_and_no_problem(tmp_path, folder):
    transcript, problems = found(draw_video(tmp_path / "x.mp4", scenes(1)), folder)
    assert (transcript.lines, problems) == ((), [])


def test_a_file_that_cannot_be_read_leaves_the_video_to_be_asked(tmp_path, folder):
    video = draw_video(tmp_path / "x.mp4", scenes(1))
    (tmp_path / "x.srt").write_bytes(b"\x00\x01\x02")
    transcript, problems = found(video, folder)
    assert (transcript.lines, [one.code for one in problems]) == ((), ["unreadable"])
    assert (folder.transcripts_dir / "e0" / "transcript.json").is_file()


def test_the_video_s_own_subtitles_are_taken_where_no_file_has_any(tmp_path, folder):
    video = mux(tmp_path / "x.mkv", Track(language="ger"))
    transcript, problems = found(video, folder)
    assert ([line.text for line in transcript.lines], transcript.source) == (["Hällo Pip", "Bye"], "embedded")
    assert problems == []


def test_a_video_is_asked_once(tmp_path, folder, monkeypatch):
    video = draw_video(tmp_path / "x.mp4", scenes(1))
    found(video, folder)
    monkeypatch.setattr("storystream_builder.listening.spoken.run_child", lambda *_, **__: pytest.fail("asked again"))
    found(video, folder)


def test_a_process_that_takes_too_long_is_a_problem_and_no_end(tmp_path, folder):
    video = draw_video(tmp_path / "x.mp4", scenes(1))
    config = small_config(decode={"timeout_s": 0.01})
    transcript, problems = transcript_of(video, "x.mp4", episode_id="e0", digest="0", folder=folder, config=config)
    assert (transcript.lines, [one.code for one in problems]) == ((), ["timed out"])
    assert not (folder.transcripts_dir / "e0" / "manifest.json").exists()


def test_speech_without_a_network_is_refused_before_anything_is_done(tmp_path):
    with pytest.raises(ValueError, match="holds no network"):
        check_transcripts(small_config(transcripts={"sources": ["file", "speech"]}))


def test_sources_are_asked_in_the_order_given(tmp_path, folder):
    video = mux(tmp_path / "x.mkv", Track())
    write_srt(tmp_path / "x.srt", [(0, 1, "From the file.")])
    assert found(video, folder, sources=["embedded", "file"])[0].source == "embedded"
    bare = draw_video(tmp_path / "y.mp4", scenes(1))
    write_srt(tmp_path / "y.srt", [(0, 1, "From the file.")])
    config = small_config(transcripts={"sources": ["embedded", "file"]})
    transcript, _ = transcript_of(bare, "y.mp4", episode_id="e1", digest="1", folder=folder, config=config)
    assert transcript.source == "file"
