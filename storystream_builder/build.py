"""Videos -> dataset: the builder's entry points, for an orchestrator or for a plain call.

    find_sources -> prepare_episode (one a video, any order, any number at once) -> publish_dataset

A second run over the same videos with the same configuration decodes, captions and writes nothing.
"""

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from story_model.build_config import BuildConfig
from story_model.config import Settings
from story_model.manifest import Manifest, StepResult, run_step, write_atomically
from story_model.schema import SCHEMA_VERSION
from story_model.section import Section
from story_model.store import have_results, open_store
from story_model.workspace import RunFolder
from storystream_builder.assemble import Assembly, assemble
from storystream_builder.card import card
from storystream_builder.episodes import EpisodeOutcome, prepare_episode
from storystream_builder.examples import write_examples
from storystream_builder.progress import follow
from storystream_builder.publish import clear, write_frames, write_meta, write_stories
from storystream_builder.replaceable import refuse_to_replace
from storystream_builder.sources import find_sources
from storystream_builder.voices import Voices, make_voices

__all__ = ["build_dataset", "find_sources", "make_voices", "prepare_episode", "publish_dataset"]

log = logging.getLogger(__name__)

PUBLISH_VERSION = 4
_STEP = "publish dataset"


class _PublishKey(Section):
    """All that decides the dataset, decoded episodes aside (they are inputs)."""

    build: BuildConfig
    captioner: str
    narrator: str
    prompts: str
    appeal: str
    schema_version: int
    sources: list[str]
    """A digest of each video's name, content, lines and problems."""


def build_dataset(videos: Path | str, folder: RunFolder, *, config: BuildConfig, settings: Settings) -> Manifest:
    """Build a dataset from a folder of videos, several episodes at once.

    Raises:
        ValueError: there is no video, none can be used, no story comes of them, or an endpoint cannot be used.
    """
    voices = make_voices(folder, config, settings)
    sources = find_sources(videos, config)
    log.info("%d videos in %s", len(sources), videos)
    store = open_store(settings.store, folder.root.parent)
    pool = ThreadPoolExecutor(config.workers)
    try:
        running = [pool.submit(prepare_episode, one, folder, config=config, store=store) for one in sources]
        outcomes, _ = follow((done.result() for done in as_completed(running)), len(sources))
    finally:
        pool.shutdown(cancel_futures=True)
    return publish_dataset(folder, outcomes, config=config, settings=settings, voices=voices)


def publish_dataset(
    folder: RunFolder,
    outcomes: Sequence[EpisodeOutcome],
    *,
    config: BuildConfig,
    settings: Settings,
    voices: Voices | None = None,
) -> Manifest:
    """Caption decoded episodes, make stories of them and write the dataset; who speaks is configured, unless given.

    Raises:
        ValueError: none of the videos can be used, no story comes of them, or an endpoint cannot be used.
    """
    voices = voices or make_voices(folder, config, settings)
    store = open_store(settings.store, folder.root.parent)
    usable = {outcome.episode_id: outcome.decoded_digest for outcome in outcomes if outcome.episode_id}
    if not usable:
        reasons = "; ".join(f"{one.file}: {one.reason}" for outcome in outcomes[:5] for one in outcome.problems)
        raise ValueError(f"none of {len(outcomes)} videos can be used: {reasons}")

    refuse_to_replace(folder.dataset_dir, step=_STEP, sources=[])
    assembled: list[Assembly] = []

    def before() -> None:
        have_results({folder.episodes_dir / one: digest for one, digest in usable.items()}, store)
        assembled.append(assemble(outcomes, folder.episodes_dir, config=config, voices=voices))

    def work(out: Path) -> StepResult:
        clear(out)
        (assembly,) = assembled
        write_stories(out, assembly, config=config, voices=voices)
        write_frames(out, assembly.episodes, config=config, captioner=voices.captioner)
        write_meta(out, assembly, config=config)
        text = card(
            assembly,
            config=config,
            caption_model=voices.captioner.name,
            story_model=voices.narrator.name,
            examples=write_examples(out, assembly.episodes),
        )
        write_atomically(out / "README.md", text.encode())
        stories = assembly.stories.stories
        counts = {"episodes": len(assembly.episodes), "stories": len(stories), "problems": len(assembly.problems)}
        counts |= {f"stories {split}": sum(one.split == split for one in stories) for split in ("train", "validation")}
        counts |= {"pairs": sum(len(story.frames) for story in stories), "warnings": len(assembly.stories.warnings)}
        told = {name: number for name, number in sorted(assembly.counts.items()) if number}
        return StepResult(counts=counts | told)

    return run_step(
        folder.dataset_dir,
        work,
        step=_STEP,
        version=PUBLISH_VERSION,
        config=_publish_key(outcomes, config, voices),
        inputs=usable,
        store=store,
        before=before,
    )


def _publish_key(outcomes: Sequence[EpisodeOutcome], config: BuildConfig, voices: Voices) -> _PublishKey:
    """Name what decides the dataset; how much is done at once, and within what limits, does not."""
    usual = BuildConfig()
    captions = config.captions.model_copy(update={"concurrency": usual.captions.concurrency})
    indifferent = {
        "workers": usual.workers,
        "runner": usual.runner,
        "decode": usual.decode,
        "captions": captions,
    }
    return _PublishKey(
        build=config.model_copy(update=indifferent),
        captioner=voices.captioner.name,
        narrator=voices.narrator.name,
        prompts=voices.captioner.prompt_sha256 + voices.narrator.prompt_sha256,
        appeal=voices.appeal.name if voices.appeal else "",
        schema_version=SCHEMA_VERSION,
        sources=sorted(_source_digest(outcome) for outcome in outcomes),
    )


def _source_digest(outcome: EpisodeOutcome) -> str:
    source = replace(outcome.source, video=Path())
    parts = (source, outcome.source_sha256, outcome.transcript, outcome.problems)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
