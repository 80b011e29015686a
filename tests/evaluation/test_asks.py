from collections import Counter

import pytest
from drawn_stories import drawn_story
from fabricated_run import encoded, paint

from evaluation.judging.asks import pair_questions, score_questions, self_test_questions
from evaluation.judging.questions import DIMENSIONS, REFERENCE
from evaluation.judging.spoiled import GOOD, MUST_FALL
from evaluation.pictures import Pair, Telling, measured
from story_model.pixels import Square


def pair(index, text="Ada waves.", *, size=(64, 64), pictured=True):
    source = encoded(paint("Ada", "hill", index, size), "PNG") if pictured else None
    return Pair(index, text, source, measured(source) if source else None)


def telling(story_id, policy, *, without=(), told=4):
    own = tuple(pair(index, policy, pictured=index not in without) for index in range(1, told + 1))
    reference = tuple(pair(index, "the dataset's", size=(160, 90)) for index in range(1, told + 1))
    return Telling(story_id, "free", policy, pair(0, "Once."), own, reference)


SYSTEMS = {
    "free-sink": [telling("a", "sink"), telling("b", "sink"), telling("c", "sink")],
    "free-dense": [telling("a", "dense", without=(2,)), telling("b", "dense"), telling("c", "dense")],
}


def indices(question):
    return [[pair.index for pair in story] for story in question.stories]


def test_each_system_and_the_dataset_are_asked_about_in_each_dimension():
    asks = score_questions(SYSTEMS, stories=2, segments=3, repeats=1)
    found = Counter((one.systems, one.story_id, one.dimension) for one in asks.questions)
    expected = [((s,), story, d) for s in (*SYSTEMS, REFERENCE) for story in "ab" for d in DIMENSIONS]
    assert found == Counter(expected)


def test_systems_are_scored_on_the_same_openings_whatever_else_they_told():
    """Another system may lack a story, have further ones, and come in another order."""
    theirs = [telling("c", "theirs"), telling("z", "theirs"), telling("a", "theirs")]
    asks = score_questions(SYSTEMS | {"external-x": theirs}, stories=2, segments=3, repeats=1)
    assert {one.story_id for one in asks.questions} == {"a", "b"}
    assert {one.story_id for one in asks.questions if one.systems == ("external-x",)} == {"a"}


def test_a_story_that_a_system_did_not_tell_counts_against_its_coverage():
    """A system that tells only what is easy has a mean of that alone."""
    theirs = [telling("c", "theirs"), telling("a", "theirs")]
    asks = score_questions(SYSTEMS | {"external-x": theirs}, stories=2, segments=3, repeats=2)
    (lost,) = asks.left_out
    assert (lost.systems, lost.story_id, lost.reason, lost.questions) == (("external-x",), "b", "not told", 2)


def test_a_budget_that_runs_out_leaves_whole_stories_of_all_systems():
    asks = score_questions(SYSTEMS, stories=3, segments=3, repeats=2)
    first = asks.questions[: 3 * len(DIMENSIONS)]
    assert {one.story_id for one in first} == {"a"}
    assert {one.systems[0] for one in first} == {*SYSTEMS, REFERENCE}
    assert [one.repeat for one in asks.questions] == [0] * 27 + [1] * 27


def test_a_segment_without_a_picture_is_left_out_and_the_next_one_shown():
    asks = score_questions(SYSTEMS, stories=1, segments=3, repeats=1)
    assert {one.systems[0]: indices(one) for one in asks.questions} == {
        "free-sink": [[0, 1, 2, 3]],
        "free-dense": [[0, 1, 3, 4]],
        REFERENCE: [[0, 1, 2, 3]],
    }


def test_a_story_without_any_picture_is_not_asked_about_but_counted():
    asks = score_questions({"s": [telling("a", "s", without=(1, 2, 3, 4))]}, stories=1, segments=3, repeats=2)
    assert {one.systems for one in asks.questions} == {(REFERENCE,)}
    (left_out,) = asks.left_out
    assert (left_out.systems, left_out.story_id, left_out.questions) == (("s",), "a", 2)


@pytest.mark.parametrize(("square", "size"), [(Square(64, "squash"), (64, 64)), (None, (160, 90))])
def test_the_dataset_s_pictures_get_the_shape_of_told_ones_where_it_is_known(square, size):
    asks = score_questions(SYSTEMS, stories=1, segments=1, repeats=1, square=square)
    (own,) = {one.stories[0][1].image(1000).size for one in asks.questions if one.systems == (REFERENCE,)}
    assert own == size


def test_every_pair_is_asked_in_both_orders():
    asks = pair_questions(SYSTEMS, "free-sink", stories=2, segments=3)
    assert len(asks.questions) == 2 * 2 * len(DIMENSIONS)
    for one, swapped in zip(asks.questions[::2], asks.questions[1::2], strict=True):
        assert one.systems == ("free-sink", "free-dense")
        assert (one.systems, one.stories) == (swapped.systems[::-1], swapped.stories[::-1])
        assert (one.story_id, one.dimension) == (swapped.story_id, swapped.dimension)


def test_both_stories_of_a_pair_are_shown_at_the_same_segments():
    asks = pair_questions(SYSTEMS, "free-sink", stories=1, segments=2)
    assert all(indices(one) == [[0, 1, 3], [0, 1, 3]] for one in asks.questions)
    assert [pair.text for pair in asks.questions[0].stories[1]] == ["Once.", "dense", "dense"]


def test_a_start_that_the_other_system_did_not_tell_is_left_out_with_its_reason():
    systems = {"h": [telling("a", "h"), telling("b", "h")], "o": [telling("b", "o")]}
    asks = pair_questions(systems, "h", stories=2, segments=2, repeats=3)
    assert {one.story_id for one in asks.questions} == {"b"}
    assert [(one.story_id, one.reason, one.questions) for one in asks.left_out] == [("a", "not told by both", 6)]


def test_a_headline_that_was_not_told_is_named():
    with pytest.raises(ValueError, match="'free-window' was not told"):
        pair_questions(SYSTEMS, "free-window", stories=1, segments=1)


def test_the_self_test_asks_of_spoiled_copies_only_what_must_fall():
    asks = self_test_questions([drawn_story(0), drawn_story(1)], seed=0)
    found = Counter((one.label, one.dimension) for one in asks.questions)
    expected = {(GOOD, one): 2 for one in DIMENSIONS}
    expected |= {(spoiling, one): 2 for spoiling, dimensions in MUST_FALL.items() for one in dimensions}
    assert found == expected
    assert not asks.left_out


def test_one_story_alone_cannot_swap_pictures_and_says_so():
    asks = self_test_questions([drawn_story(0)], seed=0)
    assert "pictures_swapped" not in {one.label for one in asks.questions}
    assert [one.reason for one in asks.left_out] == ["pictures_swapped: there is no other story to take pictures from"]
