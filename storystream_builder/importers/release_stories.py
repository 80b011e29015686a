"""Rows of a release -> stories that hold together: chunks joined, broken stories cut, repeated ones left out.

A story here is pictures of one episode whose times increase, each there and each with a caption. A published row that
is not is broken; it is cut where it breaks, for the text of its unbroken parts still reads on, or left out whole.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from storystream_builder.episodes import Problem
from storystream_builder.importers.entries import Fault
from storystream_builder.importers.release_config import ReleaseConfig
from storystream_builder.importers.release_rows import Pair, Row
from storystream_builder.stories import TRAIN, VALIDATION

FaultOf = Callable[[str], Fault | None]
"""Why a picture cannot be used, by its id; none where it can."""

_SHORTEST = 2


@dataclass(frozen=True)
class ReleasedStory:
    """A story that can be written."""

    split: str
    pairs: tuple[Pair, ...]
    story_id: str = ""

    @property
    def episode_id(self) -> str:
        """The one episode that it is of."""
        assert self.pairs[0].picture is not None
        return self.pairs[0].picture.episode_id

    @property
    def frame_ids(self) -> list[str]:
        """Its pictures in order."""
        return [pair.picture.frame_id for pair in self.pairs if pair.picture]

    @property
    def place(self) -> str:
        """Where it begins in the release."""
        return self.pairs[0].row.place


@dataclass
class ReleasedStories:
    """What came of the rows. Each pair is in a story or counted among the lost, under one code."""

    stories: list[ReleasedStory]
    problems: list[Problem] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    """Pairs by the code of their loss."""
    counts: Counter[str] = field(default_factory=Counter)

    def lose(self, story: Sequence[Pair], fault: Fault) -> None:
        """Leave pairs out, with one problem for all of them."""
        self.problems.append(Problem(story[0].row.place, "stories", fault.reason, fault.code))
        self.lost[fault.code] += len(story)


def make_stories(rows: Sequence[Row], *, fault_of: FaultOf, config: ReleaseConfig) -> ReleasedStories:
    """Make stories of rows; the result is sorted by split and id."""
    found = ReleasedStories([])
    for joined in _joined(rows):
        found.counts["chunks joined"] += len(joined) if len(joined) > 1 else 0
        pairs = [pair for row in joined for pair in row.pairs]
        found.stories += [ReleasedStory(joined[0].split, part) for part in _parts(pairs, fault_of, config, found)]
    _leave_out_repeated(found)
    _keep_splits_apart(found, config)
    found.stories = _numbered(found.stories, config.subset)
    told = sum(len(story.pairs) for story in found.stories)
    assert sum(len(row.pairs) for row in rows) == told + found.lost.total(), "a pair is told or counted as lost"
    return found


def _joined(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Join chunks of one parent where that is certain, else give each row by itself."""
    run: list[Row] = []
    for row in rows:
        if run and _goes_on(run[-1], row):
            run.append(row)
            continue
        if run:
            yield run
        run = [row]
    if run:
        yield run


def _goes_on(chunk: Row, next_chunk: Row) -> bool:
    """Whether two rows are chunks of one parent: same file of chunks, lines in a row, same id, full, time goes on."""
    file, _, number = chunk.place.rpartition(":")
    next_file, _, next_number = next_chunk.place.rpartition(":")
    length = chunk.chunk_length
    if (
        not length
        or not chunk.story_id
        or file != next_file
        or int(next_number) != int(number) + 1
        or chunk.story_id != next_chunk.story_id
    ):
        return False
    if next_chunk.chunk_length != length or len(chunk.pairs) != length or len(next_chunk.pairs) > length:
        return False
    last, first = chunk.pairs[-1].picture, next_chunk.pairs[0].picture
    if last is None or first is None:
        return False
    return last.episode_id == first.episode_id and last.pts_ms < first.pts_ms


