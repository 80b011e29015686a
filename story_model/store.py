"""The store: finished steps on any filesystem that fsspec knows, so that another machine goes on where one stopped.

Work is done in local folders, for locks, appends and memory maps need one. What is finished is mirrored:

    <store>/<run>/episodes/<id>/...   as in the workspace; manifest.json arrives last, so that what is there is whole
    <store>/<run>/dataset/...
    <store>/<run>/answers/<episode>/...   answers that were paid for: see `shared_lines.py`

`run_step(..., store=...)` looks here before it computes and puts here what it has computed. What arrives is checked
against its manifest; a damaged step counts as absent and is made anew. A step's folder in the store is the step's own:
files that its manifest does not name are removed from it.

Credentials and addresses are those of the filesystem's own package, taken from the environment: for S3 AWS_PROFILE or
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL (or FSSPEC_S3_ENDPOINT_URL) for MinIO and others.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from pydantic import ValidationError

from story_model.manifest import MANIFEST, Manifest, read_manifest, sha256_of, write_atomically
from story_model.workspace import contained

log = logging.getLogger(__name__)

_GROUP_BYTES = 64 << 20
_GROUP_FILES = 100
_READERS = 16


class _Damaged(Exception):  # noqa: N818 - says what it is
    """What lies in the store is not what its manifest says."""


@dataclass(frozen=True)
class Store:
    """A place for finished steps; it holds two names and no connection, so it can be sent to another process."""

    url: str
    """fsspec URL of the folder that stands for `root`."""
    root: Path
    """Local folder that is mirrored: the workspace."""

    def fetch(self, folder: Path, *, key: str | None = None, digest: str | None = None) -> Manifest | None:
        """Bring a finished step into its local folder, if it is here under this key and with this digest.

        The local folder is replaced as a whole, when all has arrived and was found right; none: nothing was touched.
        """
        fs, home = self.place(folder)
        manifest = _remote_manifest(fs, home)
        if manifest is None or key not in (None, manifest.key) or digest not in (None, manifest.digest):
            return None
        arriving = folder.parent / f".{folder.name}.arriving"
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir(parents=True)
        try:
            _receive(fs, home, manifest, arriving)
            write_atomically(arriving / MANIFEST, manifest.model_dump_json(indent=1).encode())
            if folder.exists():
                shutil.rmtree(folder)
            arriving.replace(folder)
        except _Damaged as error:
            log.warning("%s in the store is damaged: %s; it counts as absent", self._name(folder), error)
            return None
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        log.info("%s: taken from the store", self._name(folder))
        return manifest

    def ensure(self, folder: Path, digest: str) -> None:
        """Have the result with this digest in its local folder: it is there, or is fetched.

        Raises:
            ValueError: it is in neither place.
        """
        here = read_manifest(folder)
        if (here is None or here.digest != digest) and self.fetch(folder, digest=digest) is None:
            raise ValueError(f"{self._name(folder)} is neither here nor whole in the store; run the step that makes it")

    def push(self, folder: Path, *, anew: bool = False) -> bool:
        """Publish a finished step, its manifest last; tell whether that changed anything.

        Files that are in the store already stay as they are. `anew`: what it has under this key could not be taken, so
        all are sent again.

        Raises:
            ValueError: the folder has no manifest.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise ValueError(f"{folder} is not finished: it has no {MANIFEST}; run its step first")
        fs, home = self.place(folder)
        old, sizes = _remote_manifest(fs, home), _sizes(fs, home)
        sent = {} if old is None or (anew and old.key == manifest.key) else old.files
        lacking = [
            name for name, entry in manifest.files.items() if sent.get(name) != entry or sizes.get(name) != entry.bytes
        ]
        stray = sizes.keys() - manifest.files.keys() - {MANIFEST}
        if old is not None and not lacking and not stray and (old.key, old.digest) == (manifest.key, manifest.digest):
            return False
        if old is not None and old.digest != manifest.digest:
            remove_object(fs, f"{home}/{MANIFEST}")  # before its files change: nobody shall find it without them
        for group in _groups(lacking, manifest):
            for parent in {f"{home}/{name}".rpartition("/")[0] for name in group}:
                fs.makedirs(parent, exist_ok=True)
            fs.put([str(folder / name) for name in group], [f"{home}/{name}" for name in group])
        write_object(fs, f"{home}/{MANIFEST}", (folder / MANIFEST).read_bytes())
        for name in sorted(stray):
            remove_object(fs, f"{home}/{name}")
        log.info("%s: put into the store", self._name(folder))
        return True

    def _name(self, folder: Path) -> str:
        return folder.resolve().relative_to(self.root.resolve()).as_posix()

    def place(self, folder: Path) -> tuple[Any, str]:
        """Open the filesystem (fsspec keeps it open) and name the folder's place on it."""
        fs, base = url_to_fs(self.url)
        return fs, f"{base.rstrip('/')}/{self._name(folder)}"


