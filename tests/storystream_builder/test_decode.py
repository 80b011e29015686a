"""One pass over videos with something wrong: what is lost is counted, and is never a keyframe."""

import struct

import av
import pytest
from drawn_videos import WIDTH, Scene, draw_video, scenes
from small_builds import decode_key, kept_of

from storystream_builder.decoding.decode import decode_episode
from storystream_builder.records import CANDIDATES, EPISODE, FRAMES, DecodeJob


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


def stored(tmp_path, video, threads: int) -> dict[str, bytes]:
    out = tmp_path / f"threads{threads}"
    out.mkdir()
    decode_episode(video, out, DecodeJob(key=decode_key(), threads=threads, max_memory_gb=4))
    return {name: (out / name).read_bytes() for name in (EPISODE, FRAMES)}


def test_any_number_of_threads_stores_the_same_bytes(tmp_path):
    video = draw_video(tmp_path / "x.mp4", [Scene(1, 3.0), Scene(2, light=0.0), *scenes(3, 4, 5, 6)])
    assert stored(tmp_path, video, 1) == stored(tmp_path, video, 2) == stored(tmp_path, video, 5)


def test_a_fault_late_in_a_film_leaves_no_rows_with_any_number_of_threads(tmp_path):
    whole = draw_video(tmp_path / "whole.mkv", scenes(*range(1, 9))).read_bytes()
    (tmp_path / "x.mkv").write_bytes(whole[: len(whole) // 2])
    one, two = stored(tmp_path, tmp_path / "x.mkv", 1), stored(tmp_path, tmp_path / "x.mkv", 2)
    assert one == two
    assert b'"fault": "truncated"' in one[EPISODE]


LOSSLESS = "yuv420p yuv422p yuv444p yuv420p10le yuv444p10le gray gray10le yuva420p bgr0 yuv440p".split()  # noqa: SIM905


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("png", "rgb24"), ("libx264rgb", "rgb24"), *(("ffv1", name) for name in LOSSLESS)]
)
def test_film_of_any_pixel_format_is_cut_and_kept(tmp_path, decode, codec, pixel_format):
    path = tmp_path / ("x.mov" if codec == "png" else "x.mkv")
    video = draw_video(path, scenes(1, 2), codec=codec, pixel_format=pixel_format, options={"g": "10"})
    record, rows = decode(video)
    assert [shot.start_ms for shot in record.shots] == [0, 1000]
    assert {(row["width"], row["height"]) for row in rows} == {(WIDTH, 96)}


@pytest.mark.parametrize("size", [(161, 97), (33, 201), (16, 16)])
def test_film_of_odd_size_is_cut(tmp_path, decode, size):
    options = {"g": "1"}
    video = draw_video(
        tmp_path / "x.mkv", scenes(1, 2), size=size, codec="ffv1", pixel_format="yuv420p", options=options
    )
    record, rows = decode(video)
    assert len(record.shots) == 2
    assert {(row["width"], row["height"]) for row in rows} == {size}


def test_interlaced_film_is_cut(tmp_path, decode):
    options = {"x264-params": "interlaced=1", "crf": "12"}
    record, _ = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 3), options=options))
    assert [shot.start_ms for shot in record.shots] == [0, 1000, 2000]


@pytest.mark.parametrize(("angle", "size"), [(0, (160, 96)), (90, (96, 160)), (180, (160, 96)), (270, (96, 160))])
def test_film_on_its_side_is_cut_and_stood_upright(tmp_path, decode, angle, size):
    video = draw_video(tmp_path / "x.mp4", scenes(1, 2))
    record, rows = decode(rotated(video, angle))
    assert record.rotation % 180 == angle % 180
    assert [shot.start_ms for shot in record.shots] == [0, 1000]
    assert {(row["width"], row["height"]) for row in rows} == {size}


def test_the_hash_is_of_the_upright_picture(tmp_path, decode):
    video = draw_video(tmp_path / "x.mp4", scenes(1))
    hashes = [decode(path)[1][0]["phash"] for path in (video, rotated(video, 180))]
    assert (hashes[0] ^ hashes[1]).bit_count() > 10


def test_film_whose_frames_change_their_size_and_format_is_cut(tmp_path, decode):
    """Two films, one after the other in one stream, as a broadcast has them."""
    one = draw_video(tmp_path / "one.mkv", scenes(1, 2), codec="mjpeg", pixel_format="yuvj420p", options={})
    other = draw_video(
        tmp_path / "other.mkv", scenes(3, 4), size=(320, 200), codec="mjpeg", pixel_format="yuvj444p", options={}
    )
    record, rows = decode(joined(tmp_path / "both.mkv", [one, other]))
    assert [shot.start_ms for shot in record.shots] == [0, 1000, 2000, 3000]
    assert {(row["width"], row["height"]) for row in rows} == {(160, 96), (320, 200)}


@pytest.mark.parametrize("offset", ["-3", "7"])
def test_film_that_begins_before_or_after_zero_is_cut(tmp_path, decode, offset):
    options = {"output_ts_offset": offset, "avoid_negative_ts": "disabled"}
    record, _ = decode(draw_video(tmp_path / "x.mkv", scenes(1, 2), container_options=options))
    assert [shot.start_ms for shot in record.shots] == [0, 1000]


def test_film_without_times_is_cut(tmp_path, decode):
    """An AVI holds none: frames follow one another at its rate."""
    video = draw_video(tmp_path / "x.avi", scenes(1, 2), codec="mpeg4", options={"b": "900000", "bf": "0"})
    record, _ = decode(video)
    assert [shot.start_ms for shot in record.shots] == [0, 1000]


def rotated(video, angle: int):
    """Give a file's display matrix another angle, in its bytes: PyAV writes none."""
    sine, cosine = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}[angle]
    unit = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data = video.read_bytes()
    at = data.index(unit, data.index(b"tkhd"))
    path = video.with_name(f"{angle}.mp4")
    path.write_bytes(data[:at] + turned + data[at + len(unit) :])
    return path


def joined(path, videos):
    """Put the packets of films after one another into one stream."""
    with av.open(str(path), "w") as out:
        stream = None
        shift = 0
        for video in videos:
            end = shift
            with av.open(str(video)) as source:
                stream = stream or out.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        out.mux(packet)
                        end = max(end, packet.pts + 100)
            shift = end
    return path