def _parts(
    pairs: Sequence[Pair], fault_of: FaultOf, config: ReleaseConfig, found: ReleasedStories
) -> list[tuple[Pair, ...]]:
    """Cut a story where it breaks, by the configured policy; an unbroken one stays whole."""
    runs: list[list[Pair]] = [[]]
    for pair in pairs:
        fault = pair.fault or (fault_of(pair.picture.frame_id) if pair.picture else None)
        if fault:
            found.lose([pair], fault)
            runs.append([])
            continue
        turn = _break(runs[-1][-1], pair) if runs[-1] else None
        if turn:
            found.problems.append(Problem(pair.row.place, "stories", turn.reason, turn.code))
            runs.append([])
        runs[-1].append(pair)
    is_broken = len(runs) > 1
    found.counts["stories broken"] += is_broken
    return [tuple(run) for run in runs if run and _is_kept(run, is_broken, config, found)]


def _is_kept(run: Sequence[Pair], is_broken: bool, config: ReleaseConfig, found: ReleasedStories) -> bool:
    if is_broken and config.broken == "drop":
        found.lose(run, Fault("broken story", f"{len(run)} pairs of a story that breaks; `--broken cut` keeps parts"))
        return False
    shortest = config.shortest_part if is_broken else _SHORTEST
    if len(run) < shortest:
        found.lose(run, Fault("too short", f"{len(run)} pairs in a row; the least is {shortest}"))
        return False
    return True


def _break(before: Pair, pair: Pair) -> Fault | None:
    assert before.picture is not None
    assert pair.picture is not None
    one, other = before.picture, pair.picture
    where = f"picture {pair.position}: {other.frame_id} after {one.frame_id}"
    if other.episode_id != one.episode_id:
        return Fault("crosses episodes", where)
    if other.pts_ms == one.pts_ms:
        return Fault("repeated picture", where)
    return Fault("back in time", where) if other.pts_ms < one.pts_ms else None


def _leave_out_repeated(found: ReleasedStories) -> None:
    """Leave out stories all of whose pairs another one holds: copies, and chunks that lie beside their parents."""
    owners: dict[tuple[str, bytes], int] = {}
    kept: list[tuple[int, ReleasedStory]] = []
    ranked = sorted(enumerate(found.stories), key=lambda one: (one[1].split != VALIDATION, -len(one[1].pairs), one[0]))
    for number, story in ranked:
        keys = list(zip(story.frame_ids, (pair.caption_digest for pair in story.pairs), strict=True))
        holders = {owners.get(key) for key in keys}
        holder = holders.pop()
        if not holders and holder is not None:
            first = found.stories[holder].place
            found.lose(story.pairs, Fault("repeated story", f"all {len(keys)} pairs are in the story of {first}"))
            continue
        kept.append((number, story))
        owners |= {key: number for key in keys if key not in owners}
    found.stories = [story for _, story in sorted(kept, key=lambda one: one[0])]


def _keep_splits_apart(found: ReleasedStories, config: ReleaseConfig) -> None:
    """Leave out train stories of episodes that are held out, unless that is unwanted or there is one episode only."""
    held_out = {story.episode_id for story in found.stories if story.split == VALIDATION}
    shared = held_out & {story.episode_id for story in found.stories if story.split == TRAIN}
    found.counts["episodes in both splits"] = len(shared)
    if config.leaks == "keep" or len({story.episode_id for story in found.stories}) == 1:
        return
    for story in found.stories:
        if story.split == TRAIN and story.episode_id in shared:
            reason = f"episode {story.episode_id} is in the validation split too; `--leaks keep` takes both"
            found.lose(story.pairs, Fault("held-out episode", reason))
    found.stories = [story for story in found.stories if story.split == VALIDATION or story.episode_id not in shared]


def _numbered(stories: Sequence[ReleasedStory], subset: str) -> list[ReleasedStory]:
    """Name stories by episode and number in it, in the release's order."""
    named = []
    for episode_id, group in groupby(sorted(stories, key=lambda one: one.episode_id), key=lambda one: one.episode_id):
        for number, story in enumerate(group):
            named.append(ReleasedStory(story.split, story.pairs, f"{subset}-{episode_id}-{number:04d}"))
    return sorted(named, key=lambda story: (story.split, story.story_id))
