"""Which candidates are kept, by their stored scores alone."""

from dataclasses import replace

import pytest
from drawn_videos import Scene, draw_video, scenes
from small_builds import chosen, kept_of, source_of
from test_stories import frame

from story_model.build_config import FiltersConfig
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.keyframes import choose, unfit

FIT = replace(frame(0), sharpness=100.0, luma=100.0, contrast=50.0)


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ({"luma": 5.0}, "black"),
        ({"luma": 250.0}, "white"),
        ({"contrast": 1.0}, "flat"),
        ({"fade": 0.9}, "fade"),
        ({"text": 0.4}, "text"),
        ({"sharpness": 1.0}, "blurred"),
        ({}, None),
    ],
)
def test_unfit_frames_are_told_why(marks, reason):
    assert unfit(replace(FIT, **marks), FiltersConfig()) == reason


def test_each_shot_keeps_one_frame(tmp_path, decode):
    decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 3)))
    frames, _ = kept_of(tmp_path / "episode")
    assert [one.shot.shot_id for one in frames if one.is_kept] == [0, 1, 2]


def test_the_kept_frame_is_the_sharpest(tmp_path, decode):
    decode(draw_video(tmp_path / "x.mp4", scenes(1)))
    frames, _ = kept_of(tmp_path / "episode")
    assert max(frames, key=lambda one: one.sharpness).is_kept


def test_a_black_shot_keeps_none(tmp_path, decode):
    decode(draw_video(tmp_path / "x.mp4", [Scene(1), Scene(2, light=0.0), Scene(3)]))
    _, outcomes = kept_of(tmp_path / "episode")
    assert outcomes == ["kept", "black", "kept"]


def test_a_picture_that_comes_again_is_a_near_duplicate(tmp_path, decode):
    decode(draw_video(tmp_path / "x.mp4", scenes(1, 2, 1)))
    _, outcomes = kept_of(tmp_path / "episode")
    assert outcomes == ["kept", "kept", "near-duplicate"]


def test_other_limits_need_no_decoding(tmp_path, decode):
    decode(draw_video(tmp_path / "x.mp4", scenes(1, 2)))
    frames, outcomes = kept_of(tmp_path / "episode", min_sharpness=1e9)
    assert set(outcomes) == {"blurred"}
    assert {one.status for one in frames} == {"blurred"}


def test_each_stretch_of_a_shot_keeps_one():
    frames = [replace(FIT, stretch=index // 2, frame_id=str(index), phash=37**index, pts=index) for index in range(6)]
    assert sum(one.is_kept for one in choose(frames, FiltersConfig())) == 3


def test_an_episode_of_which_nothing_is_kept_has_no_pictures(tmp_path, decode):
    decode(draw_video(tmp_path / "x.mp4", scenes(1)))
    outcome = EpisodeOutcome(source_of(tmp_path / "x.mp4"), "e0")
    assert chosen(outcome, tmp_path / "episode", min_luma=255.0).images() == {}