def open_store(url: str | None, root: Path) -> Store | None:
    """Make the store that a URL names, for the folders under `root`; none without a URL.

    Raises:
        ValueError: no filesystem of that kind is known, its package is not installed, or there is no such bucket.
    """
    if not url:
        return None
    try:
        fs, base = url_to_fs(url)
    except ImportError as error:
        raise ValueError(f"the store needs a package: {error}; for s3:// pip install -e '.[s3]'") from None
    except ValueError as error:
        raise ValueError(
            f"the store's URL cannot be used: {error}; set STORY_STORE to one like s3://bucket/x"
        ) from None
    bucket = base.strip("/").partition("/")[0]
    if not base.startswith("/") and not fs.exists(bucket):  # else the first write would make it, misspelt or not
        raise ValueError(f"the store's bucket {bucket!r} does not exist; make it, or mend STORY_STORE")
    return Store(url, root)


def have_results(digests: Mapping[Path, str], store: Store | None) -> None:
    """Have finished results, digests by folder, on this machine; those that others made are fetched.

    Raises:
        ValueError: one is neither here nor in the store.
    """
    here = {folder: read_manifest(folder) for folder in digests}
    lacking = [folder for folder, found in here.items() if found is None or found.digest != digests[folder]]
    if not lacking:
        return
    if store is None:
        raise ValueError(
            f"{lacking[0]} was made on another machine (so were {len(lacking)} in all); set STORY_STORE to bring it"
        )
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lambda folder: store.ensure(folder, digests[folder]), lacking))


def _receive(fs: Any, home: str, manifest: Manifest, into: Path) -> None:  # noqa: ANN401 - fsspec has no types
    """Copy a step's files and check each."""
    try:
        paths = {name: contained(into, name) for name in manifest.files}
    except ValueError as error:
        raise _Damaged(str(error)) from None
    try:
        for group in _groups(paths, manifest):
            for path in {paths[name].parent for name in group}:
                path.mkdir(parents=True, exist_ok=True)
            fs.get([f"{home}/{name}" for name in group], [str(paths[name]) for name in group])
            for name in group:
                if sha256_of(paths[name]) != manifest.files[name].sha256:
                    raise _Damaged(f"{name} has another sha256 than its manifest says")
    except (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise _Damaged(str(error)) from None


def _groups(names: Iterable[str], manifest: Manifest) -> Iterator[list[str]]:
    """Part files into groups that travel together: many small ones, or a large one alone, for it fills the memory."""
    group: list[str] = []
    size = 0
    for name in names:
        if group and (size + manifest.files[name].bytes > _GROUP_BYTES or len(group) == _GROUP_FILES):
            yield group
            group, size = [], 0
        group.append(name)
        size += manifest.files[name].bytes
    if group:
        yield group


def _remote_manifest(fs: Any, home: str) -> Manifest | None:  # noqa: ANN401
    try:
        return Manifest.model_validate_json(fs.cat_file(f"{home}/{MANIFEST}"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        log.warning("%s/%s is not a manifest of ours; the step counts as absent", home, MANIFEST)
        return None


def _sizes(fs: Any, home: str) -> dict[str, int]:  # noqa: ANN401
    """List what lies in a folder of the store, with bytes."""
    fs.invalidate_cache()  # others write here as well
    found = fs.find(home, detail=True)
    return {path.removeprefix(f"{home}/"): int(info["size"]) for path, info in found.items()}


def write_object(fs: Any, path: str, data: bytes) -> None:  # noqa: ANN401
    """Write a small file, and the folders above it where the filesystem has such."""
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, data)


def remove_object(fs: Any, path: str) -> None:  # noqa: ANN401
    """Remove a file, unless that is done already."""
    with suppress(FileNotFoundError):  # another machine was faster
        fs.rm_file(path)
