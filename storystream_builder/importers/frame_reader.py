"""Pictures out of a frames table by id: row groups that were read last are held, so memory has a bound."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from storystream_builder.frames import KEPT

_HELD_BYTES = 64 << 20


class FrameReader:
    """Reads rows of the frames table by id; row groups read last are held, up to a bound."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Learn where each picture lies, without reading any."""
        self._files = [pq.ParquetFile(path, page_checksum_verification=True) for path in paths]
        self._places: dict[str, tuple[int, int, int]] = {}
        self._held: OrderedDict[tuple[int, int], list[dict[str, Any]]] = OrderedDict()
        for number, file in enumerate(self._files):
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["frame_id", "status"]).to_pydict()
                for row, (frame_id, status) in enumerate(zip(table["frame_id"], table["status"], strict=True)):
                    if status == KEPT:
                        self._places[frame_id] = (number, group, row)

    def __contains__(self, frame_id: object) -> bool:
        return frame_id in self._places

    def read(self, frame_id: str) -> dict[str, Any]:
        """Read a frame with its picture."""
        number, group, row = self._places[frame_id]
        return self._group(number, group)[row]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _group(self, number: int, group: int) -> list[dict[str, Any]]:
        place = number, group
        if place not in self._held:
            columns = ["frame_id", "pts_ms", "image", "image_sha256", "width", "height", "phash"]
            self._held[place] = self._files[number].read_row_group(group, columns=columns).to_pylist()
            while len(self._held) > 1 and sum(_weight(rows) for rows in self._held.values()) > _HELD_BYTES:
                self._held.popitem(last=False)
        self._held.move_to_end(place)
        return self._held[place]


def _weight(rows: Sequence[dict[str, Any]]) -> int:
    return sum(len(row["image"]["bytes"]) for row in rows if row["image"])
