"""One pass over one episode, in a process of its own: cuts, candidates, keyframes.

`python -m storystream_builder.decode VIDEO FOLDER JOB` is what `episodes.py` starts. A decoder that crashes, hangs or
eats memory takes this process down and nothing else. Results: `episode.json` and `candidates.parquet` in FOLDER.
"""

import os
import resource
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import pyarrow as pa

from story_model.manifest import write_atomically
from storystream_builder.keyframes import Candidates, KeyframePicker, ScoredFrame
from storystream_builder.parquet import write_table
from storystream_builder.pictures import Pixels, thumbnail
from storystream_builder.records import (
    CANDIDATES,
    EPISODE,
    FRAMES,
    DecodeJob,
    DecodeKey,
    EpisodeRecord,
    ShotRecord,
)
from storystream_builder.shots import Shot, ShotDetector, luma_change
from storystream_builder.videos import OpenVideo, SourceError, open_video

_ROW_GROUP_MB = 16.0


@dataclass
class _Tally:
    """Frames seen so far; times in the stream's time base from its start."""

    frames: int = 0
    corrupt: int = 0
    first: int | None = None
    """What the file calls the time of the first frame."""
    end: int = 0


@dataclass
class _RunningShot:
    """The shot that no cut has ended yet."""

    start: int = 0
    changes: list[tuple[int, float]] = field(default_factory=list)

    def close(self, number: int, cut: int, time_base: Fraction) -> Shot:
        """End the shot at a cut; changes after it belong to the next one."""
        inside = [change for pts, change in self.changes if self.start < pts < cut]
        seconds = max(1e-3, float((cut - self.start) * time_base))
        shot = Shot(number, self.start, cut, round(sum(inside) / seconds, 3))
        self.changes = [(pts, change) for pts, change in self.changes if pts >= cut]
        self.start = cut
        return shot


def decode_episode(video_path: Path, out_dir: Path, job: DecodeJob) -> EpisodeRecord:
    """Decode a video once and write what was found; a video that cannot be used is recorded with its fault."""
    key = job.key
    record = EpisodeRecord(episode_id=key.episode_id, source_sha256=key.source_sha256)
    frames: list[ScoredFrame] = []
    time_base = Fraction(1, 1000)
    try:
        with (
            video_path.open("rb") as file,
            open_video(
                file, threads=job.threads, max_pixels=key.max_pixels, max_duration_s=key.max_duration_s
            ) as video,
        ):
            time_base = Fraction(video.stream.time_base)
            record.codec = video.codec
            record.width, record.height = video.stream.codec_context.width, video.stream.codec_context.height
            frames = _one_pass(video, record, key)
    except SourceError as error:
        record.fault, record.reason = error.fault, str(error)
        frames, record.shots = [], []
    table = pa.Table.from_pylist([_row(frame, key.episode_id, time_base) for frame in frames], schema=CANDIDATES)
    write_table(out_dir / FRAMES, table, row_group_mb=_ROW_GROUP_MB)
    write_atomically(out_dir / EPISODE, record.model_dump_json(indent=1).encode())
    return record


def _one_pass(video: OpenVideo, record: EpisodeRecord, key: DecodeKey) -> list[ScoredFrame]:
    """Read all frames; fill the record's counts and shots, and return the scored candidates in time order."""
    time_base = Fraction(video.stream.time_base)
    frame_rate = Fraction(video.stream.average_rate or video.stream.guessed_rate or 25)
    detector = ShotDetector(key.shots, time_base=time_base, frame_rate=frame_rate)
    picker = KeyframePicker(key.keyframes, pixel_aspect=float(video.stream.sample_aspect_ratio or 1))
    candidates = Candidates(key.keyframes.candidates_per_shot)
    margin = round(key.keyframes.margin_s / time_base)
    running, tally, scored = _RunningShot(), _Tally(), list[ScoredFrame]()
    before: Pixels | None = None

    def close(cut: int) -> None:
        start = running.start
        shot = running.close(len(record.shots), cut, time_base)
        stretches = max(1, int((cut - start) * time_base / key.keyframes.every_s))
        offered = candidates.close(cut, start=start, margin=margin, stretches=stretches)
        picked = picker.pick(shot.number, offered, stretches=stretches)
        scored.extend(picked)
        record.shots.append(_shot_record(shot, picked, time_base))

    for pts, frame in _frames(video, tally, key):
        small = thumbnail(frame)
        running.changes.append((pts, luma_change(before, small)))
        before = small
        candidates.offer(pts, frame)
        for cut in detector.feed(pts, small):
            close(cut)
    for cut in detector.finish():
        close(cut)
    _check_losses(video, record, tally, key)
    if record.shots and (tally.end - running.start) * time_base < key.shots.min_shot_s:
        record.shots[-1].end_ms = record.duration_ms
    else:
        close(tally.end)
    return scored


