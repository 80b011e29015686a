from itertools import pairwise

import pytest
from drawn_videos import Scene, draw_video, scenes

from story_model.config import KeyframesConfig
from storystream_builder.keyframes import Candidates, unfit
from storystream_builder.pictures import Score


def statuses(rows) -> dict[int, set[str]]:
    return {
        shot: {row["status"] for row in rows if row["shot_id"] == shot} for shot in {row["shot_id"] for row in rows}
    }


def test_a_long_shot_holds_no_more_frames_than_a_short_one():
    candidates = Candidates(wanted=5)
    most = 0
    for pts in range(100_000):
        candidates.offer(pts, object())
        most = max(most, len(candidates._held))
    assert most <= 11


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


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        (Score(sharpness=100, luma=5, contrast=50), "black"),
        (Score(sharpness=100, luma=250, contrast=50), "white"),
        (Score(sharpness=100, luma=100, contrast=1), "flat"),
        (Score(sharpness=1, luma=100, contrast=50), "blurred"),
        (Score(sharpness=100, luma=100, contrast=50), None),
    ],
)
def test_unfit_frames_are_told_why(marks, reason):
    assert unfit(marks, KeyframesConfig()) == reason


def test_each_shot_keeps_one_frame(tmp_path, decode):
    _, rows = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 3)))
    kept = [row["shot_id"] for row in rows if row["status"] == "kept"]
    assert kept == [0, 1, 2]


def test_the_kept_frame_is_the_sharpest(tmp_path, decode):
    _, rows = decode(draw_video(tmp_path / "x.mp4", scenes(1)))
    best = max(rows, key=lambda row: row["sharpness"])
    assert best["status"] == "kept"


def test_black_shots_keep_none(tmp_path, decode):
    record, rows = decode(draw_video(tmp_path / "x.mp4", [Scene(1), Scene(2, light=0.0), Scene(3)]))
    assert statuses(rows)[1] == {"black"} or "black" in record.shots[1].outcome


def test_a_picture_that_comes_again_is_a_near_duplicate(tmp_path, decode):
    record, _ = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 1)))
    assert [shot.outcome for shot in record.shots] == ["kept", "kept", "near-duplicate"]


def test_only_kept_frames_carry_a_picture(tmp_path, decode):
    _, rows = decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 1)))
    assert all((row["image"] is not None) == (row["status"] == "kept") for row in rows)
