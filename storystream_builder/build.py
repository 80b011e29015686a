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
from story_model.manifest import Manifest, StepResult, read_manifest, run_step, write_atomically
from story_model.section import Section
from story_model.workspace import RunFolder
from storystream_builder.appeal import Appeal, ClipAppeal
from storystream_builder.assemble import assemble
from storystream_builder.batch_captioner import BatchCaptioner
from storystream_builder.batches import Batches
from storystream_builder.captions import Captioner, EndpointCaptioner, NarrationCaptioner
from storystream_builder.card import card
from storystream_builder.cast import Casting
from storystream_builder.endpoint import connect
from storystream_builder.episodes import EpisodeOutcome, prepare_episode
from storystream_builder.examples import write_examples
from storystream_builder.languages import checked_language
from storystream_builder.local_captioner import LocalCaptioner
from storystream_builder.narratives import NarrationNarrator, Narrator, TextNarrator, VisionNarrator
from storystream_builder.progress import follow
from storystream_builder.publish import write_frames, write_meta, write_stories
from storystream_builder.sidecar import SidecarCaptioner
from storystream_builder.sources import find_sources
from storystream_builder.structured import Structured

__all__ = ["build_dataset", "find_sources", "make_captioner", "make_narrator", "prepare_episode", "publish_dataset"]

log = logging.getLogger(__name__)

PUBLISH_VERSION = 2


class _PublishKey(Section):
    """All that decides the dataset, decoded episodes aside (they are inputs)."""

    build: BuildConfig
    captioner: str
    narrator: str
    prompts: str
    appeal: str
    sources: list[str]
    """A digest of each video's name, content, lines and problems."""


def build_dataset(videos: Path, folder: RunFolder, *, config: BuildConfig, settings: Settings) -> Manifest:
    """Build a dataset from a folder of videos, several episodes at once.

    Raises:
        ValueError: there is no video, none can be used, no story comes of them, or an endpoint cannot be used.
    """
    captioner, narrator = make_captioner(folder, config, settings), make_narrator(folder, config, settings)
    sources = find_sources(videos, config)
    log.info("%d videos in %s", len(sources), videos)
    pool = ThreadPoolExecutor(config.workers)
    try:
        running = [pool.submit(prepare_episode, source, folder, config=config) for source in sources]
        outcomes, _ = follow((done.result() for done in as_completed(running)), len(sources))
    finally:
        pool.shutdown(cancel_futures=True)
    return publish_dataset(folder, outcomes, config=config, settings=settings, captioner=captioner, narrator=narrator)


def publish_dataset(
    folder: RunFolder,
    outcomes: Sequence[EpisodeOutcome],
    *,
    config: BuildConfig,
    settings: Settings,
    captioner: Captioner | None = None,
    narrator: Narrator | None = None,
) -> Manifest:
    """Caption decoded episodes, make stories of them and write the dataset; who speaks is configured, unless given.

    Raises:
        ValueError: none of the videos can be used, no story comes of them, or an endpoint cannot be used.
    """
    captioner = captioner or make_captioner(folder, config, settings)
    narrator = narrator or make_narrator(folder, config, settings)
    appeal = make_appeal(config)
    usable = sorted({outcome.episode_id for outcome in outcomes if outcome.episode_id})
    if not usable:
        reasons = "; ".join(f"{one.file}: {one.reason}" for outcome in outcomes[:5] for one in outcome.problems)
        raise ValueError(f"none of {len(outcomes)} videos can be used: {reasons}")

    def work(out: Path) -> StepResult:
        assembly = assemble(
            outcomes, folder.episodes_dir, config=config, captioner=captioner, narrator=narrator, appeal=appeal
        )
        write_stories(out, assembly, config=config, captioner=captioner, narrator=narrator)
        write_frames(out, assembly.episodes, config=config, captioner=captioner)
        write_meta(out, assembly, config=config)
        text = card(
            assembly,
            config=config,
            caption_model=captioner.name,
            story_model=narrator.name,
            examples=write_examples(out, assembly.episodes),
        )
        write_atomically(out / "README.md", text.encode())
        stories = assembly.stories.stories
        counts = {"episodes": len(assembly.episodes), "stories": len(stories), "problems": len(assembly.problems)}
        counts |= {f"stories {split}": sum(one.split == split for one in stories) for split in ("train", "validation")}
        counts |= {"pairs": sum(len(story.frames) for story in stories), "warnings": len(assembly.stories.warnings)}
        return StepResult(counts=counts | dict(sorted(assembly.counts.items())))

    return run_step(
        folder.dataset_dir,
        work,
        step="publish dataset",
        version=PUBLISH_VERSION,
        config=_publish_key(outcomes, config, captioner, narrator, appeal),
        inputs={episode_id: folder.episodes_dir / episode_id for episode_id in usable},
    )


