"""Captions that somebody else made, given in a file: by frame id, or by video and time.

A frame takes the caption of its id. Where there is none it takes the one of its video whose time is nearest to its own,
half a second away at most: twelve pictures of a film on twos, so that times which other tools rounded, or took from a
neighbouring picture of the same shot, still fit.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from story_model.manifest import sha256_of
from storystream_builder.captioning.captions import SIDECAR, STEP, CaptionedEpisode, captioned, failed
from storystream_builder.captioning.sidecar_rows import BadRows, GivenCaption, read_rows
from storystream_builder.episodes import Problem
from storystream_builder.frames import Episode, Frame
from storystream_builder.videos import printable

TOLERANCE_MS = 500


class SidecarCaptioner:
    """Takes captions from a file."""

    prompt_sha256 = ""

    def __init__(self, path: Path, *, tolerance_ms: int = TOLERANCE_MS) -> None:
        """Take the file, and how far a frame may be from the time that a caption is for.

        Raises:
            ValueError: there is no such file.
        """
        if not path.is_file():
            raise ValueError(f"there is no file {path}; set build.captions.sidecar")
        self.name = f"sidecar:{sha256_of(path)[:16]}"
        self._path = path
        self._tolerance_ms = tolerance_ms

    def caption(self, episodes: Sequence[Episode]) -> Iterator[CaptionedEpisode]:
        """Caption the kept frames of episodes; the first of them also brings what is wrong with the file.

        Raises:
            ValueError: the file is of no known kind, too large, or has not the columns.
        """
        bad = BadRows()
        captions = _take(read_rows(self._path, bad), episodes, bad)
        problems = [Problem(printable(self._path.name), STEP, reason, "sidecar") for reason in bad.reasons()]
        for episode in episodes:
            times = captions.by_time(episode.outcome.name)
            frames = [self._one(frame, captions.by_frame, times) for frame in episode.kept]
            yield captioned(episode, frames, problems=problems)
            problems = []

    def _one(self, frame: Frame, by_frame: dict[str, str], times: "list[tuple[int, str]]") -> Frame:
        text = by_frame.get(frame.frame_id) or nearest(times, frame.pts_ms, self._tolerance_ms)
        if text is None:
            return failed(frame, "not in the sidecar")
        return replace(frame, caption=text, caption_status=SIDECAR)


@dataclass
class _Captions:
    by_frame: dict[str, str] = field(default_factory=dict)
    by_video: dict[str, dict[int, str]] = field(default_factory=dict)

    def by_time(self, video: str) -> list[tuple[int, str]]:
        """List a video's captions in time order."""
        return sorted(self.by_video.get(video, {}).items())


def nearest(times: Sequence[tuple[int, str]], at_ms: int, tolerance_ms: int) -> str | None:
    """Find the caption nearest to a time, of two as near the earlier one; none where it is too far away."""
    place = bisect_left(times, (at_ms, ""))
    near = times[max(0, place - 1) : place + 1]
    found = min(near, key=lambda one: abs(one[0] - at_ms), default=None)
    return found[1] if found and abs(found[0] - at_ms) <= tolerance_ms else None


def _take(rows: Iterator[GivenCaption], episodes: Sequence[Episode], bad: BadRows) -> _Captions:
    """Sort captions by what they are for; of two for one frame or time the first counts."""
    frames = {frame.frame_id for episode in episodes for frame in episode.frames}
    videos = {episode.outcome.name for episode in episodes}
    captions = _Captions()
    for row in rows:
        if row.frame_id is not None:
            known = row.frame_id in frames
            kept = captions.by_frame.setdefault(row.frame_id, row.caption) if known else None
        else:
            known = row.video in videos
            times = captions.by_video.setdefault(str(row.video), {}) if known else {}
            kept = times.setdefault(int(row.pts_ms or 0), row.caption)
        if not known:
            bad.add("unknown frame" if row.frame_id is not None else "unknown video", row.where)
        elif kept != row.caption:
            bad.add("another caption for the same frame or time", row.where)
    return captions
