"""Captions from a file: by frame or by time, from three formats, and what becomes of rows that lie."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storystream_builder.captioning.captions import CaptionedEpisode
from storystream_builder.captioning.sidecar import SidecarCaptioner, nearest
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode, Frame
from storystream_builder.records import EpisodeRecord, ShotRecord
from storystream_builder.sources import Source

SHOT = ShotRecord(shot_id=0, start_ms=0, end_ms=9000, start_pts=0, end_pts=9000, motion=0, num_candidates=3)
LOOKS = dict.fromkeys(("sharpness", "luma", "contrast", "fade", "text"), 0.0)


def frame(number: int) -> Frame:
    place = {"pts": number, "time_base": "1/1000", "pts_ms": 2000 * number, "stretch": 0}
    return Frame(f"f{number}", "e0", SHOT, **place, **LOOKS, phash=0, width=8, height=8)


@pytest.fixture
def episode(tmp_path) -> Episode:
    """Frames f0, f1, f2 at 0, 2 and 4 seconds of s/one.mp4."""
    outcome = EpisodeOutcome(Source(Path("one.mp4"), "s/one.mp4"), "e0")
    record = EpisodeRecord(episode_id="e0", source_sha256="0", shots=[SHOT])
    return Episode(outcome, record, tmp_path, tuple(frame(number) for number in range(3)))


def caption(path: Path, episode: Episode) -> CaptionedEpisode:
    (result,) = SidecarCaptioner(path).caption([episode])
    return result


def texts(result: CaptionedEpisode) -> list[str | None]:
    return [one.caption for one in result.episode.frames]


def jsonl(path: Path, *rows) -> Path:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


BY_FRAME = [{"frame_id": f"f{number}", "caption": f"A fox, {number}."} for number in range(3)]
BY_TIME = [{"video": "s/one.mp4", "pts_ms": 2000 * n + 100, "caption": f"A fox, {n}."} for n in range(3)]
WANTED = [f"A fox, {number}." for number in range(3)]


def as_jsonl(path: Path, rows: list[dict]) -> Path:
    return jsonl(path.with_suffix(".jsonl"), *rows)


def as_csv(path: Path, rows: list[dict]) -> Path:
    path = path.with_suffix(".csv")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_parquet(path: Path, rows: list[dict]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("rows", [BY_FRAME, BY_TIME], ids=["by frame", "by time"])
@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet])
def test_frames_find_their_captions(episode, tmp_path, write, rows):
    result = caption(write(tmp_path / "given", rows), episode)
    assert texts(result) == WANTED
    assert {one.caption_status for one in result.episode.kept} == {"sidecar"}
    assert not result.problems


def test_a_frame_without_a_row_is_dropped_with_the_reason(episode, tmp_path):
    result = caption(jsonl(tmp_path / "x.jsonl", *BY_FRAME[:2]), episode)
    assert [one.status for one in result.episode.frames] == ["kept", "kept", "no caption: not in the sidecar"]
    assert [problem.reason for problem in result.problems] == ["f2: no caption: not in the sidecar"]


def test_a_caption_by_frame_goes_over_one_by_time(episode, tmp_path):
    given = {"frame_id": "f1", "caption": "An owl."}
    assert texts(caption(jsonl(tmp_path / "x.jsonl", *BY_TIME, given), episode))[1] == "An owl."


@pytest.mark.parametrize(("at_ms", "found"), [(500, "a"), (501, None), (749, None), (1499, None), (1500, "b")])
def test_a_time_may_be_half_a_second_off(at_ms, found):
    assert nearest([(0, "a"), (2000, "b")], at_ms, 500) == found


def test_of_two_captions_as_near_the_earlier_is_taken():
    assert nearest([(900, "a"), (1100, "b")], 1000, 500) == "a"


def test_windows_separators_name_the_same_video(episode, tmp_path):
    rows = [row | {"video": "s\\one.mp4"} for row in BY_TIME]
    assert texts(caption(jsonl(tmp_path / "x.jsonl", *rows), episode)) == WANTED


LIES = [
    (b'{"frame_id": "f0", "caption": "cut', "no JSON"),
    (b'{"frame_id": "f0", "caption": NaN}', "no JSON"),
    (b'{"frame_id": "f0", "frame_id": "f1", "caption": "x"}', "no JSON"),
    (b"\xff\xfe\x00", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b'["f0", "x"]', "no JSON object"),
    ({"frame_id": "f0", "caption": " \n"}, "no text"),
    ({"frame_id": "f0", "caption": 7}, "no text"),
    ({"frame_id": "f0"}, "no text"),
    ({"caption": "x"}, "neither frame_id nor video"),
    ({"frame_id": ["f0"], "caption": "x"}, "neither frame_id nor video"),
    ({"frame_id": "../../etc/passwd", "caption": "x"}, "unknown frame"),
    ({"video": "../s/one.mp4", "pts_ms": 0, "caption": "x"}, "unknown video"),
    ({"video": "s/one.mp4", "caption": "x"}, "pts_ms is no time"),
    ({"video": "s/one.mp4", "pts_ms": True, "caption": "x"}, "pts_ms is no time"),
    ({"video": "s/one.mp4", "pts_ms": "soon", "caption": "x"}, "pts_ms is no time"),
    ({"video": "s/one.mp4", "pts_ms": -1, "caption": "x"}, "pts_ms is no time"),
    ({"video": "s/one.mp4", "pts_ms": 10**400, "caption": "x"}, "pts_ms is no time"),
    ({"frame_id": "f0", "caption": "x" * 20_001}, "a caption of more than"),
    (b" " * (1 << 20) + b"{}", "a line of more than"),
    ({"frame_id": "f1", "caption": "another"}, "another caption for the same"),
]


@pytest.mark.parametrize(("lie", "reason"), LIES)
def test_a_row_that_lies_is_told_and_the_others_count(episode, tmp_path, lie, reason):
    result = caption(jsonl(tmp_path / "x.jsonl", *BY_FRAME, lie), episode)
    assert texts(result) == WANTED
    assert [(one.file, one.code) for one in result.problems] == [("x.jsonl", "sidecar")]
    assert result.problems[0].reason.startswith(f"1 rows: {reason}")
    assert "line 4" in result.problems[0].reason


def test_what_is_wrong_with_the_file_is_told_once(episode, tmp_path):
    path = jsonl(tmp_path / "x.jsonl", *BY_FRAME, b"{", b"{")
    results = list(SidecarCaptioner(path).caption([episode, replace(episode)]))
    assert [len(result.problems) for result in results] == [1, 0]
    assert results[0].problems[0].reason.startswith("2 rows: no JSON; the first is line 4")


def test_half_of_a_surrogate_pair_does_not_reach_the_dataset(episode, tmp_path):
    result = caption(jsonl(tmp_path / "x.jsonl", rb'{"frame_id": "f0", "caption": "A \ud800 fox."}'), episode)
    assert texts(result)[0] == "A ? fox."


def test_a_byte_order_mark_and_blank_lines_do_no_harm(episode, tmp_path):
    rows = [json.dumps(row).encode() for row in BY_FRAME]
    path = jsonl(tmp_path / "x.jsonl", b"\xef\xbb\xbf" + rows[0], b"", b"\r", rows[1] + b"\r", rows[2])
    result = caption(path, episode)
    assert texts(result) == WANTED
    assert not result.problems


def test_csv_rows_that_lie_are_told(episode, tmp_path):
    path = tmp_path / "x.csv"
    lines = [b"frame_id,caption", b"f0,only,three", b'f1,"A fox,\nasleep"', b"f2,\xff", b'f2,"never closed']
    path.write_bytes(b"\n".join(lines))
    result = caption(path, episode)
    assert texts(result)[1] == "A fox, asleep"
    reasons = [problem.reason for problem in result.problems if problem.code == "sidecar"]
    assert [reason.split("; ")[0] for reason in reasons] == [
        "1 rows: another number of fields than the head",
        "1 rows: no UTF-8",
        "1 rows: no CSV",
    ]


def test_parquet_columns_of_other_kinds_are_told(episode, tmp_path):
    table = pa.table({"frame_id": ["f0", None], "caption": [None, "x"], "pts_ms": [math.nan, 0.0]})
    pq.write_table(table, tmp_path / "x.parquet")
    result = caption(tmp_path / "x.parquet", episode)
    assert [one.reason.split(";")[0] for one in result.problems[:2]] == [
        "1 rows: no text",
        "1 rows: neither frame_id nor video",
    ]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.txt", b"", "captions are read from"),
        ("x.csv", b"", "it needs caption and frame_id"),
        ("x.csv", b"id,text\n", "it needs caption and frame_id"),
        ("x.parquet", b"PAR1 and nothing else", "cannot be read"),
    ],
)
def test_a_file_that_is_none_is_an_error(episode, tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        caption(tmp_path / name, episode)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"set build\.captions\.sidecar"):
        SidecarCaptioner(tmp_path / "x.jsonl")


def test_a_changed_file_is_another_captioner(tmp_path):
    names = {SidecarCaptioner(jsonl(tmp_path / "x.jsonl", row)).name for row in BY_FRAME}
    assert len(names) == 3
