"""A keyframe on its way into a story: what decoding found, then what becomes of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.records import CANDIDATES, FRAMES, EpisodeRecord, ShotRecord, damaged, read_record

KEPT = "kept"


@dataclass(frozen=True)
class Frame:
    """A scored candidate with its shot; kept until a reason is found not to."""

    frame_id: str
    episode_id: str
    shot: ShotRecord
    pts: int
    time_base: str
    pts_ms: int
    stretch: int
    """Which part of its shot it lies in."""
    sharpness: float
    luma: float
    contrast: float
    fade: float
    text: float
    phash: int
    width: int
    height: int
    status: str = KEPT
    """`kept`, or why not."""
    appeal: float | None = None
    caption: str | None = None
    caption_status: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the frame is still on its way."""
        return self.status == KEPT

    def dropped(self, reason: str) -> "Frame":
        """Take the frame out, with the reason."""
        return replace(self, status=reason)


@dataclass(frozen=True)
class Episode:
    """A decoded episode: where it came from, what one pass found, its candidates in time order."""

    outcome: EpisodeOutcome
    record: EpisodeRecord
    folder: Path
    frames: tuple[Frame, ...]

    @property
    def episode_id(self) -> str:
        """The name that its content gives it."""
        return self.record.episode_id

    @property
    def kept(self) -> list[Frame]:
        """The frames that are still on their way."""
        return [frame for frame in self.frames if frame.is_kept]

    @property
    def has_lines(self) -> bool:
        """Whether anything is spoken, as far as known."""
        return bool(self.outcome.transcript.lines)

    def with_frames(self, changed: Mapping[str, Frame]) -> "Episode":
        """Replace frames by their new state, by id."""
        return replace(self, frames=tuple(changed.get(frame.frame_id, frame) for frame in self.frames))

    def images(self, *, dropped: bool = False) -> dict[str, bytes]:
        """Read the pictures of the frames that are still on their way, or of all candidates, by frame id."""
        return images_in(self.folder, [frame.frame_id for frame in (self.frames if dropped else self.kept)])


def images_in(folder: Path, frame_ids: Collection[str]) -> dict[str, bytes]:
    """Read the pictures of some candidates of a decoded episode, by frame id; a row group at a time is in memory.

    Raises:
        ValueError: what decoding left is damaged.
    """
    wanted, found = pa.array(frame_ids, pa.string()), dict[str, bytes]()
    try:
        with pq.ParquetFile(folder / FRAMES, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                if len(found) == len(wanted):
                    break
                names = file.read_row_group(number, columns=["frame_id"])
                if pc.any(pc.is_in(names["frame_id"], wanted)).as_py():
                    table = file.read_row_group(number, columns=["frame_id", "image"])
                    rows = table.filter(pc.is_in(table["frame_id"], wanted)).to_pylist()
                    found |= {row["frame_id"]: row["image"]["bytes"] for row in rows}
    except (OSError, pa.ArrowException) as error:
        raise damaged(folder, error) from None
    return found


def load_episode(outcome: EpisodeOutcome, folder: Path) -> Episode:
    """Read a decoded episode without its pictures.

    Raises:
        ValueError: what decoding left is damaged.
    """
    record = read_record(folder)
    rows = _stored(folder, [name for name in CANDIDATES.names if name != "image"]).to_pylist()
    frames = [
        Frame(shot=record.shots[row["shot_id"]], **{k: v for k, v in row.items() if k != "shot_id"}) for row in rows
    ]
    return Episode(outcome, record, folder, tuple(frames))


def _stored(folder: Path, columns: list[str]) -> pa.Table:
    try:
        return pq.read_table(folder / FRAMES, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise damaged(folder, error) from None


def reason_of(status: str) -> str:
    """Give the kind of a status: what stands before its details."""
    return status.split(":")[0]
