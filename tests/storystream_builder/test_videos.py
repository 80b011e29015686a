import os
from pathlib import Path

import pytest
from drawn_videos import draw_sound, draw_video, scenes

from storystream_builder.videos import SourceError, content_id, find_videos, open_video, printable, subtitles_of


def fault_of(path: Path, **limits) -> str:
    known = {"threads": 1, "max_pixels": 10**7, "max_duration_s": 3600}
    with path.open("rb") as file, pytest.raises(SourceError) as caught:
        open_video(file, **(known | limits)).__enter__()
    return caught.value.fault


def test_videos_are_found_at_any_depth_in_a_stable_order(tmp_path):
    for name in ("b.mp4", "a/z.MKV", "a/notes.txt", ".hidden/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)] == ["a/z.MKV", "b.mp4"]


def test_a_file_stands_for_itself(tmp_path):
    (tmp_path / "film.bin").touch()
    assert find_videos(tmp_path / "film.bin") == [tmp_path / "film.bin"]


def test_a_folder_without_videos_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no video in"):
        find_videos(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        find_videos(tmp_path / "nowhere")


def test_equal_content_has_one_identity_whatever_its_name(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"film")
    assert content_id(tmp_path / "a.mp4") == content_id(tmp_path / "b.mp4")


def test_a_vanished_file_is_unreadable(tmp_path):
    with pytest.raises(SourceError, match="unreadable: No such file"):
        content_id(tmp_path / "gone.mp4")


def test_a_name_that_is_not_utf8_is_percent_encoded():
    assert printable(os.fsdecode(b"caf\xe9 1.mp4")) == "caf%E9%201.mp4"


def test_a_utf8_name_is_left_as_it_is():
    assert printable("café 100%.mp4") == "café 100%.mp4"


@pytest.mark.parametrize(
    ("present", "found"),
    [
        (["x.srt", "x.vtt", "x.en.srt"], "x.srt"),
        (["x.en.vtt", "x.de.srt"], "x.de.srt"),
        (["X.srt", "xy.srt"], None),
        (["x.SRT"], "x.SRT"),
    ],
)
def test_the_subtitles_beside_a_video_are_found(tmp_path, present, found):
    for name in present:
        (tmp_path / name).touch()
    path = subtitles_of(tmp_path / "x.mp4")
    assert (path and path.name) == found


def test_a_web_page_is_unreadable(tmp_path):
    (tmp_path / "x.mp4").write_text("<html></html>" * 100)
    assert fault_of(tmp_path / "x.mp4") == "unreadable"


def test_an_mp4_without_its_index_is_truncated(tmp_path):
    whole = draw_video(tmp_path / "whole.mp4", scenes(1, 2)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    assert fault_of(tmp_path / "half.mp4") == "truncated"


def test_pictures_in_an_unknown_codec_are_unreadable(tmp_path):
    whole = draw_video(tmp_path / "whole.mp4", scenes(1)).read_bytes()
    (tmp_path / "x.mp4").write_bytes(whole.replace(b"avc1", b"zzzz"))
    assert fault_of(tmp_path / "x.mp4") == "unreadable"


def test_sound_alone_is_no_video(tmp_path):
    assert fault_of(draw_sound(tmp_path / "x.mp4")) == "no video stream"


def test_a_frame_over_the_limit_is_too_large(tmp_path):
    assert fault_of(draw_video(tmp_path / "x.mp4", scenes(1)), max_pixels=1000) == "too large"


def test_a_film_over_the_limit_is_too_long(tmp_path):
    assert fault_of(draw_video(tmp_path / "x.mp4", scenes(1)), max_duration_s=0.5) == "too long"


@pytest.mark.parametrize("script", ["ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:1,\nother.mp4\n"])
def test_a_playlist_dressed_up_as_a_video_opens_no_other_file(tmp_path, script):
    draw_video(tmp_path / "other.mp4", scenes(1))
    (tmp_path / "x.mp4").write_text(script)
    assert fault_of(tmp_path / "x.mp4") == "unreadable"


def test_the_subtitles_of_a_video_named_longer_are_not_taken(tmp_path):
    for name in ("a.mp4", "a.2.mp4", "a.2.srt"):
        (tmp_path / name).write_bytes(b"x")
    assert subtitles_of(tmp_path / "a.mp4") is None
    assert subtitles_of(tmp_path / "a.2.mp4") == tmp_path / "a.2.srt"
