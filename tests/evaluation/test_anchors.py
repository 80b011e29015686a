import json
from collections import Counter
from multiprocessing import get_context

import pytest
from drawn_stories import drawn_story

from evaluation.judging.anchors import FILE, first_repeat, frozen_anchors
from evaluation.judging.asks import anchor_questions
from evaluation.judging.questions import DIMENSIONS
from evaluation.judging.spoiled import GOOD, spoil
from story_model.dataset import Story


def dataset_story(episode, *, pairs=6):
    drawn = drawn_story(episode, pairs=pairs).pairs
    texts, pictures = tuple(pair.text for pair in drawn), tuple(pair.source for pair in drawn)
    return Story(f"e{episode}/0", "stories", "validation", f"e{episode}", pictures, texts, (0,) * pairs, ("",) * pairs)


@pytest.fixture(scope="module")
def stories():
    return [dataset_story(episode) for episode in range(6)]


def frozen(folder, stories, *, number=3, segments=4):
    return frozen_anchors(folder, stories, number=number, segments=segments, seed=0)


def shown(anchors):
    return [
        (one.story.story_id, one.label, [(pair.index, pair.text, pair.source) for pair in one.story.pairs])
        for one in anchors.anchors
    ]


def change(folder, edit):
    stored = json.loads((folder / FILE).read_text())
    edit(stored)
    (folder / FILE).write_text(json.dumps(stored))


def test_there_are_as_many_spoiled_anchors_as_good_ones_each_spoiled_in_another_way(tmp_path, stories):
    anchors = frozen(tmp_path, stories)
    assert [one.label == GOOD for one in anchors.anchors] == [True] * 3 + [False] * 3
    assert len({one.label for one in anchors.anchors}) == 4
    assert all(len(one.story.pairs) == 5 for one in anchors.anchors)
    good = anchors.good
    first_spoiled = anchors.anchors[3]
    again = spoil(good[0], first_spoiled.label, donor=good[1], seed=0)
    assert [pair.source for pair in first_spoiled.story.pairs] == [pair.source for pair in again.pairs]


def test_the_dataset_s_order_decides_nothing(tmp_path, stories):
    one = frozen(tmp_path / "one", stories)
    other = frozen(tmp_path / "other", stories[::-1])
    assert one.digest == other.digest
    assert shown(one) == shown(other)


def test_a_new_story_in_the_dataset_moves_at_most_one_anchor(tmp_path, stories):
    before = {one.story_id for one in frozen(tmp_path / "before", stories[:-1]).good}
    after = {one.story_id for one in frozen(tmp_path / "after", stories).good}
    assert len(before - after) <= 1


def test_another_dataset_is_asked_about_the_very_same_anchors(tmp_path, stories):
    first = frozen(tmp_path, stories[:4])
    assert shown(frozen(tmp_path, stories[4:])) == shown(first)
    assert shown(frozen(tmp_path, [])) == shown(first)


def test_stories_too_short_to_be_spoiled_are_no_anchors(tmp_path, stories):
    anchors = frozen(tmp_path, [dataset_story(7, pairs=2), *stories[:2]], number=3)
    assert {one.story_id for one in anchors.good} == {"e0/0", "e1/0"}
    with pytest.raises(ValueError, match="no story has 3 pairs"):
        frozen(tmp_path / "none", [dataset_story(7, pairs=2)])


def test_one_story_alone_makes_two_anchors(tmp_path, stories):
    assert len(frozen(tmp_path, stories[:1], number=4).anchors) == 2


def test_a_set_that_was_not_finished_is_made_again(tmp_path, stories):
    first = frozen(tmp_path, stories)
    (tmp_path / FILE).unlink()
    assert frozen(tmp_path, stories).digest == first.digest


