"""Where a video comes from: its name, series, title, licence, whom to credit, its address.

`sources.yaml` beside the videos says so; an entry holds for the files that its pattern fits, later entries override
earlier ones:

    - files: "*"
      license: CC BY 3.0
      attribution: (c) Blender Foundation
    - files: "bunny/*.mp4"
      series: Big Buck Bunny
      url: https://peach.blender.org
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError, field_validator

from story_model.build_config import BuildConfig
from story_model.section import Section
from storystream_builder.remote_videos import RemoteVideo, find_remote_videos, is_remote, read_beside
from storystream_builder.videos import find_videos, printable

SOURCES = "sources.yaml"
UNKNOWN = "unknown"
_MAX_DEPTH = 8


class SourceEntry(Section):
    """What `sources.yaml` says of some videos; empty fields leave what is known."""

    files: str
    """Pattern for paths relative to the folder of videos: `*` stands for anything, folders too."""
    series: str = ""
    title: str = ""
    license: str = ""
    attribution: str = ""
    url: str = ""

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: str) -> str:
        """Refuse halves of surrogate pairs, which YAML can spell and no table can hold."""
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair is no text") from None
        return value


@dataclass(frozen=True)
class Source:
    """A video and where it comes from."""

    video: Path | RemoteVideo
    name: str
    """Path in the folder of videos, as text."""
    series: str = ""
    title: str = ""
    license: str = UNKNOWN
    attribution: str = ""
    url: str = ""


def find_sources(videos: Path | str, config: BuildConfig) -> list[Source]:
    """List the videos of a folder (a path or an fsspec URL), or a single one, with what is known of each.

    Raises:
        ValueError: there is no video, `sources.yaml` cannot be read, or an entry of it fits no video.
    """
    found: dict[str, Path | RemoteVideo] = {}
    if is_remote(videos):
        where = f"{videos}/{SOURCES}"
        found.update((remote.name, remote) for remote in find_remote_videos(str(videos)))
        text = read_beside(str(videos), SOURCES)
    else:
        videos = Path(videos)
        root = videos if not videos.is_file() else videos.parent
        where = str(root / SOURCES)
        found.update((printable(path.relative_to(root).as_posix()), path) for path in find_videos(videos))
        text = (root / SOURCES).read_bytes() if (root / SOURCES).is_file() else None
    entries = read_entries(text, where)
    if not _is_single(videos, found):
        _refuse_idle(entries, list(found), where)
    return [_source(video, name, entries, config) for name, video in found.items()]


def _is_single(videos: Path | str, found: Mapping[str, object]) -> bool:
    """Tell whether a video was named, not the folder that `sources.yaml` speaks of."""
    return len(found) == 1 and str(videos).rpartition("/")[2] == next(iter(found)).rpartition("/")[2]


def read_entries(text: bytes | None, where: str) -> list[SourceEntry]:
    """Read what `sources.yaml` holds; empty where there is none.

    Raises:
        ValueError: it is no list of entries.
    """
    try:
        _refuse_tricks(text or b"")
        found = yaml.safe_load(text or b"") or []
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    try:
        return TypeAdapter(list[SourceEntry]).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}, entry {place}: {first['msg']}") from None


def _refuse_tricks(text: bytes) -> None:
    """Raise for what YAML can say and a list of entries need not: it can take for ever, or end in odd errors."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep for a list of entries")
        if tag := getattr(event, "tag", None):
            raise ValueError(f"the tag {tag} is not needed here; remove it")
        if getattr(event, "value", None) == "<<":
            raise ValueError("`<<` merges are not read; write the fields out")


def _source(video: Path | RemoteVideo, name: str, entries: Sequence[SourceEntry], config: BuildConfig) -> Source:
    known = {"license": config.license, "attribution": config.attribution, "series": name.rpartition("/")[0]}
    for entry in entries:
        if fnmatchcase(name, entry.files):
            said = entry.model_dump(exclude={"files"})
            known |= {field: value for field, value in said.items() if value}
    return Source(video, name, **known)


def _refuse_idle(entries: Sequence[SourceEntry], names: Sequence[str], where: str) -> None:
    """Raise for a pattern that fits nothing: most likely it is misspelt, and a licence would be lost."""
    for entry in entries:
        if not any(fnmatchcase(name, entry.files) for name in names):
            raise ValueError(f"{where}: files: {entry.files!r} fits no video; the first is {names[0]!r}")
