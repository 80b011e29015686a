"""Videos that lie elsewhere: on S3 or whatever else fsspec knows, brought here one at a time and for as long as needed.

A decoder seeks, and an episode is named by the sha256 of its whole file, so a video is copied rather than streamed. The
copy and the subtitles beside it live in a scratch folder of their own that goes when they have been read: at most one
video a worker takes space at a time.
"""

import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout
from fsspec.core import url_to_fs

from story_model.manifest import NO_ROOM
from story_model.workspace import contained
from storystream_builder.videos import VIDEO_SUFFIXES, SourceError

log = logging.getLogger(__name__)

_MAX_BESIDE_BYTES = 16 << 20
"""Files beside a video that are larger are no subtitles."""


@dataclass(frozen=True)
class RemoteVideo:
    """A video on a filesystem of fsspec's, by its URL; nothing is open, so it can be sent to another process."""

    url: str
    name: str
    """Path in the folder that was listed."""
    bytes: int | None
    """None where the filesystem does not say."""
    beside: tuple[str, ...] = ()
    """URLs of small files named like it: subtitles."""


def is_remote(videos: str | Path) -> bool:
    """Tell a URL from a path."""
    return "://" in str(videos)


def find_remote_videos(url: str) -> list[RemoteVideo]:
    """List the videos under a URL in a stable order; a single file stands for itself.

    Raises:
        ValueError: there is nothing there, no video among it, or the URL is of a kind that nothing installed can read.
    """
    fs, root = _open(url)
    found: dict[str, Any] = fs.find(root, detail=True)
    if not found:
        raise ValueError(f"there is nothing at {url}; name a video or a folder of videos")
    base = root.rstrip("/") if root not in found else root.rpartition("/")[0]
    names = {path.removeprefix(f"{base}/"): path for path in sorted(found)}
    visible = {name: path for name, path in names.items() if not any(part.startswith(".") for part in name.split("/"))}
    videos = [name for name in visible if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise ValueError(f"no video in {url}; looked for files ending in {', '.join(sorted(VIDEO_SUFFIXES))}")
    small = _by_stem({name: path for name, path in visible.items() if (_size(found[path]) or 0) <= _MAX_BESIDE_BYTES})
    return [
        RemoteVideo(
            url=fs.unstrip_protocol(visible[name]),
            name=name,
            bytes=_size(found[visible[name]]),
            beside=tuple(fs.unstrip_protocol(path) for path in small.get(name[: -len(PurePosixPath(name).suffix)], [])),
        )
        for name in videos
    ]


def read_beside(url: str, name: str) -> bytes | None:
    """Read a small file in the folder that a URL names, such as `sources.yaml`; none where there is none."""
    fs, root = _open(url)
    folder = root.rpartition("/")[0] if PurePosixPath(root).suffix.lower() in VIDEO_SUFFIXES else root.rstrip("/")
    try:
        return bytes(fs.cat_file(f"{folder}/{name}"))
    except FileNotFoundError:
        return None


@contextmanager
def local_copy(video: Path | RemoteVideo, scratch: Path) -> Iterator[Path]:
    """Have a video, and the files beside it, in a folder of its own under `scratch` until the block ends.

    A path is handed out as it is.

    Raises:
        SourceError: the video is gone, may not be read, is larger than the free space, or did not arrive whole.
    """
    if isinstance(video, Path):
        yield video
        return
    _sweep(scratch)
    free = shutil.disk_usage(scratch).free
    if (video.bytes or 0) > free:
        raise SourceError(
            "too large", f"it has {video.bytes} bytes and {scratch} has {free} free; make room, then run again"
        )
    with _folder_for_now(scratch) as folder:
        path = _copy(video.url, folder)
        if video.bytes is not None and path.stat().st_size != video.bytes:
            raise SourceError("unreadable", f"{path.stat().st_size} of its {video.bytes} bytes arrived")
        for url in video.beside:
            try:
                _copy(url, folder)
            except SourceError as error:
                log.warning("%s: %s; the video is read without it", url, error)
        yield path


@contextmanager
def _folder_for_now(scratch: Path) -> Iterator[Path]:
    """Make a folder that goes with the block; a lock tells others that it is in use."""
    folder = scratch / f"video-{uuid.uuid4().hex}"
    with FileLock(_lock_of(folder)):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
            _lock_of(folder).unlink(missing_ok=True)


def _sweep(scratch: Path) -> None:
    """Remove what killed processes left: folders that nobody holds."""
    scratch.mkdir(parents=True, exist_ok=True)
    for folder in scratch.glob("video-*"):
        try:
            with FileLock(_lock_of(folder), timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue  # it is being read
        _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _copy(url: str, folder: Path) -> Path:
    fs, remote = _open(url)
    path = contained(folder, remote.rpartition("/")[2])
    try:
        fs.get_file(remote, str(path))
    except FileNotFoundError:
        raise SourceError("unreadable", "it is no longer where it was found") from None
    except PermissionError:
        raise SourceError("unreadable", "it may not be read") from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise SourceError("unreadable", f"it did not arrive ({error.strerror or type(error).__name__})") from None
    return path


def _open(url: str) -> tuple[Any, str]:
    """Open a URL's filesystem and name the place on it.

    Raises:
        ValueError: nothing installed can read it.
    """
    try:
        fs, path = url_to_fs(url)
    except ImportError as error:
        raise ValueError(f"{url} needs a package: {error}; for s3:// pip install -e '.[s3]'") from None
    return fs, path


def _by_stem(files: dict[str, str]) -> dict[str, list[str]]:
    """Group what is no video by each name that a video beside it could have: `x.en.srt` belongs to `x` and `x.en`."""
    grouped: dict[str, list[str]] = {}
    for name, path in files.items():
        stem = PurePosixPath(name)
        if stem.suffix.lower() in VIDEO_SUFFIXES:
            continue
        while stem.suffix:
            stem = stem.with_suffix("")
            grouped.setdefault(stem.as_posix(), []).append(path)
    return grouped


def _size(info: dict[str, Any]) -> int | None:
    size = info.get("size")
    return None if size is None else int(size)
