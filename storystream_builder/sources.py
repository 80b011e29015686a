"""Where a video comes from: its name, series, title, licence, whom to credit, its address.

`sources.yaml` beside the videos says so; an entry holds for the files that its pattern fits, a later one goes over an
earlier one:

    - files: "*"
      license: CC BY 3.0
      attribution: (c) Blender Foundation
    - files: "bunny/*.mp4"
      series: Big Buck Bunny
      url: https://peach.blender.org
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from story_model.build_config import BuildConfig
from story_model.section import Section
from storystream_builder.videos import find_videos, printable

SOURCES = "sources.yaml"
UNKNOWN = "unknown"


class SourceEntry(Section):
    """What `sources.yaml` says of some videos; empty fields leave what is known."""

    files: str
    """Pattern for paths relative to the folder of videos: `*` stands for anything, folders too."""
    series: str = ""
    title: str = ""
    license: str = ""
    attribution: str = ""
    url: str = ""


@dataclass(frozen=True)
class Source:
    """A video and where it comes from."""

    video: Path
    name: str
    """Path in the folder of videos, as text."""
    series: str = ""
    title: str = ""
    license: str = UNKNOWN
    attribution: str = ""
    url: str = ""


def find_sources(videos: Path, config: BuildConfig) -> list[Source]:
    """List the videos of a folder, or a single one, with what is known of each.

    Raises:
        ValueError: there is no video, `sources.yaml` cannot be read, or an entry of it fits no video.
    """
    paths = find_videos(videos)
    root = videos if videos.is_dir() else videos.parent
    entries = read_entries(root / SOURCES)
    names = {path: printable(path.relative_to(root).as_posix()) for path in paths}
    _refuse_idle(entries, list(names.values()), root / SOURCES)
    return [_source(path, name, entries, config) for path, name in names.items()]


def read_entries(path: Path) -> list[SourceEntry]:
    """Read `sources.yaml`; empty where there is none.

    Raises:
        ValueError: it is no list of entries.
    """
    if not path.is_file():
        return []
    try:
        return TypeAdapter(list[SourceEntry]).validate_python(yaml.safe_load(path.read_bytes()) or [])
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}, entry {where}: {first['msg']}") from None


def _source(video: Path, name: str, entries: Sequence[SourceEntry], config: BuildConfig) -> Source:
    known = {"license": config.license, "attribution": config.attribution, "series": name.rpartition("/")[0]}
    for entry in entries:
        if fnmatchcase(name, entry.files):
            said = entry.model_dump(exclude={"files"})
            known |= {field: value for field, value in said.items() if value}
    return Source(video, name, **known)


def _refuse_idle(entries: Sequence[SourceEntry], names: Sequence[str], path: Path) -> None:
    """Raise for a pattern that fits nothing: most likely it is misspelt, and a licence would be lost."""
    for entry in entries:
        if not any(fnmatchcase(name, entry.files) for name in names):
            raise ValueError(f"{path}: files: {entry.files!r} fits no video; the first is {names[0]!r}")
