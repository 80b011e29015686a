"""Example pictures of what was dropped and why, for the dataset's card: a strip a reason."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from storystream_builder.decoding.pictures import jpeg
from storystream_builder.frames import KEPT, Episode, Frame, images_in, reason_of
from storystream_builder.keyframes import LESS_SHARP

FOLDER = "examples"
_PER_REASON = 6
_HEIGHT, _GAP = 90, 4
_QUALITY = 85
_UNTOLD = (KEPT, LESS_SHARP)


def write_examples(out: Path, episodes: Sequence[Episode]) -> dict[str, str]:
    """Write a strip of pictures for each reason for which frames were dropped: its path in the dataset, by reason."""
    chosen = _chosen([frame for episode in episodes for frame in episode.frames])
    pictures = _pictures(episodes, {frame.frame_id for frames in chosen.values() for frame in frames})
    written = {}
    for reason, frames in sorted(chosen.items()):
        name = f"{FOLDER}/{re.sub(r'[^a-z]+', '-', reason.lower()).strip('-')}.jpg"
        (out / FOLDER).mkdir(exist_ok=True)
        (out / name).write_bytes(jpeg(_strip([pictures[frame.frame_id] for frame in frames]), _QUALITY))
        written[reason] = name
    return written


def _chosen(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    """Spread the examples of each reason over all frames that it holds for."""
    by_reason: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.status not in _UNTOLD:
            by_reason.setdefault(reason_of(frame.status), []).append(frame)
    return {reason: found[:: -(-len(found) // _PER_REASON)] for reason, found in by_reason.items()}


def _pictures(episodes: Sequence[Episode], wanted: set[str]) -> Mapping[str, Image.Image]:
    found = {}
    for episode in episodes:
        names = [frame.frame_id for frame in episode.frames if frame.frame_id in wanted]
        images = images_in(episode.folder, names) if names else {}
        for name in names:
            picture = Image.open(io.BytesIO(images[name]))
            picture.draft("RGB", (2 * _HEIGHT, 2 * _HEIGHT))
            width = max(1, round(picture.width * _HEIGHT / picture.height))
            found[name] = picture.convert("RGB").resize((min(width, 4 * _HEIGHT), _HEIGHT), Image.Resampling.BOX)
    return found


def _strip(pictures: Sequence[Image.Image]) -> Image.Image:
    strip = Image.new("RGB", (sum(picture.width + _GAP for picture in pictures) - _GAP, _HEIGHT), "white")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + _GAP
    return strip
