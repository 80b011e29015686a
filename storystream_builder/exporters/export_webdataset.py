"""WebDataset shards: `<split>-000000.tar` with a story, or a chunk of one, a sample: `<key>.json`, `<key>.00.jpg`, ...

The same stories make the same bytes: times, owners and order are fixed.
"""

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from story_model.dataset import Story, chunks
from story_model.manifest import publish
from storystream_builder.exporters.export_published import ending_of

_KEY = re.compile(r"[0-9A-Za-z_-]{1,80}")
_BLOCK = tarfile.BLOCKSIZE


def write_shards(
    out: Path, splits: Mapping[str, Sequence[Story]], *, chunk_length: int | None, shard_bytes: int
) -> dict[str, int]:
    """Write all shards; gives counts.

    Raises:
        ValueError: an id cannot be a sample's key.
    """
    counts: Counter[str] = Counter()
    for split, stories in splits.items():
        with _Shards(out, split, shard_bytes) as shards:
            for story in tqdm(stories, desc=split, unit="story"):
                counts["stories"] += 1
                counts["pairs after the last chunk, left out"] += len(story.captions)
                for view in chunks([story], chunk_length) if chunk_length else [story]:
                    shards.add(_sample(view))
                    counts[f"samples {split}"] += 1
                    counts["pairs"] += len(view.captions)
                    counts["pairs after the last chunk, left out"] -= len(view.captions)
        counts["shards"] += shards.number
    return dict(counts)


def _sample(story: Story) -> list[tuple[str, bytes]]:
    key = story.story_id.replace("/", "-")  # a chunk's id is <story>/<number>
    if not _KEY.fullmatch(key):
        raise ValueError(f"story id {story.story_id!r} cannot be a key: letters, digits, - and _ only, at most 80")
    text = {
        "story_id": story.story_id,
        "subset": story.subset,
        "split": story.split,
        "episode_id": story.episode_id,
        "captions": story.captions,
        "pts_ms": story.pts_ms,
        "image_sha256": story.image_sha256,
    }
    digits = max(2, len(str(len(story.captions) - 1)))
    files = [(f"{key}.json", json.dumps(text, ensure_ascii=False).encode())]
    return files + [(f"{key}.{at:0{digits}d}.{ending_of(data)}", data) for at, data in enumerate(story.images)]


class _Shards:
    """Tar files of one split; each gets its name when it is whole."""

    def __init__(self, folder: Path, split: str, shard_bytes: int) -> None:
        self._folder, self._split, self._shard_bytes = folder, split, shard_bytes
        self.number = 0
        self._tar: tarfile.TarFile | None = None
        self._size = 0

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        elif self._tar is not None:
            self._tar.close()

    def add(self, sample: Sequence[tuple[str, bytes]]) -> None:
        """Add a sample, in a new shard where it would not fit."""
        size = sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK for _, data in sample)
        if self._tar is not None and self._size + size + tarfile.RECORDSIZE > self._shard_bytes:
            self._finish()
        if self._tar is None:
            self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - kept open
            self._size = 0
        for name, data in sample:
            entry = tarfile.TarInfo(name)  # its time, owner and group are 0
            entry.size, entry.mode = len(data), 0o644
            self._tar.addfile(entry, io.BytesIO(data))
        self._size += size

    @property
    def _temporary(self) -> Path:
        return self._folder / f".{self._split}-{self.number:06d}.tmp"

    def _finish(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        publish(self._temporary, self._folder / f"{self._split}-{self.number:06d}.tar")
        self._tar = None
        self.number += 1
