"""Small pictures beside the pages that show them: JPEG, bounded, under names that no data can choose."""

import hashlib
import io
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

MAX_PIXELS = 4096 * 2304
"""Larger pictures are not decoded: no build stores them."""
_QUALITY = 82
_PLAIN = re.compile(r"[a-z0-9_-]{1,80}")


def file_stem(name: str) -> str:
    """Name a file for something that data names: as it is where that is plain, else by its digest."""
    return name if _PLAIN.fullmatch(name) else hashlib.sha256(name.encode(errors="replace")).hexdigest()[:20]


def shrink(data: bytes, side: int) -> Image.Image | None:
    """Decode a picture to at most `side` pixels in width and height; none where it cannot be."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return None
            picture.draft("RGB", (side, side))
            picture.thumbnail((side, side))
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


class Thumbnails:
    """A folder of small pictures, one folder an episode in it."""

    def __init__(self, folder: Path, *, side: int) -> None:
        """Take where to write, and the longest side in pixels."""
        self._folder, self._side = folder, side
        self.unreadable = 0
        """Pictures that could not be decoded, so far."""

    def clear(self) -> None:
        """Take away what was written before."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, episode_id: str, pictures: Mapping[str, bytes]) -> dict[str, str]:
        """Write an episode's pictures; gives the path of each from the folder's parent, by frame id."""
        folder = self._folder / file_stem(episode_id)
        folder.mkdir(parents=True, exist_ok=True)
        written = {}
        for frame_id, data in pictures.items():
            small = shrink(data, self._side)
            if small is None:
                self.unreadable += 1
                continue
            path = folder / f"{file_stem(frame_id)}.jpg"
            small.save(path, "JPEG", quality=_QUALITY)
            written[frame_id] = path.relative_to(self._folder.parent).as_posix()
        return written