def _frames(video: OpenVideo, tally: _Tally, key: DecodeKey) -> Iterator[tuple[int, Any]]:
    """Yield (timestamp from the start, frame) for sound frames; corrupt ones are counted and left out.

    After a packet that cannot be decoded nothing is trusted until the next key frame.
    """
    time_base, duration = Fraction(video.stream.time_base), _frame_duration(video)
    last, trusted = -1, True
    for packet in _packets(video, tally):
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            tally.corrupt += 1
            tally.frames += 1
            trusted = False
            continue
        for frame in decoded:
            tally.frames += 1
            trusted = (trusted or frame.key_frame) and not frame.is_corrupt
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None:
                stamp = (tally.first or 0) + last + duration
            tally.first = stamp if tally.first is None else tally.first
            pts = stamp - tally.first
            if frame.width * frame.height > key.max_pixels:
                raise SourceError("too large", f"a frame of {frame.width}x{frame.height}")
            if pts * time_base > key.max_duration_s:
                raise SourceError("too long", f"over {key.max_duration_s} s (build.decode.max_duration_s)")
            if not trusted or pts <= last:
                tally.corrupt += 1
                continue
            last, tally.end = pts, pts + duration
            yield pts, frame


def _packets(video: OpenVideo, tally: _Tally) -> Iterator[Any]:
    """Yield the stream's packets; a container that breaks off ends them."""
    packets = video.container.demux(video.stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            tally.corrupt += 1
            return
        yield packet


def _frame_duration(video: OpenVideo) -> int:
    rate = video.stream.average_rate or video.stream.guessed_rate or 25
    return max(1, round(1 / Fraction(rate) / Fraction(video.stream.time_base)))


def _check_losses(video: OpenVideo, record: EpisodeRecord, tally: _Tally, key: DecodeKey) -> None:
    """Fill the counts; refuse a video of which too much is corrupt or missing, note a smaller loss.

    Raises:
        SourceError: corrupt, truncated, or without a single sound frame.
    """
    decoded_s = float(tally.end * Fraction(video.stream.time_base))
    record.num_frames, record.num_corrupt = tally.frames, tally.corrupt
    record.duration_ms = round(1000 * decoded_s)
    corrupt = tally.corrupt / max(1, tally.frames)
    if tally.end == 0 or corrupt > key.max_corrupt_ratio:
        raise SourceError("corrupt", f"{tally.corrupt} of {tally.frames} frames cannot be trusted")
    late_s = max(0.0, float((tally.first or 0) * Fraction(video.stream.time_base)))
    claimed_s = max((video.duration_s or 0.0) - late_s, decoded_s)
    missing = 1 - decoded_s / claimed_s
    lost = f"{decoded_s:.1f} of {claimed_s:.1f} s could be decoded"
    if missing > key.max_corrupt_ratio:
        raise SourceError("truncated", lost)
    if missing > 0.02:
        record.note = f"truncated: {lost}; these are used"
    elif tally.corrupt:
        record.note = f"corrupt: {tally.corrupt} of {tally.frames} frames; the others are used"


def _shot_record(shot: Shot, picked: list[ScoredFrame], time_base: Fraction) -> ShotRecord:
    reasons = sorted({frame.status for frame in picked} - {"a sharper one is kept"}) or ["no sound frame"]
    return ShotRecord(
        shot_id=shot.number,
        start_ms=round(1000 * shot.start * time_base),
        end_ms=round(1000 * shot.end * time_base),
        motion=shot.motion,
        num_candidates=len(picked),
        outcome="kept" if "kept" in reasons else ", ".join(reasons),
    )


def _row(frame: ScoredFrame, episode_id: str, time_base: Fraction) -> dict[str, object]:
    pts_ms = round(1000 * frame.pts * time_base)
    frame_id = f"{episode_id}-{pts_ms:09d}"
    return {
        "frame_id": frame_id,
        "episode_id": episode_id,
        "shot_id": frame.shot_number,
        "pts": frame.pts,
        "time_base": str(time_base),
        "pts_ms": pts_ms,
        "status": frame.status,
        "sharpness": frame.score.sharpness,
        "luma": frame.score.luma,
        "contrast": frame.score.contrast,
        "phash": frame.phash,
        "width": frame.width,
        "height": frame.height,
        "image": {"bytes": frame.image, "path": f"{frame_id}.jpg"} if frame.image else None,
    }


def _limit_memory(gigabytes: float) -> None:
    """Cap the address space at what the libraries take already plus an allowance; the kernel tells only on Linux."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        limit = taken + int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: the pipe on standard input closes then."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Run the job that the command line describes."""
    video, out_dir, text = sys.argv[1:4]
    job = DecodeJob.model_validate_json(text)
    _end_with_parent()
    _limit_memory(job.max_memory_gb)
    cv2.setNumThreads(1)
    decode_episode(Path(video), Path(out_dir), job)


if __name__ == "__main__":
    main()
