"""Steps from folder to folder, finished when `manifest.json` is there and matches.

Every step of the pipeline runs through `run_step`: it reads its inputs, writes into its own folder and gets a manifest
put there last. The manifest holds what the result depends on (the step's version, its configuration, its inputs'
digests) and what came out (counts, measurements, the sha256 of each file). A second run finds it and recomputes
nothing; a changed configuration or input recomputes this step and what lies downstream; a killed run finds its own
half-done folder and goes on in it.
"""

import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from pydantic import BaseModel, PrivateAttr, ValidationError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, a quota, a file that may grow no further."""
_IN_PROGRESS = ".in_progress.json"
_BLOCK = 1 << 20


class FileEntry(BaseModel):
    """One file of a step's result."""

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What a finished step depended on and what it made."""

    step: str
    key: str
    """sha256 of all that decides the result: step, version, configuration, inputs."""
    config: dict[str, object]
    inputs: dict[str, str]
    counts: dict[str, int]
    metrics: dict[str, float]
    files: dict[str, FileEntry]
    digest: str
    """sha256 over the files' names and contents: the identity of the result."""
    seconds: float
    """Wall time of the run that finished the step."""
    peak_memory_mb: float
    code_version: str
    tracking_run_id: str | None = None
    _reused: bool = PrivateAttr(default=False)

    @property
    def reused(self) -> bool:
        """Whether this call found the step finished and computed nothing."""
        return self._reused


@dataclass
class StepResult:
    """What a step's work hands back to be written into its manifest."""

    counts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tracking_run_id: str | None = None


class FinishedSteps(Protocol):
    """Where finished steps are kept besides their local folders: `story_model.store.Store`."""

    def fetch(self, folder: Path, *, key: str) -> Manifest | None:
        """Bring the step finished under this key into its folder, if it is there."""

    def push(self, folder: Path, *, anew: bool = False) -> bool:
        """Keep a finished step; `anew`: what is there under its key could not be taken."""


def run_step(
    out_dir: Path,
    work: Callable[[Path], StepResult],
    *,
    step: str,
    version: int,
    config: BaseModel,
    inputs: Mapping[str, Path | str],
    store: FinishedSteps | None = None,
    before: Callable[[], None] | None = None,
) -> Manifest:
    """Run `work(out_dir)` unless its finished result is there already, or in the store.

    An input is a path, or the digest of something whose content is known otherwise.

    `work` may find files of an earlier, killed attempt with the same key and is free to go on from them. An earlier
    result is removed when it begins; `before` runs while it is still there: for what may fail, or take hours.

    Raises:
        ValueError: an input is missing, another process works on the folder right now, or the disk is full.
    """
    settings = json.loads(config.model_dump_json())
    digests = {name: found if isinstance(found, str) else digest_of(found) for name, found in sorted(inputs.items())}
    key = hashlib.sha256(json.dumps([step, version, settings, digests], sort_keys=True).encode()).hexdigest()
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out_dir.parent / f".{out_dir.name}.lock", timeout=0):
            done = read_manifest(out_dir)
            if done is not None and done.key == key and intact(out_dir, done):
                log.info("%s: already done, nothing to compute", step)
                if store is not None:
                    store.push(out_dir)  # it may have been made without the store
                done._reused = True
                return done
            kept = store.fetch(out_dir, key=key) if store is not None else None
            if kept is not None:
                kept._reused = True
                return kept
            started = time.monotonic()
            if before is not None:
                before()
            _open_folder(out_dir, key)
            result = work(out_dir)
            files = {name: _entry(out_dir / name) for name in _file_names(out_dir)}
            manifest = Manifest(
                step=step,
                key=key,
                config=settings,
                inputs=digests,
                counts=result.counts,
                metrics=result.metrics,
                files=files,
                digest=_digest(files),
                seconds=round(time.monotonic() - started, 3),
                peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                code_version=code_version(),
                tracking_run_id=result.tracking_run_id,
            )
            write_atomically(out_dir / MANIFEST, manifest.model_dump_json(indent=1).encode())
            (out_dir / _IN_PROGRESS).unlink(missing_ok=True)
            log.info("%s: done in %.1f s", step, manifest.seconds)
            if store is not None:
                store.push(out_dir, anew=True)
            return manifest
    except Timeout:
        raise ValueError(f"another process is working on {out_dir}; wait for it or end it") from None
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        why = os.strerror(error.errno)
        raise ValueError(
            f"{out_dir} cannot be written: {why}; make room and run again, it goes on from there"
        ) from None


def read_manifest(out_dir: Path) -> Manifest | None:
    """Read a folder's manifest; none where there is none that can be read."""
    try:
        return Manifest.model_validate_json((out_dir / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        log.warning("%s is not a manifest of ours; the step runs again", out_dir / MANIFEST)
        return None


def intact(out_dir: Path, manifest: Manifest, *, thorough: bool = False) -> bool:
    """Tell whether the files that a manifest names are there: by size, or (thorough) by sha256."""
    for name, entry in manifest.files.items():
        path = out_dir / name
        if not path.is_file() or path.stat().st_size != entry.bytes:
            return False
        if thorough and sha256_of(path) != entry.sha256:
            return False
    return True


def digest_of(path: Path) -> str:
    """Name the content of an input: a finished step's digest, else the sha256 of the file or of the folder's files.

    Raises:
        ValueError: there is nothing there.
    """
    if path.is_file():
        return sha256_of(path)
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; run the step that makes it first")
    manifest = read_manifest(path)
    if manifest is not None:
        return manifest.digest
    return _digest({name: _entry(path / name) for name in _file_names(path)})


def sha256_of(path: Path) -> str:
    """Hash a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    publish(temporary, path)


def publish(temporary: Path, path: Path) -> None:
    """Move a finished temporary file (same folder) to its name, durably."""
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def code_version() -> str:
    """Name the installed version of this package."""
    try:
        return version("storystream")
    except PackageNotFoundError:
        return "unknown"


def _open_folder(out_dir: Path, key: str) -> None:
    """Make the folder ready for work: kept where a killed attempt with this key left it, else emptied."""
    note = out_dir / _IN_PROGRESS
    if note.is_file() and note.read_text() == key:
        log.info("%s: going on from an attempt that was cut short", out_dir.name)
        (out_dir / MANIFEST).unlink(missing_ok=True)
        return
    if out_dir.exists():
        shutil.rmtree(out_dir)
    out_dir.mkdir(parents=True)
    write_atomically(note, key.encode())


def _file_names(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder) for path in paths)
    return sorted(name.as_posix() for name in names if name.as_posix() != MANIFEST and not _hidden(name))


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_of(path), bytes=path.stat().st_size)


def _digest(files: Mapping[str, FileEntry]) -> str:
    lines = "\n".join(f"{name} {entry.sha256}" for name, entry in sorted(files.items()))
    return hashlib.sha256(os.fsencode(lines)).hexdigest()
