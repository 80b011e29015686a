import io
from dataclasses import replace

import numpy as np
import pytest
from drawn_stories import drawn_story
from PIL import Image
from scripted_judge import SIDE, ScriptedJudge, scripted_answer

from evaluation.judging.form import sent
from evaluation.judging.published_form import PublishedForm
from evaluation.judging.questions import DIMENSIONS, Question
from evaluation.judging.rubric import Rubric
from evaluation.judging.spoiled import MUST_FALL, ShownStory, spoil
from evaluation.pictures import Pair, measured
from story_model.asking.answers import Answer
from story_model.evaluate_config import JudgeConfig
from story_model.pixels import Square

SQUARE = Square(64, "squash")
each_spoiling = pytest.mark.parametrize("spoiling", MUST_FALL)


@pytest.fixture(scope="module")
def stories():
    return [drawn_story(episode) for episode in range(3)]


def spoiled(stories, spoiling, *, seed=0):
    return spoil(stories[0], spoiling, donor=stories[1], seed=seed)


def score(story, dimension):
    question = Question("self_test", dimension, story.story_id, ("dataset",), (story.pairs,))
    return ScriptedJudge()([question])[0].score


@pytest.mark.parametrize(("spoiling", "dimension"), [(way, one) for way, falls in MUST_FALL.items() for one in falls])
def test_a_judge_who_looks_scores_the_spoiled_copy_lower_where_it_must_fall(stories, spoiling, dimension):
    assert score(spoiled(stories, spoiling), dimension) < score(stories[0], dimension)


@pytest.mark.parametrize(
    ("spoiling", "dimension"),
    [("pictures_shuffled", "style"), ("texts_shuffled", "style"), ("texts_shuffled", "engaging")],
)
def test_a_dimension_that_need_not_fall_does_not(stories, spoiling, dimension):
    assert score(spoiled(stories, spoiling), dimension) == score(stories[0], dimension)


@each_spoiling
def test_the_opening_the_order_and_the_story_itself_stay(stories, spoiling):
    before = stories[0].pairs
    after = spoiled(stories, spoiling).pairs
    assert after[0] is before[0]
    assert [pair.index for pair in after] == [pair.index for pair in before]
    assert stories[0].pairs is before


@each_spoiling
def test_what_is_sent_and_what_is_measured_are_spoiled_alike(stories, spoiling):
    for pair in spoiled(stories, spoiling).pairs:
        assert np.abs(measured(pair.source).astype(int) - pair.pixels).max() <= 1


@each_spoiling
def test_a_picture_in_a_file_is_spoiled_like_its_bytes(stories, spoiling, tmp_path):
    def in_file(pair):
        path = tmp_path / f"{pair.index}.png"
        path.write_bytes(pair.source)
        return Pair(pair.index, pair.text, path, pair.pixels)

    filed = ShownStory(stories[0].story_id, tuple(in_file(pair) for pair in stories[0].pairs))
    found = spoil(filed, spoiling, donor=stories[1], seed=0).pairs
    for pair, expected in zip(found, spoiled(stories, spoiling).pairs, strict=True):
        assert pair.image(1000).tobytes() == expected.image(1000).tobytes()


@each_spoiling
def test_pictures_that_are_shown_square_stay_square(stories, spoiling):
    squares = [
        ShownStory(story.story_id, tuple(replace(pair, square=SQUARE) for pair in story.pairs)) for story in stories[:2]
    ]
    shown = [pair.image(1000) for pair in spoil(squares[0], spoiling, donor=squares[1], seed=0).pairs]
    expected = [measured(pair.source, square=SQUARE) for pair in spoiled(stories, spoiling).pairs]
    assert [image.size for image in shown] == [(64, 64)] * 6
    assert max(np.abs(np.asarray(one).astype(int) - two).max() for one, two in zip(shown, expected, strict=True)) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_nothing_keeps_its_place_when_shuffled_and_nothing_is_lost(stories, seed):
    before = [pair.source for pair in stories[0].pairs]
    after = [pair.source for pair in spoiled(stories, "pictures_shuffled", seed=seed).pairs]
    assert sorted(after) == sorted(before)
    assert all(one != other for one, other in zip(after[1:], before[1:], strict=True))


def test_equal_seeds_spoil_equally_and_others_otherwise(stories):
    orders = [tuple(pair.text for pair in spoiled(stories, "texts_shuffled", seed=s).pairs) for s in (0, 0, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


def test_swapped_pictures_are_the_donor_s_again_where_it_is_shorter(stories):
    donor = drawn_story(2, pairs=3)
    after = spoil(stories[0], "pictures_swapped", donor=donor, seed=0)
    theirs = [pair.source for pair in donor.pairs[1:]]
    assert [pair.source for pair in after.pairs[1:]] == [*theirs, *theirs, theirs[0]]


def test_every_other_picture_is_inverted_at_its_own_size(stories):
    after = spoiled(stories, "pictures_inverted").pairs
    changed = [one.source != other.source for one, other in zip(after, stories[0].pairs, strict=True)]
    assert changed == [False, True, False, True, False, True]
    with Image.open(io.BytesIO(after[1].source)) as image:
        assert image.size == (160, 90)
        assert (255 - np.asarray(image) == np.asarray(stories[0].pairs[1].image(1000))).all()


def test_a_story_of_one_pair_cannot_be_spoiled(stories):
    with pytest.raises(ValueError, match="e0/0 cannot be spoiled by pictures_shuffled: it shows fewer"):
        spoil(drawn_story(0, pairs=2), "pictures_shuffled", donor=stories[1], seed=0)


def test_a_story_is_not_its_own_donor(stories):
    with pytest.raises(ValueError, match="no other story"):
        spoil(stories[0], "pictures_swapped", donor=stories[0], seed=0)


@pytest.mark.parametrize("form", [Rubric, PublishedForm])
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_scripted_judge_understands_requests_in_each_form(stories, form, dimension):
    """So it can stand behind a server. Without an opening, as the published form asks, blank pictures share a style."""
    good, bad = stories[0], spoiled(stories, "pictures_inverted" if dimension == "style" else "pictures_blank")
    answers = [chat(form, dimension, good), chat(form, dimension, bad), chat(form, dimension, good, bad)]
    form = form(JudgeConfig(picture_side=SIDE))
    read = [form.read(asked, Answer(scripted_answer(request), "stop", 0, 0)) for asked, request in answers]
    assert read[0].score > read[1].score
    assert read[2].choice == "first"
    if isinstance(form, Rubric):
        assert [one.score for one in read[:2]] == [score(good, dimension), score(bad, dimension)]


def chat(form, dimension, *shown):
    question = Question("pair", dimension, "e0/0", ("s",) * len(shown), tuple(story.pairs for story in shown))
    return question, {"messages": sent(form(JudgeConfig(picture_side=SIDE)).messages(question))}
