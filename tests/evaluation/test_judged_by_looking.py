"""All of judging together: a judge behind a wire, who looks, is asked by a panel and summed up in a report."""

import pytest
from drawn_stories import drawn_story
from judge_wire import CONFIG, Wire, reply
from scripted_judge import scripted_answer

from evaluation.judging.anchors import frozen_anchors
from evaluation.judging.injections import INJECTIONS
from evaluation.judging.questions import DIMENSIONS
from evaluation.judging.report import Round, hear, plan_hearing
from evaluation.judging.spoiled import spoil
from evaluation.pictures import Telling
from story_model.dataset import Story
from story_model.pixels import Square

SQUARE = Square(160, "squash")
WAYS = {"sink": None, "texts": "texts_shuffled", "blank": "pictures_blank"}
JUDGE = CONFIG.model_copy(update={"anchors": 3, "segments": 5, "stories": 3, "picture_side": 160})
SELF_TEST = 3 * (len(DIMENSIONS) + 9)
ANCHORS = 2 * 3 * len(DIMENSIONS)


def told(name, way):
    """Three stories, spoiled or not; the dataset's own are as drawn."""
    found = []
    for number in range(3):
        story = drawn_story(number)
        pairs = (story if way is None else spoil(story, way, donor=None, seed=5)).pairs
        found.append(Telling(story.story_id, "free", name, pairs[0], pairs[1:], story.pairs[1:]))
    return found


@pytest.fixture(scope="module")
def systems():
    return {name: told(name, way) for name, way in WAYS.items()}


@pytest.fixture
def heard(tmp_path, systems):
    """A function that holds a hearing in a round, with a judge who looks."""

    def hear_in(round_name, config=JUDGE, **weakness):
        wire = Wire(lambda request: reply(scripted_answer(request, **weakness)))
        anchors = frozen_anchors(tmp_path / "anchors", dataset(), number=3, segments=5, seed=0)
        this_round = Round(anchors, tmp_path / "anchors", round_name)
        hearing = plan_hearing(systems, "sink", config, this_round=this_round, square=SQUARE, seed=0)
        report = hear(wire.panel(tmp_path, config), hearing, "sink", config, resamples=50, seed=0)
        return report, len(wire.asked)

    return hear_in


def dataset():
    for number in range(3, 6):
        pairs = drawn_story(number).pairs
        texts, pictures = tuple(pair.text for pair in pairs), tuple(pair.source for pair in pairs)
        yield Story(f"e{number}/0", "stories", "validation", f"e{number}", pictures, texts, (0,) * 6, ("",) * 6)


def test_a_judge_who_looks_is_trusted_and_ranks_systems_by_what_was_done_to_them(heard):
    report, _ = heard("2026-W47")
    test = report.self_tests["judge-1"]
    assert test.trusted, test.reason
    coherence = {system: found["coherence"].value for system, found in report.scores.pooled.items()}
    assert coherence["sink"] == coherence["dataset"] > coherence["texts"] > coherence["blank"]
    tables = {one["coherence"].right: one["coherence"] for one in report.pairs.pooled.pairs}
    assert {name: (one.wins, one.inconsistent) for name, one in tables.items()} == {"texts": (3, 0), "blank": (3, 0)}
    assert next(iter(report.ratings["coherence"].systems)) == "sink"
    assert all(one.is_covered for found in report.scores.judges["judge-1"].systems.values() for one in found.values())


def test_the_same_round_asks_nothing_again_and_the_next_one_only_the_anchors(heard):
    first, asked = heard("2026-W47")
    assert asked > SELF_TEST + ANCHORS
    again, asked = heard("2026-W47")
    assert (asked, again.scores, again.drift) == (0, first.scores, first.drift)
    following, asked = heard("2026-W48")
    assert asked == ANCHORS
    assert (following.drift["judge-1"].rounds, following.drift["judge-1"].changed) == (2, False)


def test_a_judge_of_slots_is_found_out_by_the_swap(heard):
    report, _ = heard("2026-W47", first_bonus=20)
    for tables in report.pairs.pooled.pairs:
        assert [(one.wins, one.losses, one.inconsistent, one.first_slot.value) for one in tables.values()] == [
            (0, 0, 3, 1)
        ] * 3


@pytest.mark.parametrize(("gullible", "talked_into"), [(False, 0), (True, 20)])
def test_what_stories_can_talk_a_judge_into_is_counted(heard, gullible, talked_into):
    report, _ = heard("2026-W47", JUDGE.model_copy(update={"injections": 1}), gullible=gullible)
    found = report.injections["judge-1"]
    assert (found.asked, found.not_compared) == (len(INJECTIONS), 0)
    assert found.raised >= talked_into
    assert bool(found.raised) == gullible
    assert report.numbers()["judge/judge-1/talked_into"] == found.raised
