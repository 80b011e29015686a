import pytest

from story_model.build_config import StoriesConfig
from storystream_builder.frames import Frame
from storystream_builder.records import ShotRecord
from storystream_builder.stories import TRAIN, VALIDATION, group, split

CONFIG = StoriesConfig(length=4, min_length=2, chunk_length=2)


def frame(number: int, episode: str = "ea") -> Frame:
    shot = ShotRecord(
        shot_id=number,
        start_ms=1000 * number,
        end_ms=1000 * number + 1000,
        start_pts=number,
        end_pts=number + 1,
        motion=0,
        num_candidates=1,
    )
    name = f"{episode}-{number:03d}"
    marks = {"stretch": 0, "sharpness": 1.0, "luma": 1.0, "contrast": 1.0, "fade": 0.0, "text": 0.0, "phash": number}
    marks |= {"width": 1, "height": 1}
    return Frame(name, episode, shot, number, "1/1", 1000 * number, **marks, caption=f"caption {number}")


def stories_of(*sizes: int):
    """One episode for each number, with so many stories of two frames."""
    config = StoriesConfig(length=2, min_length=2, chunk_length=2)
    made = []
    for index, size in enumerate(sizes):
        frames = [frame(number, f"e{index}") for number in range(2 * size)]
        made += group(frames, subset="s", config=config)[0]
    return made


def test_a_remainder_that_is_long_enough_is_a_shorter_story():
    stories, remainder = group([frame(i) for i in range(10)], subset="s", config=CONFIG)
    assert ([len(story.frames) for story in stories], remainder) == ([4, 4, 2], [])


def test_a_remainder_that_is_too_short_is_handed_back():
    stories, remainder = group([frame(i) for i in range(9)], subset="s", config=CONFIG)
    assert ([len(story.frames) for story in stories], len(remainder)) == ([4, 4], 1)


def test_an_episode_without_frames_has_no_story():
    assert group([], subset="s", config=CONFIG) == ([], [])


def test_stories_are_numbered_within_their_episode():
    stories, _ = group([frame(i) for i in range(8)], subset="s", config=CONFIG)
    assert [story.story_id for story in stories] == ["s-ea-0000", "s-ea-0001"]


def test_whole_episodes_are_held_out():
    stories = split(stories_of(3, 3, 3, 3, 3, 3), subset="s", fraction=0.34).stories
    sides = {
        episode: {s.split for s in stories if s.episode_id == episode} for episode in {s.episode_id for s in stories}
    }
    assert sorted(len(side) for side in sides.values()) == [1] * 6
    assert sum(side == {VALIDATION} for side in sides.values()) == 2


@pytest.mark.parametrize("episodes", [2, 3, 10])
def test_of_two_or_more_episodes_at_least_one_is_on_each_side(episodes):
    for fraction in (0.01, 0.99):
        sides = {story.split for story in split(stories_of(*[1] * episodes), subset="s", fraction=fraction).stories}
        assert sides == {TRAIN, VALIDATION}


def test_the_split_does_not_depend_on_the_order_of_episodes():
    made = stories_of(1, 1, 1, 1)
    assert split(made, subset="s", fraction=0.3) == split(made[::-1], subset="s", fraction=0.3)


def test_of_a_single_episode_the_last_story_is_held_out_with_a_warning():
    parted = split(stories_of(3), subset="s", fraction=0.1)
    held_out = [story.story_id for story in parted.stories if story.split == VALIDATION]
    assert (held_out, len(parted.warnings)) == (["s-e0-0002"], 1)


def test_a_single_story_is_cut_in_two_with_a_warning():
    stories, _ = group([frame(i) for i in range(4)], subset="s", config=CONFIG)
    parted = split(stories, subset="s", fraction=0.1)
    assert [(story.split, len(story.frames), story.texts[0]) for story in parted.stories] == [
        (TRAIN, 2, "caption 0"),
        (VALIDATION, 2, "caption 2"),
    ]
    assert "one story only" in parted.warnings[0]


def test_a_single_story_that_cannot_be_cut_is_an_error():
    with pytest.raises(ValueError, match="cannot be split"):
        split(stories_of(1), subset="s", fraction=0.1)


def test_nothing_is_held_out_on_request():
    parted = split(stories_of(1, 1), subset="s", fraction=0.0)
    assert {story.split for story in parted.stories} == {TRAIN}


def test_whole_series_are_held_out_where_asked():
    series = {f"e{n}": "fox" if n < 3 else "owl" for n in range(6)}
    parted = split(stories_of(1, 1, 1, 1, 1, 1), subset="s", fraction=0.5, series=series)
    sides = {(series[story.episode_id], story.split) for story in parted.stories}
    assert len(sides) == 2
    assert {side for _, side in sides} == {TRAIN, VALIDATION}


def test_a_single_series_cannot_be_held_out():
    with pytest.raises(ValueError, match="all videos are of one series"):
        split(stories_of(1, 1), subset="s", fraction=0.5, series={"e0": "fox", "e1": "fox"})
