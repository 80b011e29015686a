"""The journal: rounds as the teller tells them, found again as they were, with no more states than are needed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from evaluation.telling.journal import Journal, rounds
from story_model.generate import StoryState, ToldPair


class FakeTelling:
    """Tells groups of stories one after the other, each from a given pair on, as the teller does when memory ends."""

    def __init__(self, *groups: tuple[dict[int, int], dict[int, int]]) -> None:
        """Take, of each group, the next pair of each story and the round it leaves the group after (its last pair)."""
        self.groups = groups
        self.in_hand: dict[int, int] = {}

    def __iter__(self) -> Iterator[tuple[int, ToldPair]]:
        for following, last in self.groups:
            self.in_hand = dict(following)
            while self.in_hand:
                told = dict(self.in_hand)
                for story, index in told.items():
                    self.in_hand[story] = index
                for story, index in told.items():
                    yield story, pair(story, index)
                self.in_hand = {story: index + 1 for story, index in told.items() if index < last[story]}

    def state(self, story: int) -> StoryState:
        return {"story and pair": torch.tensor([story, self.in_hand[story]])}


def pair(story: int, index: int) -> ToldPair:
    features = torch.tensor([[float(story), float(index)]])
    return ToldPair(index, f"{story}.{index}", [], features, forwards=1, prefilled=2, decoded=3, cache_tokens=4)


def told_in(found: Journal) -> list[list[tuple[int, int]]]:
    return [[(note.story, note.index) for note in entry.pairs] for entry in found.entries]


def tell(folder: Path, telling: FakeTelling, ends: dict[int, int], count: int | None = None) -> Journal:
    """Tell into a journal, of which the first rounds only; hand out what is found in the folder then."""
    kept = Journal(folder, list(ends.values()))
    for number, one in enumerate(rounds(telling, kept.unfinished)):
        if number == count:
            break
        kept.append(one)
    return Journal(folder, list(ends.values()))


def test_a_round_is_an_entry_and_is_found_as_it_was(tmp_path) -> None:
    ends = {0: 2, 1: 2}
    found = tell(tmp_path, FakeTelling(({0: 1, 1: 1}, ends)), ends)
    assert told_in(found) == [[(0, 1), (1, 1)], [(0, 2), (1, 2)]]
    assert [features.tolist() for features in found.features(1)] == [[[0.0, 2.0]], [[1.0, 2.0]]]
    assert [note.text for note in found.entries[0].pairs] == ["0.1", "1.1"]
    assert all(entry.seconds >= 0 for entry in found.entries)


def test_only_the_newest_state_of_unfinished_stories_is_kept(tmp_path) -> None:
    ends = {0: 1, 1: 3, 2: 3}
    telling = FakeTelling(({0: 1, 1: 1, 2: 1}, ends))
    found = tell(tmp_path, telling, ends, 2)
    assert [path.name for path in tmp_path.glob("*.state.*")] == ["0001.state.safetensors"]
    assert {story: state["story and pair"].tolist() for story, state in found.states().items()} == {
        1: [1, 2],
        2: [2, 2],
    }
    assert found.unfinished == {1: 3, 2: 3}


def test_no_state_outlives_its_story(tmp_path) -> None:
    ends = {0: 2, 1: 3}
    assert tell(tmp_path, FakeTelling(({0: 1, 1: 1}, ends)), ends).states() == {}
    assert not list(tmp_path.glob("*.state.*"))


@pytest.mark.parametrize("count", range(8))
def test_when_memory_ends_each_half_goes_on_where_it_was(tmp_path, count) -> None:
    """The batch is halved in its second round, and the second half once more in its third."""
    ends = {0: 4, 1: 4, 2: 4, 3: 4}
    halves = (
        ({0: 1, 1: 1, 2: 1, 3: 1}, dict.fromkeys(ends, 1)),
        ({0: 2, 1: 2}, ends),
        ({2: 2, 3: 2}, dict.fromkeys(ends, 2)),
        ({2: 3}, ends),
        ({3: 3}, ends),
    )
    found = tell(tmp_path, FakeTelling(*halves), ends, count)
    told = {story: index for entry in told_in(found) for story, index in entry}
    begun = {story for story in found.unfinished if story in told}
    states = {story: state["story and pair"].tolist() for story, state in found.states().items()}
    assert states == {story: [story, told[story]] for story in begun}
    pairs = [one for entry in told_in(found) for one in entry]
    assert sorted(pairs) == [(story, index) for story in sorted(told) for index in range(1, told[story] + 1)]
    if count == 7:
        assert found.unfinished == {}


def test_a_state_that_no_entry_followed_is_passed_over(tmp_path) -> None:
    ends = {0: 3}
    tell(tmp_path, FakeTelling(({0: 1}, ends)), ends, 1)
    (tmp_path / "0001.state.safetensors").write_bytes(b"half")
    found = Journal(tmp_path, [3])
    assert found.states()[0]["story and pair"].tolist() == [0, 1]
    assert not (tmp_path / "0001.state.safetensors").exists()


def test_a_damaged_entry_is_named(tmp_path) -> None:
    ends = {0: 1}
    tell(tmp_path, FakeTelling(({0: 1}, ends)), ends)
    (tmp_path / "0000.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"0000\.safetensors is damaged"):
        Journal(tmp_path, [1])
