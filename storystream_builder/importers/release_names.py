"""What the published pictures' names say: `000258/000258_keyframe_0-19-49-688.jpg` is an episode and a time in it.

Numbers are not zero-padded, so names do not sort in time. Episode and time together are a picture's identity here: a
name with another spelling of the same time is the same picture.
"""

import re
import sys
from dataclasses import dataclass

from storystream_builder.importers.entries import Fault

_EPISODE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_KEYFRAME = re.compile(
    r"(?:(?P<episode>[0-9A-Za-z][0-9A-Za-z_-]{0,63})_)?keyframe_"
    r"(?P<hours>[0-9]{1,3})-(?P<minutes>[0-9]{1,2})-(?P<seconds>[0-9]{1,2})-(?P<milliseconds>[0-9]{1,3})"
    r"\.(?:jpe?g|png|webp)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """Which keyframe a picture is."""

    episode_id: str
    pts_ms: int

    @property
    def frame_id(self) -> str:
        """Its id; those of an episode sort in time."""
        return f"{self.episode_id}-{self.pts_ms:09d}"


def picture_of(name: str) -> Picture | Fault:
    """Read a picture's path as archives and stories write it, with either separator and folders before its own."""
    parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        return Fault("unsafe path", "absolute, or leads out of the archive")
    found = _KEYFRAME.fullmatch(parts[-1]) if parts else None
    if found is None:
        return Fault("not a keyframe", "its name is not <episode>/<episode>_keyframe_<h>-<m>-<s>-<ms>.jpg")
    episode = parts[-2] if len(parts) > 1 else found["episode"]
    if episode is None or not _EPISODE.fullmatch(episode):
        return Fault("not a keyframe", "no folder says which episode it is of")
    hours, minutes, seconds = (int(found[unit]) for unit in ("hours", "minutes", "seconds"))
    if minutes > 59 or seconds > 59:
        return Fault("not a keyframe", "its name holds no time: more than 59 minutes or seconds")
    return Picture(sys.intern(episode), ((hours * 60 + minutes) * 60 + seconds) * 1000 + int(found["milliseconds"]))


def name_of(picture: Picture, ending: str) -> str:
    """Write a picture's path as published; `ending` such as `jpg`.

    Raises:
        ValueError: the episode's id is no folder name that can be read back.
    """
    if not _EPISODE.fullmatch(picture.episode_id):
        raise ValueError(f"episode id {picture.episode_id!r} is no plain name; it cannot be a folder of the export")
    seconds, milliseconds = divmod(picture.pts_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    episode = picture.episode_id
    return f"{episode}/{episode}_keyframe_{hours}-{minutes}-{seconds}-{milliseconds}.{ending}"
