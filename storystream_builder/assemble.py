"""Decoded episodes -> stories with their text and split: every decision after decoding, none of the writing."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from story_model.build_config import BuildConfig
from storystream_builder.captioning.appeal import Appeal, drop_unappealing
from storystream_builder.captioning.captions import CaptionedEpisode, Captioner, count_captions, drop_silent
from storystream_builder.duplicates import drop_across, drop_recurring, find_duplicates
from storystream_builder.episodes import EpisodeOutcome, Problem
from storystream_builder.frames import Episode, load_episode, reason_of
from storystream_builder.keyframes import choose
from storystream_builder.narrating.cast import Cast
from storystream_builder.narrating.storytelling import tell_stories
from storystream_builder.stories import Split, Story, split
from storystream_builder.voices import Voices

log = logging.getLogger(__name__)


@dataclass
class Assembly:
    """Everything that is published, pictures aside; and what was lost on the way."""

    episodes: list[Episode]
    """In the order of their ids; duplicates keep no frame."""
    stories: Split
    duplicates: dict[str, str]
    problems: list[Problem]
    counts: Counter[str] = field(default_factory=Counter)
    casts: dict[str, Cast] = field(default_factory=dict)
    """Who is in each episode, by its id."""


def assemble(
    outcomes: Sequence[EpisodeOutcome],
    episodes_dir: Path,
    *,
    config: BuildConfig,
    voices: Voices,
) -> Assembly:
    """Make stories of decoded episodes.

    Raises:
        ValueError: no story comes of them, or an endpoint cannot be used.
    """
    unique, problems = _unique(outcomes)
    loaded = [load_episode(outcome, episodes_dir / str(outcome.episode_id)) for outcome in unique]
    counts = Counter({"videos": len(outcomes), "candidates": sum(len(one.frames) for one in loaded)})
    episodes, duplicates, again = filtered(loaded, config, voices.appeal)
    problems += again
    episodes, more = _captioned(episodes, voices.captioner, counts)
    stories, episodes, casts, failed = tell_stories(episodes, voices.narrator, config, counts)
    _refuse_nothing(stories, episodes, [*more, *failed], config)
    counts.update(f"frames {reason_of(frame.status)}" for one in episodes for frame in one.frames)
    series = {one.episode_id: one.outcome.source.series for one in episodes}
    parted = split(
        stories,
        subset=config.subset,
        fraction=config.stories.validation_fraction,
        series=series if config.stories.split_by == "series" else None,
    )
    for warning in parted.warnings:
        log.warning("%s", warning)
    return Assembly(episodes, parted, duplicates, problems + more + failed, counts, casts)


def filtered(
    loaded: Sequence[Episode], config: BuildConfig, appeal: Appeal | None = None
) -> tuple[list[Episode], dict[str, str], list[Problem]]:
    """Decide which candidates are kept: (episodes, which is another's duplicate, what is to be told of that)."""
    episodes = [replace(one, frames=choose(one.frames, config.filters)) for one in loaded]
    duplicates = find_duplicates(episodes)
    names = {one.episode_id: one.outcome.name for one in episodes}
    problems = [
        Problem(names[twin], "duplicates", f"duplicate: the same film as {names[original]}", "duplicate")
        for twin, original in sorted(duplicates.items())
    ]
    episodes = [_emptied(one) if one.episode_id in duplicates else one for one in episodes]
    if config.captions.silent_shots == "drop":
        # Lines tell openings and credits better than pictures do.
        episodes = [drop_silent(one) for one in episodes]
        mute = drop_recurring([one for one in episodes if not one.has_lines], config.filters)
        changed = {one.episode_id: one for one in mute}
        episodes = [changed.get(one.episode_id, one) for one in episodes]
    else:
        episodes = drop_recurring(episodes, config.filters)
    if config.filters.across_episodes_distance is not None:
        episodes = drop_across(episodes, config.filters.across_episodes_distance)
    if appeal is not None:
        episodes = drop_unappealing(episodes, appeal, config.filters.appeal.min_score)
    return episodes, duplicates, problems


def _unique(outcomes: Sequence[EpisodeOutcome]) -> tuple[list[EpisodeOutcome], list[Problem]]:
    """Take each content once, with subtitles if any copy has some, in the order of the ids."""
    problems = [problem for outcome in _ordered(outcomes) for problem in outcome.problems]
    by_id: dict[str, EpisodeOutcome] = {}
    for outcome in sorted(_ordered(outcomes), key=lambda one: not one.transcript.lines):
        if outcome.episode_id is None:
            continue
        first = by_id.setdefault(outcome.episode_id, outcome)
        if first is not outcome:
            problems.append(
                Problem(outcome.name, "duplicates", f"duplicate: the same file as {first.name}", "duplicate")
            )
    return [by_id[name] for name in sorted(by_id)], problems


def _ordered(outcomes: Sequence[EpisodeOutcome]) -> list[EpisodeOutcome]:
    """Sort by name and content, so that neither the folder's place nor the order of decoding shows in the dataset."""
    return sorted(outcomes, key=lambda one: (one.name, one.source_sha256 or ""))


def _emptied(episode: Episode) -> Episode:
    return episode.with_frames({frame.frame_id: frame.dropped("duplicate episode") for frame in episode.kept})


def _captioned(
    episodes: Sequence[Episode], captioner: Captioner, counts: Counter[str]
) -> tuple[list[Episode], list[Problem]]:
    results: list[CaptionedEpisode] = []
    with tqdm(total=sum(len(episode.kept) for episode in episodes), desc="captions", unit="frame") as bar:
        for episode, result in zip(episodes, captioner.caption(episodes), strict=True):
            results.append(result)
            counts.update(count_captions(result))
            bar.update(len(episode.kept))
            speed = counts["captions completion tokens"] / max(bar.format_dict["elapsed"], 1e-3)
            bar.set_postfix({"episodes": f"{len(results)}/{len(episodes)}", "output tokens/s": round(speed)})
    counts["captions micro-dollars"] = round(sum(result.micro_dollars for result in results))
    return [result.episode for result in results], [problem for result in results for problem in result.problems]


def _refuse_nothing(
    stories: Sequence[Story], episodes: Sequence[Episode], problems: Sequence[Problem], config: BuildConfig
) -> None:
    """Raise where no story came of anything, saying where the frames went, or what failed."""
    if stories:
        return
    lost = Counter(reason_of(frame.status) for episode in episodes for frame in episode.frames)
    where = ", ".join(f"{number} {reason}" for reason, number in lost.most_common())
    first = {problem.code: problem for problem in reversed(problems)}
    if first:
        told = "; ".join(f"{one.file}: {one.reason}" for one in first.values())
        raise ValueError(
            f"no story comes of {len(episodes)} episodes; of their candidates: {where}. The first that failed: {told}"
        )
    raise ValueError(
        f"no story of at least build.stories.min_length={config.stories.min_length} frames comes of "
        f"{len(episodes)} episodes; of their candidates: {where or 'none'}. Lower that or the limits of build.filters"
    )