def make_captioner(folder: RunFolder, config: BuildConfig, settings: Settings) -> Captioner:
    """Make the configured captioner; an endpoint is tried first, unless the dataset is there already.

    Raises:
        ValueError: what is asked for is not configured or not there, or the endpoint cannot be used.
    """
    told = config.captions
    if told.captioner == "narration":
        return NarrationCaptioner()
    if told.captioner == "sidecar":
        return SidecarCaptioner(_named(told.sidecar, "build.captions.sidecar"))
    if told.captioner == "local":
        limits = {"max_tokens": told.max_tokens, "batch_size": told.concurrency}
        network = _named(told.model, "build.captions.model")
        return LocalCaptioner(network, folder.answers_dir, device=settings.device, **limits)
    endpoint = connect(settings, told.model, folder.answers_dir, setting="build.captions.model")
    if read_manifest(folder.dataset_dir) is None:
        endpoint.preflight()
    price = (told.price.prompt_usd, told.price.completion_usd)
    if told.batch:
        batches = Batches(endpoint, folder.answers_dir / "batches")
        return BatchCaptioner(endpoint, batches, max_tokens=told.max_tokens, price=price)
    return EndpointCaptioner(endpoint, max_tokens=told.max_tokens, concurrency=told.concurrency, price=price)


def _named(path: str | None, setting: str) -> Path:
    if not path:
        raise ValueError(f"build.captions.captioner needs a path; set {setting}")
    return Path(path)


def make_narrator(folder: RunFolder, config: BuildConfig, settings: Settings) -> Narrator:
    """Make the configured narrator.

    Raises:
        ValueError: an endpoint is asked for and not configured, the cast is asked of one that is not there, or the
                stories' language is none.
    """
    told = config.narratives
    checked_language(told.language, setting="build.narratives.language")
    if told.narrator == "narration":
        if told.cast.derive == "endpoint":
            raise ValueError(
                "build.narratives.cast.derive=endpoint asks the narrator's endpoint, and the narrator `narration` has "
                "none; set build.narratives.narrator to text or vision, or derive to lines"
            )
        return NarrationNarrator(Casting(told.cast))
    asked = Structured(connect(settings, told.model, folder.answers_dir, setting="build.narratives.model"))
    casting = Casting(told.cast, asked, max_tokens=told.max_tokens, attempts=told.attempts)
    return (VisionNarrator if told.narrator == "vision" else TextNarrator)(asked, told, casting)


def make_appeal(config: BuildConfig) -> Appeal | None:
    """Make the configured judge of pictures; none where none is asked for.

    Raises:
        ValueError: its folder holds no network.
    """
    return ClipAppeal(config.filters.appeal) if config.filters.appeal.folder else None


def _publish_key(
    outcomes: Sequence[EpisodeOutcome],
    config: BuildConfig,
    captioner: Captioner,
    narrator: Narrator,
    appeal: Appeal | None,
) -> _PublishKey:
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
        captioner=captioner.name,
        narrator=narrator.name,
        prompts=captioner.prompt_sha256 + narrator.prompt_sha256,
        appeal=appeal.name if appeal else "",
        sources=sorted(_source_digest(outcome) for outcome in outcomes),
    )


def _source_digest(outcome: EpisodeOutcome) -> str:
    source = replace(outcome.source, video=Path())
    parts = (source, outcome.source_sha256, outcome.transcript, outcome.problems)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
