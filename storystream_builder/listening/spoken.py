"""What is spoken in an episode: from the file beside the video, from the video's own streams, or recognised."""

import logging
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from story_model.build_config import BuildConfig, TranscriptSource
from story_model.manifest import StepResult, digest_of, run_step
from story_model.store import Store
from story_model.workspace import RunFolder
from storystream_builder.children import run_child
from storystream_builder.listening.transcripts import Transcript, load_transcript, read_transcript
from storystream_builder.problems import Problem
from storystream_builder.records import TRANSCRIPT, ListenJob, ListenKey
from storystream_builder.videos import SourceError, printable, subtitles_of

log = logging.getLogger(__name__)

LISTEN_VERSION = 1
_WITHOUT = "the episode goes on without lines"


def check_transcripts(config: BuildConfig) -> None:
    """Refuse a configuration under which nothing could be recognised.

    Raises:
        ValueError: speech is to be recognised and no network is named, or its folder holds none.
    """
    if "speech" not in config.transcripts.sources:
        return
    folder = config.transcripts.speech_folder
    if not folder or not (Path(folder) / "config.json").is_file():
        raise ValueError(
            f"build.transcripts.sources names speech, and build.transcripts.speech_folder={folder} holds no network; "
            "name a folder such as a download of openai/whisper-small"
        )


def transcript_of(
    video: Path,
    name: str,
    *,
    episode_id: str,
    digest: str,
    folder: RunFolder,
    config: BuildConfig,
    store: Store | None = None,
) -> tuple[Transcript, list[Problem]]:
    """Find an episode's lines where the configuration says; what had to be guessed or left out comes as problems."""
    problems = list[Problem]()
    for is_file, group in groupby(config.transcripts.sources, key=lambda source: source == "file"):
        if is_file:
            found, more = _beside(video, config)
        else:
            found, more = _inside(video, name, tuple(group), episode_id, digest, folder, config, store)
        problems += more
        if found.lines:
            return found, problems
    return Transcript(), problems


def _beside(video: Path, config: BuildConfig) -> tuple[Transcript, list[Problem]]:
    path = subtitles_of(video, language=config.transcripts.language)
    if path is None:
        return Transcript(), []
    name = printable(path.name)
    try:
        found = read_transcript(path)
    except ValueError as error:
        log.warning("%s: %s", name, error)
        return Transcript(), [Problem(name, "transcript", f"{error}; {_WITHOUT} from it", "unreadable")]
    return found, [Problem(name, "transcript", note, "guessed") for note in found.notes]


def _inside(
    video: Path,
    name: str,
    sources: tuple[TranscriptSource, ...],
    episode_id: str,
    digest: str,
    folder: RunFolder,
    config: BuildConfig,
    store: Store | None,
) -> tuple[Transcript, list[Problem]]:
    """Ask the video itself, in a process of its own, unless that was done already."""
    wanted = config.transcripts
    speech = wanted.speech_folder if "speech" in sources else None
    key = ListenKey(
        source_sha256=digest,
        sources=sources,
        language=wanted.language,
        network_sha256=_network(speech) if speech else None,
    )
    memory = None if speech else config.decode.max_memory_gb
    job = ListenJob(key=key, speech_folder=speech, max_memory_gb=memory)
    timeout_s = wanted.speech_timeout_s if speech else config.decode.timeout_s
    out_dir = folder.transcripts_dir / episode_id

    def work(out: Path) -> StepResult:
        arguments = [str(video.resolve()), str(out.resolve()), job.model_dump_json()]
        run_child("storystream_builder.listening.listen", *arguments, log_dir=out, timeout_s=timeout_s)
        return StepResult(counts={"lines": len(load_transcript(out / TRANSCRIPT).lines)})

    folder.transcripts_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.transcripts_dir / f".{episode_id}.turn.lock"):
            run_step(
                out_dir, work, step=f"listen {episode_id}", version=LISTEN_VERSION, config=key, inputs={}, store=store
            )
    except SourceError as error:
        log.warning("%s: %s; %s", name, error, _WITHOUT)
        return Transcript(), [Problem(name, "transcript", f"{error}; {_WITHOUT}", error.fault)]
    found = load_transcript(out_dir / TRANSCRIPT)
    return found, [Problem(name, "transcript", note, "guessed") for note in found.notes]


@lru_cache(maxsize=1)
def _network(folder: str) -> str:
    return digest_of(Path(folder))