@pytest.mark.parametrize(("number", "segments"), [(2, 4), (3, 5)])
def test_other_settings_do_not_ask_the_old_anchors_in_silence(tmp_path, stories, number, segments):
    frozen(tmp_path, stories)
    with pytest.raises(ValueError, match=r"holds 3 anchors of 4 segments.*begin a new series"):
        frozen(tmp_path, stories, number=number, segments=segments)


def test_a_changed_picture_is_refused(tmp_path, stories):
    anchors = frozen(tmp_path, stories)
    next(path for path in tmp_path.iterdir() if path.name != FILE).write_bytes(b"other")
    with pytest.raises(ValueError, match="missing or was changed"):
        frozen(tmp_path, stories)
    assert anchors.digest


def test_a_missing_picture_is_named(tmp_path, stories):
    frozen(tmp_path, stories)
    path = next(path for path in tmp_path.iterdir() if path.name != FILE)
    path.unlink()
    with pytest.raises(ValueError, match=path.name):
        frozen(tmp_path, stories)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda stored: stored["anchors"][0]["pairs"][0].update(text="Nicer."), "digest is not of its content"),
        (lambda stored: stored["anchors"].pop(), "digest is not of its content"),
        (lambda stored: stored["anchors"][3].update(label="good"), "digest is not of its content"),
        (lambda stored: stored["anchors"][0]["pairs"][0].update(picture="../../secret"), "no set of anchors"),
        (lambda stored: stored["anchors"][0].update(label="praised"), "no set of anchors"),
        (lambda stored: stored.update(more=1), "no set of anchors"),
        (lambda stored: stored.update(version=2), "no set of anchors"),
    ],
)
def test_a_list_that_was_changed_is_refused(tmp_path, stories, edit, message):
    frozen(tmp_path, stories)
    change(tmp_path, edit)
    with pytest.raises(ValueError, match=message):
        frozen(tmp_path, stories)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_a_list_that_is_none_is_refused(tmp_path, stories, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match="no set of anchors"):
        frozen(tmp_path, stories)


def test_each_round_asks_everything_once_and_under_numbers_of_its_own(tmp_path, stories):
    anchors = frozen(tmp_path, stories)
    rounds = [
        anchor_questions(anchors, round_name=name, repeats=2).questions for name in ("2026-W47", "2026-W47", "2026-W48")
    ]
    assert rounds[0] == rounds[1]
    numbers = [{one.repeat for one in questions} for questions in rounds]
    assert not numbers[0] & numbers[2]
    cells = Counter((one.story_id, one.label, one.dimension, one.repeat) for one in rounds[0])
    assert len(cells) == 6 * len(DIMENSIONS) * 2
    assert set(cells.values()) == {1}


def test_numbers_of_rounds_are_no_ordinary_repeats_and_differ():
    numbers = [first_repeat(f"{year}-W{week:02}") for year in range(2026, 2036) for week in range(1, 53)]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 1000
    assert max(numbers) < 2**31 - 1000


def test_one_segment_is_too_few_for_anchors_and_it_is_said_which_setting_that_is(tmp_path, stories):
    with pytest.raises(ValueError, match=r"evaluate\.judge\.segments=1; set it higher, or evaluate\.judge\.anchors=0"):
        frozen(tmp_path, stories, segments=1)


def test_runs_that_freeze_at_the_same_moment_get_the_same_anchors(tmp_path, stories):
    """Each of another dataset; the first one's anchors are everybody's."""
    processes = get_context("fork")
    for attempt in range(3):
        start, found = processes.Barrier(4), processes.SimpleQueue()

        def freeze(first, folder=tmp_path / str(attempt), start=start, found=found):
            start.wait()
            found.put(frozen(folder, stories[first : first + 3]).digest)

        at_work = [processes.Process(target=freeze, args=(first,)) for first in (0, 3, 0, 3)]
        for one in at_work:
            one.start()
        for one in at_work:
            one.join()
        assert [one.exitcode for one in at_work] == [0] * 4
        assert len({found.get() for _ in at_work}) == 1
