"""Who captions pictures, tells stories and says what appeals, as configured; whatever cannot be had is told at once."""

from dataclasses import dataclass
from pathlib import Path

from story_model.asking.batches import Batches
from story_model.asking.endpoint import Endpoint, connect
from story_model.asking.structured import Structured
from story_model.build_config import BuildConfig
from story_model.config import Settings
from story_model.manifest import read_manifest
from story_model.store import open_store
from story_model.workspace import RunFolder
from storystream_builder.captioning.appeal import Appeal, ClipAppeal
from storystream_builder.captioning.batch_captioner import BatchCaptioner
from storystream_builder.captioning.captions import Captioner, EndpointCaptioner, NarrationCaptioner
from storystream_builder.captioning.local_captioner import LocalCaptioner
from storystream_builder.captioning.sidecar import SidecarCaptioner
from storystream_builder.decoding.transnet import weights_sha256
from storystream_builder.listening.spoken import check_transcripts
from storystream_builder.narrating.cast import Casting
from storystream_builder.narrating.languages import checked_language
from storystream_builder.narrating.narratives import NarrationNarrator, Narrator, TextNarrator, VisionNarrator


@dataclass(frozen=True)
class Voices:
    """All who say something about frames and stories."""

    captioner: Captioner
    narrator: Narrator
    appeal: Appeal | None = None


def make_voices(folder: RunFolder, config: BuildConfig, settings: Settings) -> Voices:
    """Make those that the configuration names; endpoints are tried first, unless the dataset is there already.

    Raises:
        ValueError: what is asked for is not configured or not there, or an endpoint cannot be used.
    """
    check_transcripts(config)
    if config.shots.detector == "transnetv2":
        weights_sha256(config.shots.weights)
    return Voices(
        captioner=_captioner(folder, config, settings),
        narrator=_narrator(folder, config, settings),
        appeal=ClipAppeal(config.filters.appeal) if config.filters.appeal.folder else None,
    )


def _captioner(folder: RunFolder, config: BuildConfig, settings: Settings) -> Captioner:
    told = config.captions
    if told.captioner == "narration":
        return NarrationCaptioner()
    if told.captioner == "sidecar":
        return SidecarCaptioner(_named(told.sidecar, "build.captions.sidecar"))
    if told.captioner == "local":
        limits = {"max_tokens": told.max_tokens, "batch_size": told.concurrency}
        network = _named(told.model, "build.captions.model")
        store = open_store(settings.store, folder.root.parent)
        return LocalCaptioner(network, folder.answers_dir, device=settings.device, store=store, **limits)
    endpoint = _endpoint(folder, settings, told.model, "build.captions.model")
    price = (told.price.prompt_usd, told.price.completion_usd)
    if told.batch:
        batches = Batches(endpoint, folder.answers_dir / "batches")
        return BatchCaptioner(endpoint, batches, max_tokens=told.max_tokens, price=price)
    return EndpointCaptioner(endpoint, max_tokens=told.max_tokens, concurrency=told.concurrency, price=price)


def _narrator(folder: RunFolder, config: BuildConfig, settings: Settings) -> Narrator:
    told = config.narratives
    checked_language(told.language, setting="build.narratives.language")
    if told.narrator == "narration":
        if told.cast.derive == "endpoint":
            raise ValueError(
                "build.narratives.cast.derive=endpoint asks the narrator's endpoint, and the narrator `narration` has "
                "none; set build.narratives.narrator to text or vision, or derive to lines"
            )
        return NarrationNarrator(Casting(told.cast))
    asked = Structured(_endpoint(folder, settings, told.model, "build.narratives.model"))
    casting = Casting(told.cast, asked, max_tokens=told.max_tokens, attempts=told.attempts)
    return (VisionNarrator if told.narrator == "vision" else TextNarrator)(asked, told, casting)


def _endpoint(folder: RunFolder, settings: Settings, model: str | None, setting: str) -> Endpoint:
    endpoint = connect(settings, model, folder.answers_dir, setting=setting)
    if read_manifest(folder.dataset_dir) is None:
        endpoint.preflight()
    return endpoint


def _named(path: str | None, setting: str) -> Path:
    if not path:
        raise ValueError(f"build.captions.captioner needs a path; set {setting}")
    return Path(path)
