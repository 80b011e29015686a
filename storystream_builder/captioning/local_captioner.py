"""Captions by a vision-language network in a local folder; nothing leaves the machine.

The network runs in a process of its own (`local_model.py`), started when there is something to ask. Its answers go to
the ledgers of `answers.py`, so that a killed run goes on where it was.
"""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from pydantic import TypeAdapter, ValidationError

from story_model.asking.answers import Answer, Ledger, question_key
from story_model.config import Device
from story_model.manifest import digest_of
from story_model.section import Section
from story_model.store import Store
from storystream_builder.captioning.captions import (
    LOCAL,
    CaptionedEpisode,
    CaptionQuestions,
    answered,
    captioned,
    spoken_over,
    spoken_words,
)
from storystream_builder.children import PACKAGE_PARENT
from storystream_builder.frames import Episode

_ANSWERS = TypeAdapter(list[Answer])

Asked = tuple[bytes, str]
"""A picture (JPEG) and what is asked about it."""


class LocalJob(Section):
    """What the process of the network is told besides its folder."""

    device: Device
    max_tokens: int


class LocalCaptioner:
    """Shows frames to a network on this machine, several at once."""

    def __init__(
        self,
        folder: Path,
        ledger_dir: Path,
        *,
        max_tokens: int,
        batch_size: int,
        device: Device,
        store: Store | None = None,
    ) -> None:
        """Take the network's folder, the folder of the ledgers, the longest answer in tokens, and pictures at once.

        Raises:
            ValueError: the folder holds no network.
        """
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} holds no network (no config.json); set build.captions.model")
        self._digest = digest_of(folder)
        self.name = f"{folder.resolve().name}@{self._digest[:16]}"
        self._prompt = CaptionQuestions(max_tokens).prompt
        self.prompt_sha256 = hashlib.sha256(self._prompt.encode()).hexdigest()
        self._folder = folder
        self._ledger_dir = ledger_dir
        self._store = store
        self._job = LocalJob(device=device, max_tokens=max_tokens)
        self._batch_size = batch_size

    def caption(self, episodes: Sequence[Episode]) -> Iterator[CaptionedEpisode]:
        """Caption the kept frames of episodes.

        Raises:
            ValueError: the network cannot be used; what it said so far is kept.
        """
        with LocalProcess(self._folder, self._job, self._ledger_dir) as process:
            for episode in episodes:
                yield self._one(episode, process)

    def _one(self, episode: Episode, process: "LocalProcess") -> CaptionedEpisode:
        ledger = Ledger(self._ledger_dir / f"{episode.episode_id}.jsonl", self._store)
        images = episode.images() if episode.kept else {}
        asked = {
            frame.frame_id: (images[frame.frame_id], f"{self._prompt}\n{spoken_words(spoken_over(frame, episode))}")
            for frame in episode.kept
        }
        keys = {frame_id: self._key(one) for frame_id, one in asked.items()}
        new = {keys[frame_id]: one for frame_id, one in asked.items() if ledger.get(keys[frame_id]) is None}
        for some in _batches(list(new), self._batch_size):
            ledger.put_all(dict(zip(some, process.ask([new[key] for key in some]), strict=True)))
        found: Mapping[str, Answer] = {frame_id: _known(ledger, key) for frame_id, key in keys.items()}
        return captioned(episode, [answered(frame, found[frame.frame_id], status=LOCAL) for frame in episode.kept])

    def _key(self, asked: Asked) -> str:
        picture, text = asked
        return question_key("local", self._digest, self._job.max_tokens, text, hashlib.sha256(picture).hexdigest())


class LocalProcess:
    """The process of a network; it is started with the first question."""

    def __init__(self, folder: Path, job: LocalJob, log_dir: Path) -> None:
        """Take the network's folder, what else the process is told, and where what it says besides answers goes."""
        self._folder = folder
        self._job = job
        self._log = log_dir / "local_model.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LocalProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()  # it keeps nothing; left alone, it would finish its batch first
            self._process.communicate()

    def ask(self, asked: Sequence[Asked]) -> list[Answer]:
        """Have questions answered, in their order.

        Raises:
            ValueError: the network cannot be loaded, or the process ended.
        """
        process = self._process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        questions = [{"picture": base64.b64encode(picture).decode(), "text": text} for picture, text in asked]
        try:
            process.stdin.write(json.dumps(questions).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it said why before it ended
        line = process.stdout.readline()
        try:
            return _ANSWERS.validate_json(line)
        except ValidationError:
            raise ValueError(self._failure(line, process)) from None

    def _start(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        module = "storystream_builder.captioning.local_model"
        command = [sys.executable, "-m", module, str(self._folder.resolve()), self._job.model_dump_json()]
        with self._log.open("wb") as log:
            pipe = subprocess.PIPE
            return subprocess.Popen(command, cwd=PACKAGE_PARENT, stdin=pipe, stdout=pipe, stderr=log)

    def _failure(self, line: bytes, process: subprocess.Popen[bytes]) -> str:
        try:
            return str(json.loads(line)["error"])
        except (ValueError, TypeError, KeyError):
            code = process.wait()
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        last = self._log.read_bytes().decode(errors="replace").strip().splitlines()[-1:]
        return (
            f"the network in {self._folder} ended with {how}: {' '.join(last) or 'no message'} (see {self._log}); "
            "what it said so far is kept. Where memory is short, lower build.captions.concurrency"
        )


def _batches(keys: list[str], size: int) -> Iterator[list[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _known(ledger: Ledger, key: str) -> Answer:
    answer = ledger.get(key)
    assert answer is not None
    return answer
