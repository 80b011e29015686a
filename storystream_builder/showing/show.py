"""A dataset, or the run that made it, as pages to look through: overview, episodes with shots, frames and stories.

Static files that open without a server; a page an episode, so that a large dataset stays light.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from story_model.workspace import RunFolder
from storystream_builder.frames import KEPT
from storystream_builder.showing.browse import (
    Collection,
    SeenEpisode,
    SeenFrame,
    SeenStory,
    open_collection,
    pick_examples,
)
from storystream_builder.showing.contact_sheets import SHEET_KINDS, USUAL_ROWS, write_sheet
from storystream_builder.showing.page_writer import PageWriter, clear_folder, open_folder
from storystream_builder.showing.preview import lines_of as preview_lines
from storystream_builder.showing.preview_page import USUAL_PICTURES, write_preview
from storystream_builder.showing.statistics import Statistics, read_statistics
from storystream_builder.showing.thumbnails import Thumbnails, file_stem

THUMBNAIL_SIDE = 320
"""Pixels."""
USUAL_LIMIT = 200
"""Episodes that get a page unless more are asked for."""
_EXAMPLES = 6
_MAX_PROBLEMS = 500


@dataclass(frozen=True)
class _EpisodePage:
    """An episode with where it is shown."""

    episode: SeenEpisode
    file: str
    num_kept: int

    @property
    def page(self) -> str:
        """Path from the overview."""
        return f"episodes/{self.file}"


@dataclass(frozen=True)
class _Reason:
    """What became of candidates, with some of them: (frame, page)."""

    reason: str
    number: int
    examples: list[tuple[SeenFrame, str]]

    @property
    def is_kept(self) -> bool:
        """Whether they are in stories."""
        return self.reason == KEPT


@dataclass(frozen=True)
class _Pair:
    """A picture of a story with its text; `index` counts from 1."""

    index: int
    frame_id: str
    pts_ms: int | None
    text: str


def show(
    folder: Path,
    *,
    out: Path | None = None,
    limit: int | None = None,
    sheet: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
) -> Iterator[str]:
    """Write what is asked for, and tell where it lies: a contact sheet, a preview of other limits, or pages.

    Raises:
        ValueError: there is nothing to show, or no place for it.
    """
    if sheet and overrides:
        raise ValueError("--sheet shows what is, --set what would be; give one of them")
    if limit is not None and limit < 0:
        raise ValueError(f"--limit is {limit}; give 0 for all, or how many")
    out = out or folder.with_name(f"{folder.resolve().name}-pages")
    if sheet:
        kind = next((known for known in SHEET_KINDS if known == sheet[0]), None)
        if kind is None:
            raise ValueError(f"--sheet {sheet[0]}: no such kind; known: {', '.join(SHEET_KINDS)}")
        rows = write_sheet(folder, kind, Path(sheet[1]), limit=USUAL_ROWS if limit is None else limit)
        yield f"{sheet[1]}: {rows} rows"
    elif overrides:
        path, found = write_preview(RunFolder(folder), overrides, out, limit=USUAL_PICTURES if limit is None else limit)
        yield from preview_lines(found)
        yield str(path)
    else:
        yield str(write_pages(folder, out, limit=USUAL_LIMIT if limit is None else limit))


def write_pages(folder: Path, out: Path, *, limit: int = USUAL_LIMIT, side: int = THUMBNAIL_SIDE) -> Path:
    """Write pages on a dataset, or on a run, into `out`; gives the overview's path.

    Raises:
        ValueError: there is no dataset, or `out` holds something else.
    """
    collection = open_collection(folder, limit=limit)
    statistics = read_statistics(collection.dataset_dir)
    open_folder(out, dataset_dir=collection.dataset_dir)
    clear_folder(out)
    pages = [_EpisodePage(one, f"{file_stem(one.episode_id)}.html", _num_kept(one)) for one in collection.episodes]
    thumbnails = Thumbnails(out / "thumbnails", side=side)
    writer = PageWriter(out)
    examples: dict[str, str] = {}
    reasons = pick_examples(collection.episodes, _EXAMPLES)
    shown = {frame.frame_id for frames in reasons.values() for frame in frames}
    for number, page in enumerate(tqdm(pages, desc="pages", unit="episode")):
        written = thumbnails.write(page.episode.episode_id, collection.pictures(page.episode.episode_id))
        examples |= {name: path for name, path in written.items() if name in shown}
        _write_episode(writer, collection, pages, number, written)
    return _write_overview(writer, collection, statistics, pages, reasons, examples, thumbnails.unreadable)


def _num_kept(episode: SeenEpisode) -> int:
    return sum(frame.is_kept for frame in episode.frames)


def _write_episode(
    writer: PageWriter,
    collection: Collection,
    pages: Sequence[_EpisodePage],
    number: int,
    thumbnails: Mapping[str, str],
) -> None:
    episode = pages[number].episode
    times = {frame.frame_id: frame.pts_ms for frame in episode.frames}
    stories = [(story, list(_chunks(story, times, collection.chunk_length))) for story in episode.stories]
    writer.write(
        pages[number].page,
        "episode.html",
        name=collection.name,
        episode=episode,
        stories=stories,
        reasons=Counter(frame.reason for frame in episode.frames).most_common(),
        thumbnails=_Known(thumbnails),
        shows_dropped=any(not frame.is_kept and frame.frame_id in thumbnails for frame in episode.frames),
        previous=pages[number - 1] if number else None,
        next=pages[number + 1] if number + 1 < len(pages) else None,
    )


def _chunks(story: SeenStory, times: Mapping[str, int], length: int) -> Iterator[list[_Pair]]:
    """Cut a story into the views that training reads."""
    pairs = [
        _Pair(index, frame_id, times.get(frame_id), text)
        for index, (frame_id, text) in enumerate(zip(story.frame_ids, story.texts, strict=True), 1)
    ]
    for start in range(0, len(pairs), length):
        yield pairs[start : start + length]


def _write_overview(
    writer: PageWriter,
    collection: Collection,
    statistics: Statistics,
    pages: Sequence[_EpisodePage],
    examples: Mapping[str, list[SeenFrame]],
    thumbnails: Mapping[str, str],
    unreadable: int,
) -> Path:
    counts = statistics.frames_by_status
    where = {one.episode.episode_id: one.page for one in pages}
    reasons = [
        _Reason(
            reason,
            number,
            [(one, where[one.episode_id]) for one in examples.get(reason, []) if one.frame_id in thumbnails],
        )
        for reason, number in counts.items()
    ]
    tiles = [
        ("episodes", collection.num_episodes),
        ("candidates", sum(counts.values())),
        ("kept", counts.get(KEPT, 0)),
        ("stories", sum(one.stories for one in statistics.subsets)),
        ("pairs", sum(one.pairs for one in statistics.subsets)),
        ("problems", len(statistics.problems)),
    ]
    return writer.write(
        "index.html",
        "index.html",
        name=collection.name,
        tiles=tiles,
        reasons=reasons,
        most=max(counts.values(), default=1),
        num_frames=max(1, sum(counts.values())),
        has_dropped_pictures=any(one.examples and not one.is_kept for one in reasons),
        statistics=statistics,
        num_episodes=collection.num_episodes,
        episodes=pages,
        max_problems=_MAX_PROBLEMS,
        unreadable=unreadable,
        thumbnails=_Known(thumbnails),
    )


class _Known(dict[str, str]):
    """Paths by frame id; none where a frame has no picture."""

    def __missing__(self, key: str) -> None:
        return None
