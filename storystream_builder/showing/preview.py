"""What other limits would keep and drop, told from stored scores: nothing is decoded, nothing is published.

Both sides are computed, the run's own settings and the changed ones, so that nothing but these differs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from story_model.build_config import BuildConfig
from story_model.config import override_config
from storystream_builder.assemble import filtered
from storystream_builder.frames import Episode, Frame
from storystream_builder.showing.diff import Change, changed_settings
from storystream_builder.showing.safe_text import shown
from storystream_builder.showing.stored_run import StoredRun
from storystream_builder.stories import group

_DECODED_ANEW = ("decode", "shots", "candidates")
_DECIDED = ("build.filters.", "build.stories.", "build.captions.silent_shots")


@dataclass(frozen=True)
class EpisodePreview:
    """What an episode would give."""

    episode_id: str
    name: str
    kept: Change[int]
    """Numbers of frames."""
    stories: Change[int]
    """Their numbers."""
    newly_kept: tuple[Frame, ...]
    newly_dropped: tuple[Frame, ...]
    """As they would be: with the reason."""


@dataclass(frozen=True)
class Preview:
    """What a run's candidates would become."""

    settings: dict[str, Change[Any]]
    """What is set otherwise, by dotted key."""
    old: BuildConfig
    new: BuildConfig
    reasons: dict[str, Change[int]]
    """What becomes of candidates -> how many, before and after; the most frequent first."""
    episodes: list[EpisodePreview]
    frames: list[Frame]
    """All candidates as they would be."""
    notes: list[str]
    """What is not known, and how it is taken."""


class _StoredAppeal:
    """Appeal as the run's dataset knows it; what was not looked at yet counts as appealing."""

    name = "stored"

    def __init__(self, known: Mapping[str, float]) -> None:
        self._known = known
        self.unknown: set[str] = set()

    def scores(self, episodes: Sequence[Episode]) -> dict[str, float]:
        names = [frame.frame_id for episode in episodes for frame in episode.kept]
        self.unknown |= {name for name in names if name not in self._known}
        return {name: self._known.get(name, 1.0) for name in names}


def preview(run: StoredRun, overrides: Sequence[str]) -> Preview:
    """Tell what `section.key=value` overrides of a run's configuration would change.

    Raises:
        ValueError: an override is wrong, or the videos would have to be decoded anew.
    """
    before = run.config
    after = override_config(before, overrides)
    settings = changed_settings(before.model_dump(mode="json"), after.model_dump(mode="json"))
    appeal = _StoredAppeal(run.appeal) if run.appeal or after.build.filters.appeal.folder else None
    old, told_before = _decide(run, before.build, appeal)
    new, told_after = _decide(run, after.build, appeal)
    notes = [*run.notes, *_unheeded(settings)]
    if appeal is not None and appeal.unknown:
        notes.append(f"{len(appeal.unknown)} frames have no appeal yet: they are taken as appealing")
    return Preview(
        settings=settings,
        old=before.build,
        new=after.build,
        reasons=_reasons(old, new),
        episodes=[
            _compare(one, other, Change(told_before[one.episode_id], told_after[one.episode_id]))
            for one, other in zip(old, new, strict=True)
        ],
        frames=[frame for one in new for frame in one.frames],
        notes=notes,
    )


def lines_of(found: Preview) -> Iterator[str]:
    """Tell a preview as lines for a person."""
    for key, setting in found.settings.items():
        yield f"{key}: {setting.old} -> {setting.new}"
    for reason, change in found.reasons.items():
        yield f"{change.old:9d} -> {change.new:<9d} {shown(reason)}"
    stories = [one.stories for one in found.episodes]
    yield f"{sum(one.old for one in stories):9d} -> {sum(one.new for one in stories):<9d} stories"
    for note in found.notes:
        yield f"note: {note}"


def _unheeded(settings: Mapping[str, Change[Any]]) -> list[str]:
    """Refuse settings of which nothing can be told from scores, and name those that decide nothing of frames.

    Raises:
        ValueError: the videos would have to be decoded anew.
    """
    for key in settings:
        if key.startswith(tuple(f"build.{section}." for section in _DECODED_ANEW)):
            raise ValueError(f"{key} decides what is decoded, so that scores tell nothing of it; build anew to see")
    return [f"{key} does not decide which frames are kept" for key in settings if not key.startswith(_DECIDED)]


def _decide(run: StoredRun, config: BuildConfig, appeal: _StoredAppeal | None) -> tuple[list[Episode], Counter[str]]:
    """Give every candidate its status, and count stories by episode."""
    stories: Counter[str] = Counter()
    decided = []
    for episode in filtered(run.episodes, config, appeal)[0]:
        refused = {
            frame.frame_id: frame.dropped(run.refused[frame.frame_id])
            for frame in episode.kept
            if frame.frame_id in run.refused
        }
        captioned = episode.with_frames(refused)
        grouped, remainder = group(captioned.kept, subset=config.subset, config=config.stories)
        stories[episode.episode_id] = len(grouped)
        decided.append(captioned.with_frames({frame.frame_id: frame.dropped("in no story") for frame in remainder}))
    return decided, stories


def _reasons(old: Sequence[Episode], new: Sequence[Episode]) -> dict[str, Change[int]]:
    before, after = (
        Counter(frame.status.split(":")[0] for one in episodes for frame in one.frames) for episodes in (old, new)
    )
    ordered = sorted(before.keys() | after.keys(), key=lambda reason: (-max(before[reason], after[reason]), reason))
    return {reason: Change(before[reason], after[reason]) for reason in ordered}


def _compare(old: Episode, new: Episode, stories: Change[int]) -> EpisodePreview:
    pairs = list(zip(old.frames, new.frames, strict=True))
    return EpisodePreview(
        old.episode_id,
        old.outcome.name,
        Change(len(old.kept), len(new.kept)),
        stories,
        newly_kept=tuple(after for before, after in pairs if after.is_kept and not before.is_kept),
        newly_dropped=tuple(after for before, after in pairs if before.is_kept and not after.is_kept),
    )
