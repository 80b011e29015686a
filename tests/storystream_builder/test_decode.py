"""One pass over videos with something wrong: what is lost is counted, and is never a keyframe."""

import av
import pytest
from drawn_videos import WIDTH, Scene, draw_video, scenes
from small_builds import kept_of

from storystream_builder.records import CANDIDATES


def spoil(data: bytes, start: float, length: int) -> bytes:
    """Overwrite bytes from a share of the file on."""
    at = int(start * len(data))
    return data[:at] + b"\xff" * length + data[at + length :]


@pytest.fixture
def spoiled(tmp_path):
    """Six seconds of film with a damaged stretch in the second half; the index at the end is sound."""
    whole = draw_video(tmp_path / "whole.mp4", scenes(1, 2, 3, 4, 5, 6)).read_bytes()
    (tmp_path / "x.mp4").write_bytes(spoil(whole, 0.55, 600))
    return tmp_path / "x.mp4"


def test_damaged_frames_are_counted(spoiled, decode):
    record, _ = decode(spoiled, max_corrupt_ratio=1.0)
    assert record.num_corrupt > 0
    assert "the others are used" in record.note


def test_frames_after_damage_are_not_candidates_until_the_next_key_frame(spoiled, decode):
    record, rows = decode(spoiled, max_corrupt_ratio=1.0)
    damaged_second = 1000 * (record.num_frames // 10 // 2)
    ticks = sorted(row["pts_ms"] for row in rows)
    assert record.num_frames - record.num_corrupt < 60
    assert ticks[-1] > damaged_second


def test_too_much_damage_sets_a_film_aside(spoiled, decode):
    record, rows = decode(spoiled, max_corrupt_ratio=0.0)
    assert (record.fault, rows) == ("corrupt", [])


def test_a_film_that_breaks_off_is_truncated(tmp_path, decode):
    whole = draw_video(tmp_path / "whole.mkv", scenes(*range(1, 9))).read_bytes()
    (tmp_path / "x.mkv").write_bytes(whole[: len(whole) // 2])
    record, _ = decode(tmp_path / "x.mkv")
    assert record.fault == "truncated"
    assert "of 8.0 s could be decoded" in record.reason


def test_a_film_that_lacks_little_is_used_with_a_note(tmp_path, decode):
    whole = draw_video(tmp_path / "whole.mkv", scenes(*range(1, 9))).read_bytes()
    (tmp_path / "x.mkv").write_bytes(whole[: int(len(whole) * 0.93)])
    record, rows = decode(tmp_path / "x.mkv")
    assert record.fault is None
    assert record.note.startswith("truncated")
    assert rows


def test_a_film_without_a_single_frame_is_set_aside(tmp_path, decode):
    with (tmp_path / "x.mkv").open("wb") as file, av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, 96, "yuv420p"
        out.start_encoding()
    record, _ = decode(tmp_path / "x.mkv")
    assert record.fault in {"corrupt", "unreadable"}


def test_a_deliberately_corrupt_clip_is_set_aside(clips, decode):
    record, _ = decode(clips / "extra" / "decord_corrupted.mp4")
    assert record.fault == "corrupt"


def test_a_header_that_counts_no_frames_is_no_hindrance(clips, decode):
    record, _ = decode(clips / "bbb_moviepy_30s.webm")
    assert (record.fault, record.num_frames) == (None, 720)


def test_ten_bit_film_is_read(tmp_path, decode):
    video = draw_video(tmp_path / "x.mkv", scenes(1, 2), codec="ffv1", pixel_format="yuv420p10le", options={"g": "1"})
    decode(video)
    assert kept_of(tmp_path / "episode")[1] == ["kept", "kept"]


def test_times_count_from_the_first_frame(tmp_path, decode):
    video = draw_video(tmp_path / "x.mkv", scenes(1, 2), container_options={"output_ts_offset": "5"})
    record, _ = decode(video)
    assert [shot.start_ms for shot in record.shots] == [0, 1000]


def test_a_set_aside_film_leaves_an_empty_table_with_all_columns(tmp_path, decode):
    import pyarrow.parquet as pq

    (tmp_path / "x.mp4").write_bytes(b"no film")
    decode(tmp_path / "x.mp4")
    table = pq.read_table(tmp_path / "episode" / "candidates.parquet")
    assert (table.num_rows, table.schema.names) == (0, CANDIDATES.names)


def test_limits_on_time_hold_while_decoding(tmp_path, decode):
    record, _ = decode(draw_video(tmp_path / "x.mkv", [Scene(1, 3.0)]), max_duration_s=2.0)
    assert record.fault == "too long"
