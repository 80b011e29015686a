import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.measures.cartoon_world import Verdict, accuracy_of, labels_of, sight
from story_model.dataset import Story
from story_model.schema import TrueEpisode, TrueShot, TrueWorld

WORLD = TrueWorld(characters=["Ada", "Bo"], places=["hill", "sea"], actions=[])


def verdict(index, text, who):
    return Verdict(index, sight(text, WORLD.characters, who), sight(text, WORLD.places, [1.0, 0.0]))


def accuracy(stories, aspect="character"):
    return accuracy_of(stories, aspect, WORLD, resamples=0, seed=0)


def test_a_picture_agrees_when_it_shows_whom_its_text_names():
    assert sight("Bo waves.", WORLD.characters, [0.2, 0.8]).agrees is True
    assert sight("Ada waves.", WORLD.characters, [0.2, 0.8]).agrees is False


@pytest.mark.parametrize("text", ["Somebody waves.", "Ada and Bo wave."])
def test_a_text_that_names_none_or_several_is_not_judged(text):
    assert sight(text, WORLD.characters, [0.2, 0.8]).agrees is None


def test_accuracy_leaves_out_and_counts_what_cannot_be_judged():
    told = [
        verdict(1, "Ada waves.", [0.9, 0.1]),
        verdict(2, "Ada runs.", [0.1, 0.9]),
        verdict(3, "Nobody.", [1, 0]),
        verdict(4, "Ada and Bo.", [1, 0]),
    ]
    found = accuracy({"s": told})
    assert (found.accuracy.value, found.accuracy.n, found.unnamed, found.several) == (0.5, 2, 1, 1)


def test_chance_is_what_the_most_frequent_name_would_get():
    told = [verdict(index, text, [1, 0]) for index, text in enumerate(["Ada.", "Ada.", "Ada.", "Bo."], start=1)]
    found = accuracy({"s": told})
    assert (found.chance_majority, found.chance_uniform) == (0.75, 0.5)


def test_the_curve_averages_two_segments_on_each_side():
    told = [verdict(index, "Ada.", [0.9, 0.1] if index <= 3 else [0.1, 0.9]) for index in range(1, 7)]
    assert [round(point.value, 2) for point in accuracy({"s": told}).curve] == [1, 0.75, 0.6, 0.4, 0.25, 0]


def test_texts_without_names_have_no_accuracy():
    found = accuracy({"s": [verdict(1, "Nothing.", [1, 0])]})
    assert (found.accuracy, found.chance_majority, found.by_story) == (None, None, {})


@pytest.fixture
def episodes_path(tmp_path):
    pq.write_table(pa.table({"episode_id": ["e1"], "source_name": ["one.mp4"]}), tmp_path / "episodes.parquet")
    return tmp_path / "episodes.parquet"


def story(*pts_ms):
    return Story("e1/0", "s", "train", "e1", (b"",) * len(pts_ms), ("",) * len(pts_ms), pts_ms, ("",) * len(pts_ms))


def test_a_keyframe_gets_the_shot_that_it_lies_in(episodes_path):
    shots = [
        TrueShot(start_ms=0, end_ms=1000, kind="title"),
        TrueShot(start_ms=1000, end_ms=2000, kind="shot", character="Ada", place="sea"),
        TrueShot(start_ms=2000, end_ms=3000, kind="shot", character="Bo", place="sea"),
    ]
    truth = [TrueEpisode(video="one.mp4", shots=shots)]
    found = labels_of([story(500, 1000, 2000, 9000)], truth, episodes_path)["e1/0"]
    assert [shot and shot.character for shot in found] == [None, "Ada", "Bo", None]


def test_an_episode_without_truth_is_named(episodes_path):
    with pytest.raises(ValueError, match=r"one\.mp4"):
        labels_of([story(0)], [TrueEpisode(video="other.mp4", shots=[])], episodes_path)
