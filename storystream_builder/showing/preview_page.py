"""The page on which a curator chooses limits by looking: counts, scores with the limits drawn in, pictures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from story_model.build_config import FiltersConfig
from story_model.workspace import RunFolder
from storystream_builder.frames import KEPT, Frame
from storystream_builder.records import FRAMES
from storystream_builder.showing.browse import SCORES, SeenFrame, read_pictures
from storystream_builder.showing.diff import Change
from storystream_builder.showing.histograms import Histogram, Limit, histogram
from storystream_builder.showing.page_writer import PageWriter, open_folder
from storystream_builder.showing.preview import EpisodePreview, Preview, preview
from storystream_builder.showing.stored_run import read_run
from storystream_builder.showing.thumbnails import Thumbnails

USUAL_PICTURES = 120
_LIMITS = {
    "min_sharpness": ("sharpness", True),
    "min_luma": ("luma", True),
    "max_luma": ("luma", False),
    "min_contrast": ("contrast", True),
    "max_fade": ("fade", False),
    "max_text": ("text", False),
}


@dataclass(frozen=True)
class _Picture(SeenFrame):
    """A frame with the name of its episode."""

    episode: str = ""


@dataclass(frozen=True)
class _Gallery:
    """Some of so many frames."""

    number: int
    frames: list[_Picture]


def write_preview(
    run: RunFolder, overrides: Sequence[str], out: Path, *, limit: int = USUAL_PICTURES, side: int = 320
) -> tuple[Path, Preview]:
    """Write `preview.html` into `out`; of newly kept and newly dropped frames `limit` each are shown, nought: all.

    Raises:
        ValueError: as `read_run` and `preview`, or `out` holds something else.
    """
    found = preview(read_run(run), overrides)
    open_folder(out, dataset_dir=run.dataset_dir)
    kept = _gallery(found.episodes, [one.newly_kept for one in found.episodes], limit)
    dropped = _gallery(found.episodes, [one.newly_dropped for one in found.episodes], limit)
    thumbnails = _thumbnails(run, out, side, [*kept.frames, *dropped.frames])
    changed = [
        one for one in found.episodes if one.newly_kept or one.newly_dropped or one.stories.old != one.stories.new
    ]
    path = PageWriter(out).write(
        "preview.html",
        "preview.html",
        name=run.name,
        has_index=(out / "index.html").is_file(),
        preview=found,
        tiles=_tiles(found),
        most=max((max(one.old, one.new) for one in found.reasons.values()), default=1),
        histograms=_histograms(found),
        changed=sorted(changed, key=lambda one: -len(one.newly_kept) - len(one.newly_dropped)),
        newly_kept=kept,
        newly_dropped=dropped,
        thumbnails=thumbnails,
    )
    return path, found


def _tiles(found: Preview) -> list[tuple[str, Change[int]]]:
    kept = found.reasons.get(KEPT, Change(0, 0))
    told = [one.stories for one in found.episodes]
    stories = Change(sum(one.old for one in told), sum(one.new for one in told))
    candidates = Change(len(found.frames), len(found.frames))
    return [("candidates", candidates), ("kept in stories", kept), ("stories", stories)]


def _gallery(episodes: Sequence[EpisodePreview], groups: Sequence[Sequence[Frame]], limit: int) -> _Gallery:
    """Take frames of all episodes in turn, then put them in the order of the episodes."""
    pictures = [[_picture(frame, one.name) for frame in frames] for one, frames in zip(episodes, groups, strict=True)]
    turns: Iterable[_Picture | None] = chain.from_iterable(zip_longest(*pictures))
    taken = [one for one in turns if one is not None]
    chosen = {one.frame_id for one in (taken[:limit] if limit else taken)}
    return _Gallery(len(taken), [one for group in pictures for one in group if one.frame_id in chosen])


def _picture(frame: Frame, episode: str) -> _Picture:
    scores = {name: value for name in SCORES if (value := getattr(frame, name)) is not None}
    return _Picture(
        *(frame.frame_id, frame.episode_id, frame.shot.shot_id, frame.pts_ms, frame.status, scores),
        *(frame.width, frame.height),
        episode=episode,
    )


def _thumbnails(run: RunFolder, out: Path, side: int, frames: Sequence[_Picture]) -> Mapping[str, str | None]:
    """Write the pictures that are shown; those that cannot be read have none."""
    folder = Thumbnails(out / "thumbnails-preview", side=side)
    folder.clear()
    paths: dict[str, str | None] = {frame.frame_id: None for frame in frames}
    for episode_id in sorted({frame.episode_id for frame in frames}):
        pictures = read_pictures(run.episodes_dir / episode_id / FRAMES)
        paths |= folder.write(episode_id, {name: data for name, data in pictures.items() if name in paths})
    return paths


def _histograms(found: Preview) -> list[Histogram]:
    drawn = []
    for score in SCORES:
        scored = [frame for frame in found.frames if getattr(frame, score) is not None]
        if scored:
            values, kept = [getattr(frame, score) for frame in scored], [frame.is_kept for frame in scored]
            drawn.append(histogram(score, values, kept, _limits(score, found.old.filters, found.new.filters)))
    return drawn


def _limits(score: str, old: FiltersConfig, new: FiltersConfig) -> list[Limit]:
    limits = [
        Limit(name, getattr(new, name), getattr(old, name), is_least)
        for name, (of, is_least) in _LIMITS.items()
        if of == score
    ]
    if score == "appeal":
        limits.append(Limit("appeal.min_score", new.appeal.min_score, old.appeal.min_score, is_least=True))
    return limits
