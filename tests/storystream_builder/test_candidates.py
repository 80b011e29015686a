"""Frames that might stand for a shot: few are held, they are spread, and keep their distance from cuts."""

from itertools import pairwise

import pytest
from drawn_videos import Scene, draw_video, scenes

from storystream_builder.decoding.candidates import Candidates, Contrasts


def test_a_long_shot_holds_no_more_frames_than_a_short_one():
    candidates = Candidates(wanted=5)
    most = 0
    for pts in range(100_000):
        candidates.offer(pts, object())
        most = max(most, len(candidates._held))
    assert most <= 11


@pytest.mark.parametrize("lag", [0, 6, 100, 1000])
def test_cuts_that_are_told_late_cost_a_few_frames_of_memory(lag):
    candidates = Candidates(5, lag)
    most = 0
    for pts in range(50_000):
        candidates.offer(pts, object())
        most = max(most, len(candidates))
    assert most <= 10 + 16 + 1


def test_a_shot_whose_begin_is_told_late_has_candidates_from_its_begin_on():
    candidates = Candidates(5, 100)
    for pts in range(50_000):
        candidates.offer(pts, None)
    candidates.close(49_920, start=0, margin=0)
    begins = [pts for pts, _ in candidates.close(50_000, start=49_920, margin=0)]
    assert len(begins) == 5
    assert begins[0] < 49_930


def test_candidates_of_a_long_shot_are_spread_over_it():
    candidates = Candidates(wanted=5)
    for pts in range(10_000):
        candidates.offer(pts, None)
    picked = [pts for pts, _ in candidates.close(10_000, start=0, margin=100)]
    gaps = [later - earlier for earlier, later in pairwise(picked)]
    assert len(picked) == 5
    assert min(gaps) > 1000


@pytest.mark.parametrize(("stretches", "offered"), [(1, 5), (8, 8), (50, 10)])
def test_a_long_shot_offers_a_candidate_for_each_stretch_as_far_as_it_holds_them(stretches, offered):
    candidates = Candidates(wanted=5)
    for pts in range(10):
        candidates.offer(pts, None)
    assert len(candidates.close(10, start=0, margin=0, stretches=stretches)) == offered


def test_candidates_keep_their_distance_from_both_cuts():
    candidates = Candidates(wanted=5)
    for pts in range(10):
        candidates.offer(pts, None)
    assert {pts for pts, _ in candidates.close(10, start=0, margin=3)} <= {3, 4, 5, 6, 7}


def test_a_shot_shorter_than_the_margins_offers_its_middle():
    candidates = Candidates(wanted=5)
    for pts in range(5):
        candidates.offer(pts, None)
    assert [pts for pts, _ in candidates.close(5, start=0, margin=4)] == [2]


def test_frames_after_a_cut_that_was_told_late_go_to_the_next_shot():
    candidates = Candidates(wanted=5)
    for pts in range(8):
        candidates.offer(pts, None)
    candidates.close(6, start=0, margin=0)
    assert [pts for pts, _ in candidates.close(8, start=6, margin=0)] == [6, 7]


def test_light_that_goes_is_a_fade_and_movement_is_not():
    contrasts = Contrasts()
    for pts in range(30):
        contrasts.add(pts, 60.0 if pts < 20 else 6.0 * (30 - pts))
    assert contrasts.fade_at(10, 3, start=0, cut=30) == 0.0
    assert contrasts.fade_at(25, 3, start=0, cut=30) > 0.6


def test_a_cut_is_no_fade():
    contrasts = Contrasts()
    for pts in range(20):
        contrasts.add(pts, 60.0 if pts < 10 else 10.0)
    assert contrasts.fade_at(9, 3, start=0, cut=10) == 0.0
    contrasts.forget(10)
    assert contrasts.fade_at(10, 3, start=10, cut=20) == 0.0


def test_nothing_that_stays_nothing_is_no_fade():
    contrasts = Contrasts()
    for pts in range(10):
        contrasts.add(pts, 0.1 * pts)
    assert contrasts.fade_at(5, 5, start=0, cut=10) < 0.3


def test_every_candidate_is_stored_with_its_picture_and_scores(tmp_path, decode):
    _, rows = decode(draw_video(tmp_path / "x.mp4", [Scene(1), Scene(2, light=0.0), Scene(3)]))
    assert len(rows) >= 12
    assert all(row["image"]["bytes"] and row["sharpness"] is not None and row["phash"] is not None for row in rows)


def test_a_long_shot_has_as_many_stretches_as_it_is_long(tmp_path, decode):
    _, rows = decode(draw_video(tmp_path / "x.mp4", [Scene(1, 8.0)]))
    assert {row["stretch"] for row in rows} == {0, 1, 2, 3}


def test_a_frame_is_named_by_its_time(tmp_path, decode):
    _, rows = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2)))
    assert all(row["frame_id"] == f"e0-{row['pts_ms']:09d}" for row in rows)
    assert len({row["frame_id"] for row in rows}) == len(rows)
