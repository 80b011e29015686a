"""One episode: decoded in a child process, once for all time, into a folder named by its content.

Whatever is wrong with a video comes back as a row with the reason; nothing here raises for a bad file, so that one of
them never ends a run over a thousand.
"""

import logging
import os
import resource
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from story_model.build_config import BuildConfig
from story_model.manifest import Manifest, StepResult, run_step
from story_model.store import Store
from story_model.workspace import RunFolder
from storystream_builder.children import run_child
from storystream_builder.decoding.transnet import weights_sha256
from storystream_builder.listening.spoken import transcript_of
from storystream_builder.listening.transcripts import Transcript
from storystream_builder.problems import Problem
from storystream_builder.records import TIMING, DecodeJob, DecodeKey, EpisodeRecord, Timing, read_record
from storystream_builder.remote_videos import local_copy
from storystream_builder.sources import SOURCES, UNKNOWN, Source
from storystream_builder.videos import SourceError, content_id

log = logging.getLogger(__name__)

DECODE_VERSION = 3


@dataclass(frozen=True)
class EpisodeOutcome:
    """What came of one video; `episode_id` is none where it cannot be used."""

    source: Source
    episode_id: str | None
    source_sha256: str | None = None
    transcript: Transcript = field(default_factory=Transcript)
    problems: tuple[Problem, ...] = ()
    reused: bool = False
    decoded_digest: str = ""
    """Of what decoding left in the episode's folder."""
    frames: int = 0
    """Decoded by this call."""
    seconds: float = 0.0
    """That decoding took."""
    decoder_seconds: float = 0.0
    """Of these, waiting for the decoder."""

    @property
    def name(self) -> str:
        """The video's path in its folder as text."""
        return self.source.name


def prepare_episode(
    source: Source, folder: RunFolder, *, config: BuildConfig, store: Store | None = None
) -> EpisodeOutcome:
    """Decode one video into `folder.episodes_dir/<episode id>` and find its lines, unless that is done already.

    What is done already may lie in the store; what is done now is put there.
    """
    if config.require_license and source.license == UNKNOWN:
        return _set_aside(source, "unknown licence", f"its licence is unknown; name it in {SOURCES} or build.license")
    try:
        with local_copy(source.video, folder.scratch_dir) as video:
            return _prepared(source, video, folder, config, store)
    except SourceError as error:
        return _set_aside(source, error.fault, str(error))


def _prepared(
    source: Source, video: Path, folder: RunFolder, config: BuildConfig, store: Store | None
) -> EpisodeOutcome:
    episode_id, digest = content_id(video)
    record, manifest = _decoded(video, folder, decode_key_of(episode_id, digest, config), config, store)
    if record.fault:
        return replace(_set_aside(source, record.fault, record.reason), source_sha256=digest, reused=manifest.reused)
    notes = [Problem(source.name, "decode", record.note, record.note.split(":")[0])] if record.note else []
    transcript, more = transcript_of(
        video, source.name, episode_id=episode_id, digest=digest, folder=folder, config=config, store=store
    )
    outcome = EpisodeOutcome(
        source, episode_id, digest, transcript, (*notes, *more), manifest.reused, decoded_digest=manifest.digest
    )
    if manifest.reused:
        return outcome
    spent = manifest.metrics
    return replace(
        outcome, frames=record.num_frames, seconds=spent["seconds"], decoder_seconds=spent["decoder_seconds"]
    )


def _set_aside(source: Source, code: str, reason: str) -> EpisodeOutcome:
    log.warning("%s is set aside: %s", source.name, reason)
    return EpisodeOutcome(source, None, problems=(Problem(source.name, "decode", reason, code),))


def decode_key_of(episode_id: str, digest: str, config: BuildConfig) -> DecodeKey:
    """Name all that decides what one pass over an episode finds."""
    return DecodeKey(
        episode_id=episode_id,
        source_sha256=digest,
        max_pixels=config.decode.max_pixels,
        max_duration_s=config.decode.max_duration_s,
        max_corrupt_ratio=config.decode.max_corrupt_ratio,
        shots=config.shots,
        weights_sha256=_network(config.shots.weights) if config.shots.detector == "transnetv2" else None,
        candidates=config.candidates,
    )


def _decoded(
    video: Path, folder: RunFolder, key: DecodeKey, config: BuildConfig, store: Store | None
) -> tuple[EpisodeRecord, Manifest]:
    """Run the decoding step; of two equal files one is decoded, the other waits for it."""
    out_dir = folder.episodes_dir / key.episode_id
    job = DecodeJob(
        key=key,
        threads=max(1, _num_cores() // config.workers),
        max_memory_gb=config.decode.max_memory_gb,
    )

    def work(out: Path) -> StepResult:
        arguments = [str(video.resolve()), str(out.resolve()), job.model_dump_json()]
        run_child("storystream_builder.decoding.decode", *arguments, log_dir=out, timeout_s=config.decode.timeout_s)
        record = read_record(out_dir)
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        counts = {"frames": record.num_frames, "corrupt_frames": record.num_corrupt, "shots": len(record.shots)}
        timing = Timing.model_validate_json((out / TIMING).read_bytes())
        return StepResult(counts=counts, metrics={"largest_decoder_mb": round(peak_mb, 1), **timing.model_dump()})

    folder.episodes_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.episodes_dir / f".{key.episode_id}.turn.lock"):
        manifest = run_step(
            out_dir,
            work,
            step=f"decode {key.episode_id}",
            version=DECODE_VERSION,
            config=key,
            inputs={},
            store=store,
        )
    return read_record(out_dir), manifest


@lru_cache(maxsize=1)
def _network(weights: str | None) -> str:
    """Name the network that finds shots by its content, read once."""
    return weights_sha256(weights)


def _num_cores() -> int:
    """Count the cores that this process may use; an affinity is known on Linux only."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
