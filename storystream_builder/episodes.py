"""One episode: decoded in a child process, once for all time, into a folder named by its content.

Whatever is wrong with a video comes back as a row with the reason; nothing here raises for a bad file, so that one of
them never ends a run over a thousand.
"""

import logging
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from story_model.config import BuildConfig
from story_model.manifest import StepResult, run_step
from story_model.workspace import RunFolder
from storystream_builder.records import EPISODE, DecodeJob, DecodeKey, EpisodeRecord
from storystream_builder.transcripts import Transcript, read_transcript
from storystream_builder.videos import SourceError, content_id, printable, subtitles_of

log = logging.getLogger(__name__)

DECODE_VERSION = 1
_PACKAGE_PARENT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Problem:
    """A row of `meta/errors.parquet`."""

    file: str
    step: str
    reason: str


@dataclass(frozen=True)
class EpisodeOutcome:
    """What came of one video; `episode_id` is none where it cannot be used."""

    video: Path
    episode_id: str | None
    source_sha256: str | None = None
    transcript: Transcript = field(default_factory=Transcript)
    problems: tuple[Problem, ...] = ()
    reused: bool = False

    @property
    def name(self) -> str:
        """The video's file name as text."""
        return printable(self.video.name)


def prepare_episode(video: Path, folder: RunFolder, *, config: BuildConfig) -> EpisodeOutcome:
    """Decode one video into `folder.episodes_dir/<episode id>` and read its subtitles, unless that is done already."""
    name = printable(video.name)
    try:
        episode_id, digest = content_id(video)
        record, reused = _decoded(video, folder, _decode_key(episode_id, digest, config), config)
    except SourceError as error:
        log.warning("%s is set aside: %s", name, error)
        return EpisodeOutcome(video, None, problems=(Problem(name, "decode", str(error)),))
    if record.fault:
        log.warning("%s is set aside: %s", name, record.reason)
        problem = Problem(name, "decode", record.reason)
        return EpisodeOutcome(video, None, digest, problems=(problem,), reused=reused)
    problems = [Problem(name, "decode", record.note)] if record.note else []
    transcript, more = _transcript(video)
    return EpisodeOutcome(video, episode_id, digest, transcript, (*problems, *more), reused)


def read_record(folder: RunFolder, episode_id: str) -> EpisodeRecord:
    """Read what was found in a decoded episode."""
    return EpisodeRecord.model_validate_json((folder.episodes_dir / episode_id / EPISODE).read_bytes())


def _decode_key(episode_id: str, digest: str, config: BuildConfig) -> DecodeKey:
    return DecodeKey(
        episode_id=episode_id,
        source_sha256=digest,
        max_pixels=config.decode.max_pixels,
        max_duration_s=config.decode.max_duration_s,
        max_corrupt_ratio=config.decode.max_corrupt_ratio,
        shots=config.shots,
        keyframes=config.keyframes,
    )


def _decoded(video: Path, folder: RunFolder, key: DecodeKey, config: BuildConfig) -> tuple[EpisodeRecord, bool]:
    """Run the decoding step; of two equal files one is decoded, the other waits for it."""
    out_dir = folder.episodes_dir / key.episode_id
    job = DecodeJob(
        key=key,
        threads=max(1, _num_cores() // config.workers),
        max_memory_gb=config.decode.max_memory_gb,
    )

    def work(out: Path) -> StepResult:
        _run_child(video, out, job, timeout_s=config.decode.timeout_s)
        record = read_record(folder, key.episode_id)
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        counts = {"frames": record.num_frames, "corrupt_frames": record.num_corrupt, "shots": len(record.shots)}
        return StepResult(counts=counts, metrics={"largest_decoder_mb": round(peak_mb, 1)})

    folder.episodes_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.episodes_dir / f".{key.episode_id}.turn.lock"):
        manifest = run_step(
            out_dir, work, step=f"decode {key.episode_id}", version=DECODE_VERSION, config=key, inputs={}
        )
    return read_record(folder, key.episode_id), manifest.reused


def _num_cores() -> int:
    """Count the cores that this process may use; an affinity is known on Linux only."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run_child(video: Path, out_dir: Path, job: DecodeJob, *, timeout_s: float) -> None:
    """Decode in a process of its own.

    Raises:
        SourceError: it crashed or took too long; both are tried again by the next run.
    """
    command = [sys.executable, "-m", "storystream_builder.decode"]
    arguments = [str(video.resolve()), str(out_dir.resolve()), job.model_dump_json()]
    with (
        (out_dir / ".decode.log").open("w+b") as errors,
        subprocess.Popen([*command, *arguments], cwd=_PACKAGE_PARENT, stdin=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SourceError("timed out", f"over {timeout_s} s (build.decode.timeout_s)") from None
        except BaseException:
            process.kill()
            raise
        if code != 0:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            raise SourceError("crashed", f"the decoder ended with {how}: {' '.join(last) or 'no message'}")


def _transcript(video: Path) -> tuple[Transcript, list[Problem]]:
    path = subtitles_of(video)
    if path is None:
        return Transcript(), []
    name = printable(path.name)
    try:
        transcript = read_transcript(path)
    except ValueError as error:
        log.warning("%s: %s; the episode goes on without lines", name, error)
        return Transcript(), [Problem(name, "transcript", f"{error}; the episode goes on without lines")]
    return transcript, [Problem(name, "transcript", note) for note in transcript.notes]
