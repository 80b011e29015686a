"""What was told of a batch of stories so far, in a hidden folder from which a kill at any moment lets go on.

A batch is told in rounds: the next pair of every story in hand. Each round is one entry of the journal:

    0007.safetensors         features of its pictures; texts, costs and seconds as metadata. Entries are only added
    0007.state.safetensors   all that its stories need to go on after it; written before the entry, removed after the
                             next one, and without a story that the entry ends

An entry is there as a whole or not at all, so that stories told together are found at the same segment, and go on
together in the rows of the batch that they would have been in. Where memory ran out, the teller goes on with half of a
batch at a time: entries then hold the rounds of that half, and the other half's state stays until its turn.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from story_model.checkpoint import load_tensors
from story_model.generate import StoryState, Telling, ToldPair
from story_model.manifest import publish, write_atomically

_ENTRY = "entry"


class PairNote(BaseModel):
    """A told pair, its features apart."""

    model_config = ConfigDict(extra="forbid")

    story: int
    """Its place in the batch."""
    index: int
    text: str
    forwards: int
    prefilled: int
    decoded: int
    cache_tokens: int


class Entry(BaseModel):
    """One round in the journal."""

    model_config = ConfigDict(extra="forbid")

    seconds: float
    """Wall time of the language model, while pictures may have been painted beside it."""
    pairs: list[PairNote]


@dataclass(frozen=True)
class Round:
    """The next pair of each story in hand, with the story's place in the batch."""

    pairs: list[tuple[int, ToldPair]]
    states: dict[int, StoryState]
    """Of the stories that it does not end."""
    seconds: float


class Journal:
    """The entries of one batch."""

    def __init__(self, folder: Path, lengths: Sequence[int]) -> None:
        """Read what is in the folder, of stories that shall have so many pairs."""
        folder.mkdir(parents=True, exist_ok=True)
        self.entries: list[Entry] = []
        self._folder = folder
        self._ends = dict(enumerate(lengths))
        while (path := self._entry_path(len(self.entries))).is_file():
            self.entries.append(_read_entry(path))
        self._remove_old_states()

    @property
    def unfinished(self) -> dict[int, int]:
        """How many pairs those stories shall have that do not have them yet."""
        told = {note.story: note.index for entry in self.entries for note in entry.pairs}
        return {story: end for story, end in self._ends.items() if told.get(story, 0) < end}

    def features(self, place: int) -> list[Tensor]:
        """Read the features (F, D) of an entry's pictures, in the order of its pairs."""
        features = load_tensors(self._entry_path(place))
        return [features[str(number)] for number in range(len(features))]

    def states(self) -> dict[int, StoryState]:
        """Read the states of all stories that are begun and unfinished."""
        states: dict[int, StoryState] = {}
        for place, stories in self._needed_states().items():
            for name, tensor in load_tensors(self._state_path(place)).items():
                story, _, part = name.partition("/")
                if int(story) in stories:
                    states.setdefault(int(story), {})[part] = tensor
        return states

    def append(self, told: Round) -> None:
        """Add an entry, after which the states before it are not needed."""
        notes = [
            PairNote(story=story, **{name: getattr(pair, name) for name in PairNote.model_fields if name != "story"})
            for story, pair in told.pairs
        ]
        entry = Entry(seconds=round(told.seconds, 6), pairs=notes)
        place = len(self.entries)
        if told.states:
            _save_states(told.states, self._state_path(place))
        features = {str(number): pair.features.contiguous() for number, (_, pair) in enumerate(told.pairs)}
        write_atomically(self._entry_path(place), save(features, {_ENTRY: entry.model_dump_json()}))
        self.entries.append(entry)
        self._remove_old_states()

    def _needed_states(self) -> dict[int, set[int]]:
        """Map the entries whose states are needed to the stories that need them."""
        latest = {note.story: place for place, entry in enumerate(self.entries) for note in entry.pairs}
        needed: dict[int, set[int]] = {}
        for story in self.unfinished.keys() & latest.keys():
            needed.setdefault(latest[story], set()).add(story)
        return needed

    def _remove_old_states(self) -> None:
        needed = {self._state_path(place) for place in self._needed_states()}
        for path in set(self._folder.glob("*.state.safetensors")) - needed:
            path.unlink()

    def _entry_path(self, place: int) -> Path:
        return self._folder / f"{place:04d}.safetensors"

    def _state_path(self, place: int) -> Path:
        return self._folder / f"{place:04d}.state.safetensors"


def rounds(telling: Telling, unfinished: Mapping[int, int]) -> Iterator[Round]:
    """Tell stories round by round; `unfinished` says which, and how many pairs each shall have.

    The round in which a batch is halved is handed out with the next one of the half that is told first.
    """
    ends = dict(unfinished)
    in_hand = sorted(ends)
    told: list[tuple[int, ToldPair]] = []
    seen: list[int] = []
    began = time.perf_counter()
    for story, pair in telling:
        if seen and story <= seen[-1]:  # the others did not come: a part of the batch is told first
            in_hand, seen = [one for one in seen if one in ends], []
        seen.append(story)
        told.append((story, pair))
        if pair.index == ends[story]:
            del ends[story]
        if story == in_hand[-1]:
            seconds = time.perf_counter() - began
            yield Round(told, {one: telling.state(one) for one in in_hand if one in ends}, seconds)
            told, seen = [], []
            in_hand = [one for one in in_hand if one in ends] or sorted(ends)
            began = time.perf_counter()


def _read_entry(path: Path) -> Entry:
    try:
        with safe_open(path, "pt") as file:
            return Entry.model_validate_json(file.metadata()[_ENTRY])
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete {path.parent.parent} and tell the stories anew"
        ) from None


def _save_states(states: Mapping[int, StoryState], path: Path) -> None:
    """Write states without a copy in memory: they are as large as the language model's cache."""
    tensors = {
        f"{story}/{name}": tensor.contiguous() for story, state in states.items() for name, tensor in state.items()
    }
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    publish(temporary, path)
