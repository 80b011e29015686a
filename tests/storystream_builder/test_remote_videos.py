"""Videos on other filesystems: listed, copied for as long as they are read, never written elsewhere."""

import pickle
import uuid

import fsspec
import pytest

from storystream_builder.remote_videos import RemoteVideo, find_remote_videos, is_remote, local_copy, read_beside
from storystream_builder.videos import SourceError


@pytest.fixture
def url():
    """A folder on a filesystem in memory."""
    url = f"memory://{uuid.uuid4().hex}"
    put(
        url,
        {
            "b/01.MP4": b"second",
            "a/01.mkv": b"first!",
            "a/01.en.srt": b"lines",
            "a/01.ass": b"more lines",
            "a/012.srt": b"of another",
            "b/01.srt": b"of the other folder's",
            "notes.txt": b"no video",
            ".trash/old.mp4": b"hidden",
            "sources.yaml": b"- files: '*'",
        },
    )
    return url


def put(url: str, files: dict[str, bytes]) -> None:
    fs, base = fsspec.url_to_fs(url)
    for name, content in files.items():
        fs.pipe_file(f"{base}/{name}", content)


def test_videos_are_listed_by_name_and_hidden_ones_are_not(url):
    assert [(video.name, video.bytes) for video in find_remote_videos(url)] == [("a/01.mkv", 6), ("b/01.MP4", 6)]


def test_a_single_video_stands_for_itself(url):
    [video] = find_remote_videos(f"{url}/a/01.mkv")
    assert video.name == "01.mkv"


def test_a_copy_lies_among_its_subtitles_and_goes_with_them(url, tmp_path):
    video = find_remote_videos(url)[0]
    with local_copy(video, tmp_path) as path:
        assert path.read_bytes() == b"first!"
        assert sorted(file.name for file in path.parent.iterdir()) == ["01.ass", "01.en.srt", "01.mkv"]
    assert list(tmp_path.iterdir()) == []


def test_a_copy_goes_when_reading_it_fails(url, tmp_path):
    def read_it() -> None:
        with local_copy(find_remote_videos(url)[0], tmp_path):
            raise RuntimeError("not a video")

    with pytest.raises(RuntimeError, match="not a video"):
        read_it()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_copy_and_what_is_in_use_stays(url, tmp_path):
    left = tmp_path / "video-left"
    left.mkdir()
    (left / "x.mp4").write_bytes(b"of a killed process")
    first, second = find_remote_videos(url)
    with local_copy(first, tmp_path) as one, local_copy(second, tmp_path):
        assert not left.exists()
        assert one.exists()
    assert list(tmp_path.iterdir()) == []


def test_equal_names_of_two_folders_do_not_meet(url, tmp_path):
    put(url, {"c/01.mkv": b"third!"})
    first, *_, third = find_remote_videos(url)
    with local_copy(first, tmp_path) as one, local_copy(third, tmp_path) as other:
        assert (one.read_bytes(), other.read_bytes()) == (b"first!", b"third!")


def test_a_video_can_be_sent_to_a_worker(url, tmp_path):
    video = pickle.loads(pickle.dumps(find_remote_videos(url)[0]))
    with local_copy(video, tmp_path) as path:
        assert path.read_bytes() == b"first!"


def test_a_path_is_its_own_copy(tmp_path):
    with local_copy(tmp_path / "x.mp4", tmp_path / "scratch") as path:
        assert path == tmp_path / "x.mp4"
    assert not (tmp_path / "scratch").exists()


def test_a_video_that_did_not_arrive_whole_is_not_decoded(url, tmp_path):
    video = find_remote_videos(url)[0]
    put(url, {"a/01.mkv": b"fir"})
    with pytest.raises(SourceError, match="unreadable: 3 of its 6 bytes arrived"), local_copy(video, tmp_path):
        pass


def test_a_video_that_is_gone_is_set_aside(url, tmp_path):
    video = RemoteVideo(f"{url}/gone.mp4", "gone.mp4", 6)
    with pytest.raises(SourceError, match="no longer where it was found"), local_copy(video, tmp_path):
        pass


def test_a_video_larger_than_the_disk_is_refused_before_it_is_copied(url, tmp_path):
    video = RemoteVideo(f"{url}/a/01.mkv", "a/01.mkv", 1 << 60)
    with pytest.raises(ValueError, match="make room, then run again"), local_copy(video, tmp_path):
        pass


def test_a_name_that_leaves_the_scratch_folder_is_refused(url, tmp_path):
    video = RemoteVideo(f"{url}/..\\..\\out.mp4", "out.mp4", None)
    put(url, {"..\\..\\out.mp4": b"out"})
    with pytest.raises(ValueError, match="leaves"), local_copy(video, tmp_path / "scratch"):
        pass
    assert not (tmp_path / "out.mp4").exists()


def test_a_folder_without_videos_says_what_was_looked_for(url):
    put(url, {"empty/readme.txt": b"x"})
    with pytest.raises(ValueError, match=r"no video in .*empty; looked for files ending in .*\.mp4"):
        find_remote_videos(f"{url}/empty")
    with pytest.raises(ValueError, match="there is nothing at"):
        find_remote_videos(f"{url}/nowhere")


def test_a_file_beside_the_videos_is_read_where_there_is_one(url):
    assert read_beside(url, "sources.yaml") == b"- files: '*'"
    assert read_beside(f"{url}/a/01.mkv", "sources.yaml") is None


@pytest.mark.parametrize(("videos", "remote"), [("s3://bucket/show", True), ("/mnt/show", False), ("show", False)])
def test_a_url_is_told_from_a_path(videos, remote):
    assert is_remote(videos) is remote


def test_videos_on_s3_are_copied(s3, tmp_path):
    put(s3, {"show/01.mp4": b"first", "show/01.srt": b"lines"})
    [video] = find_remote_videos(f"{s3}/show")
    with local_copy(video, tmp_path) as path:
        assert (path.read_bytes(), path.with_suffix(".srt").read_bytes()) == (b"first", b"lines")
