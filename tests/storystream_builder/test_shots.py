from fractions import Fraction

import pytest
from drawn_videos import Scene, draw_video, scenes

from story_model.build_config import ShotsConfig


def starts(record) -> list[int]:
    return [shot.start_ms for shot in record.shots]


@pytest.mark.parametrize("detector", ["adaptive", "content", "hash", "histogram"])
def test_every_detector_finds_hard_cuts(tmp_path, decode, detector):
    record, _ = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 3)), shots=ShotsConfig(detector=detector))
    assert starts(record) == [0, 1000, 2000]


def test_a_film_without_a_cut_is_one_shot(tmp_path, decode):
    record, _ = decode(draw_video(tmp_path / "x.mp4", scenes(1)))
    assert [(shot.start_ms, shot.end_ms) for shot in record.shots] == [(0, 1000)]


def test_shots_cover_the_film_without_a_gap(tmp_path, decode):
    record, _ = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 3)))
    ends = [shot.end_ms for shot in record.shots]
    assert (starts(record)[1:], ends[-1]) == (ends[:-1], record.duration_ms)


def test_cuts_are_told_in_time_not_in_frames(tmp_path, decode):
    """A variable frame rate: two seconds pass without a frame, then film goes on."""
    record, rows = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 3), gap_after={4: 20}))
    assert starts(record) == [0, 3000, 4000]
    assert all(Fraction(row["pts"]) * Fraction(row["time_base"]) * 1000 == row["pts_ms"] for row in rows)


def test_a_fade_through_black_is_a_cut(tmp_path, decode):
    out = [Scene(1, 0.1, 0.9 - 0.1 * step) for step in range(10)]
    into = [Scene(2, 0.1, 0.1 * step) for step in range(10)]
    record, _ = decode(draw_video(tmp_path / "x.mp4", [Scene(1, light=0.9), *out, *into, Scene(2, light=0.9)]))
    assert len(record.shots) == 2
    assert abs(record.shots[1].start_ms - 2000) <= 100


def test_a_tail_shorter_than_a_shot_belongs_to_the_shot_before(tmp_path, decode):
    record, _ = decode(draw_video(tmp_path / "x.mp4", [Scene(1), Scene(2, 0.4)]))
    assert [(shot.start_ms, shot.end_ms) for shot in record.shots] == [(0, 1400)]


def test_the_known_cuts_of_a_real_film_are_found(clips, decode):
    record, _ = decode(clips / "bbb_480p_30s.mp4")
    assert starts(record) == [0, 11875, 15750, 23042]


def test_motion_tells_still_from_moving(tmp_path, decode):
    still, _ = decode(draw_video(tmp_path / "still.mp4", [Scene(1, light=0.9)]))
    moving, _ = decode(draw_video(tmp_path / "moving.mp4", [Scene(1)]))
    assert 5 * still.shots[0].motion < moving.shots[0].motion
