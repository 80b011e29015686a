"""Captioned episodes -> told stories: who is in each episode, its frames cut into stories, several told at once."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from tqdm import tqdm

from story_model.build_config import BuildConfig
from storystream_builder.captioning.captions import spoken_over
from storystream_builder.episodes import Problem
from storystream_builder.frames import Episode, Frame
from storystream_builder.narrating.cast import Cast, text_of
from storystream_builder.narrating.narratives import Narrative, Narrator
from storystream_builder.narrating.telling import Background, Draft
from storystream_builder.stories import Story, group

log = logging.getLogger(__name__)


def tell_stories(
    episodes: Sequence[Episode], narrator: Narrator, config: BuildConfig, counts: Counter[str]
) -> tuple[list[Story], list[Episode], dict[str, Cast], list[Problem]]:
    """Find each episode's cast, group frames into stories and have them told, several at once.

    Frames that end in no story are marked; what cannot be told is a problem with all its reasons. Returns the stories,
    the episodes, who is in each by its id, and the problems.

    Raises:
        ValueError: an endpoint cannot be used; what it said so far is kept.
    """
    by_id = {episode.episode_id: episode for episode in episodes}
    lost: dict[str, Frame] = {}
    drafts: list[Story] = []
    for episode in episodes:
        grouped, remainder = group(episode.kept, subset=config.subset, config=config.stories)
        drafts += grouped
        lost |= {frame.frame_id: frame.dropped("in no story") for frame in remainder}
    pool = ThreadPoolExecutor(config.captions.concurrency)
    try:
        backgrounds = _backgrounds([by_id[name] for name in _each(drafts)], narrator, config, pool)
        problems = _count_casts(backgrounds, by_id, counts)
        stories, failed = _narrated(drafts, by_id, backgrounds, narrator, pool, counts)
    finally:
        pool.shutdown(cancel_futures=True)
    for draft in drafts:
        if draft.story_id in failed:
            lost |= {frame.frame_id: frame.dropped("story failed") for frame in draft.frames}
    problems += failed.values()
    casts = {name: background.cast for name, background in backgrounds.items()}
    return stories, [episode.with_frames(lost) for episode in episodes], casts, problems


def _backgrounds(
    episodes: Sequence[Episode], narrator: Narrator, config: BuildConfig, pool: Executor
) -> dict[str, Background]:
    """Gather what stories are told from: each episode's text, cast and pictures, by its id."""
    texts = [text_of(episode, config.narratives.language) for episode in episodes]
    casts = tqdm(pool.map(narrator.casting.of, texts), total=len(texts), desc="casts", unit="episode")
    return {
        episode.episode_id: Background(text, cast, episode.images)
        for episode, text, cast in zip(episodes, texts, casts, strict=True)
    }


def _count_casts(
    backgrounds: Mapping[str, Background], by_id: Mapping[str, Episode], counts: Counter[str]
) -> list[Problem]:
    """Count who is in the episodes and what it cost to know; an endpoint that could not say is a problem."""
    problems = []
    for name, background in backgrounds.items():
        cast = background.cast
        for member in cast.members:
            counts[f"cast {member.source}" if member.name else "cast without a name"] += 1
        for note in cast.notes:
            log.info("cast of %s: %s", by_id[name].outcome.name, note)
        counts.update({"casts with notes": 1} if cast.notes else {})
        counts.update({"cast names replaced": len(cast.other_names)} if cast.other_names else {})
        _count_tokens(cast, counts)
        if cast.failure:
            problems.append(Problem(by_id[name].outcome.name, "cast", cast.failure, "no cast"))
    return problems


def _narrated(
    drafts: Sequence[Story],
    by_id: Mapping[str, Episode],
    backgrounds: Mapping[str, Background],
    narrator: Narrator,
    pool: Executor,
    counts: Counter[str],
) -> tuple[list[Story], dict[str, Problem]]:
    """Have stories told: (those that were, the others' problems by story id)."""

    def tell(story: Story) -> Narrative:
        spoken = tuple(spoken_over(frame, by_id[story.episode_id]) for frame in story.frames)
        return narrator.narrate(Draft(story, spoken, backgrounds[story.episode_id]))

    stories: list[Story] = []
    failed: dict[str, Problem] = {}
    said = 0
    with tqdm(total=len(drafts), desc="stories", unit="story") as bar:
        for draft, result in zip(drafts, pool.map(tell, drafts), strict=True):
            _count_tokens(result, counts)
            said += result.completion_tokens
            for what in result.unjudged:
                counts[f"stories with unjudged {what}"] += 1
            if result.story:
                stories.append(result.story)
            else:
                name = by_id[draft.episode_id].outcome.name
                reason = f"{draft.story_id}: {result.failure}"
                failed[draft.story_id] = Problem(name, "narratives", reason, "story failed")
                counts["stories failed"] += 1
            bar.update()
            bar.set_postfix({"output tokens/s": round(said / max(bar.format_dict["elapsed"], 1e-3))}, refresh=False)
    return stories, failed


def _count_tokens(result: Narrative | Cast, counts: Counter[str]) -> None:
    for kind, number in (("prompt", result.prompt_tokens), ("completion", result.completion_tokens)):
        counts[f"{kind} tokens"] += number
        counts[f"stories {kind} tokens"] += number


def _each(drafts: Sequence[Story]) -> list[str]:
    """List the episodes that stories are of, each once."""
    return list(dict.fromkeys(draft.episode_id for draft in drafts))
