"""One pass over one episode, in a process of its own: cuts, candidates, scores, hashes.

`python -m storystream_builder.decoding.decode VIDEO FOLDER JOB` is what `episodes.py` starts. A decoder that crashes,
hangs or eats memory takes this process down and nothing else. Results in FOLDER: `episode.json`, `candidates.parquet`.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from story_model.build_config import CandidatesConfig
from story_model.manifest import write_atomically
from storystream_builder.children import end_with_parent, limit_memory
from storystream_builder.decoding.candidates import Candidate, Candidates, Contrasts, as_candidates
from storystream_builder.decoding.glimpses import Glimpse, glimpse
from storystream_builder.decoding.shots import ShotDetector
from storystream_builder.decoding.sound_frames import Tally, check_losses, frame_rate_of, sound_frames
from storystream_builder.parquet import write_rows
from storystream_builder.records import (
    CANDIDATES,
    EPISODE,
    FRAMES,
    TIMING,
    DecodeJob,
    DecodeKey,
    EpisodeRecord,
    ShotRecord,
    Timing,
)
from storystream_builder.videos import OpenVideo, SourceError, open_video

_ROW_GROUP_MB = 16.0
_FADE_REACH_S = 0.25


@dataclass(frozen=True)
class ClosedShot:
    """A shot that has ended, with the frames that might stand for it."""

    record: ShotRecord
    frames: list[tuple[int, Any]]
    """(timestamp, decoded frame)"""
    fades: list[float]
    stretches: int

    def candidates(self, *, pixel_aspect: Fraction, config: CandidatesConfig) -> list[Candidate]:
        """Score the frames and make pictures of them."""
        return as_candidates(
            self.frames,
            self.fades,
            shot_number=self.record.shot_id,
            stretches=self.stretches,
            pixel_aspect=float(pixel_aspect),
            config=config,
        )


class RunningShot:
    """The shot that no cut has ended yet: its candidates, how it moves, how its light comes and goes."""

    def __init__(self, config: CandidatesConfig, *, time_base: Fraction, lag: int) -> None:
        """Take the stream's time base, and how many frames late a cut may be told."""
        self.start = 0
        self._config, self._time_base = config, time_base
        self._candidates, self._contrasts = Candidates(config.per_shot, lag), Contrasts()
        self._changes: list[tuple[int, float]] = []

    def add(self, seen: Glimpse, frame: Any) -> None:  # noqa: ANN401 - PyAV has no types
        """Take the next frame."""
        self._changes.append((seen.pts, seen.luma_change))
        self._contrasts.add(seen.pts, seen.contrast)
        self._candidates.offer(seen.pts, frame)

    def close(self, number: int, cut: int) -> ClosedShot:
        """End the shot at a cut; what is later belongs to the next one."""
        start, self.start = self.start, cut
        seconds = float((cut - start) * self._time_base)
        stretches = max(1, int(seconds / self._config.every_s))
        margin, reach = (round(span / self._time_base) for span in (self._config.margin_s, _FADE_REACH_S))
        frames = self._candidates.close(cut, start=start, margin=margin, stretches=stretches)
        fades = [self._contrasts.fade_at(pts, reach, start=start, cut=cut) for pts, _ in frames]
        inside = [change for pts, change in self._changes if start < pts < cut]
        self._changes = [(pts, change) for pts, change in self._changes if pts >= cut]
        self._contrasts.forget(cut)
        record = ShotRecord(
            shot_id=number,
            start_ms=_milliseconds(start, self._time_base),
            end_ms=_milliseconds(cut, self._time_base),
            start_pts=start,
            end_pts=cut,
            motion=round(sum(inside) / max(1e-3, seconds), 3),
            num_candidates=len(frames),
        )
        return ClosedShot(record, frames, fades, stretches)


def decode_episode(video_path: Path, out_dir: Path, job: DecodeJob) -> EpisodeRecord:
    """Decode a video once and write what was found; a video that cannot be used is recorded with its fault.

    With more than one thread pictures are made while decoding goes on; what is written is the same.
    """
    key, started, tally = job.key, time.perf_counter(), Tally()
    record = EpisodeRecord(episode_id=key.episode_id, source_sha256=key.source_sha256)
    try:
        with (
            video_path.open("rb") as file,
            open_video(
                file, threads=job.threads, max_pixels=key.max_pixels, max_duration_s=key.max_duration_s
            ) as video,
        ):
            _describe(video, record)
            shots = _shots(video, record, tally, key)
            rows = _rows(shots, record, key.candidates, is_parallel=job.threads > 1)
            write_rows(out_dir / FRAMES, rows, CANDIDATES, row_group_mb=_ROW_GROUP_MB)
    except SourceError as error:
        record.fault, record.reason, record.shots = error.fault, str(error), []
        write_rows(out_dir / FRAMES, [], CANDIDATES, row_group_mb=_ROW_GROUP_MB)
    write_atomically(out_dir / EPISODE, record.model_dump_json(indent=1).encode())
    timing = Timing(seconds=time.perf_counter() - started, decoder_seconds=tally.decoder_seconds)
    write_atomically(out_dir / TIMING, timing.model_dump_json().encode())
    return record


def _describe(video: OpenVideo, record: EpisodeRecord) -> None:
    stream = video.stream
    record.codec, record.time_base = video.codec, str(Fraction(stream.time_base))
    record.width, record.height = stream.codec_context.width, stream.codec_context.height
    record.pixel_aspect = str(Fraction(stream.sample_aspect_ratio or 1))


def _shots(video: OpenVideo, record: EpisodeRecord, tally: Tally, key: DecodeKey) -> Iterator[ClosedShot]:
    """Read all frames and yield the shots; fill the record's counts at the end."""
    time_base = Fraction(record.time_base)
    detector = ShotDetector(key.shots, time_base=time_base, frame_rate=frame_rate_of(video))
    running = RunningShot(key.candidates, time_base=time_base, lag=detector.lag)
    number, seen = 0, None
    for pts, frame in sound_frames(video, tally, key):
        if seen is None:
            record.rotation = round(frame.rotation) % 360
        seen = glimpse(pts, frame, seen)
        running.add(seen, frame)
        for cut in detector.feed(seen, frame):
            yield running.close(number, cut)
            number += 1
    for cut in detector.finish():
        yield running.close(number, cut)
        number += 1
    check_losses(video, record, tally, key)
    if record.shots and (tally.end - running.start) * time_base < key.shots.min_shot_s:
        record.shots[-1].end_ms, record.shots[-1].end_pts = record.duration_ms, tally.end
    else:
        yield running.close(number, tally.end)


def _rows(
    shots: Iterator[ClosedShot], record: EpisodeRecord, config: CandidatesConfig, *, is_parallel: bool
) -> Iterator[tuple[dict[str, object], int]]:
    """Record the shots and make their candidates' rows, each with its weight in bytes.

    In parallel, those of one shot are made while the next is decoded.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: Future[list[Candidate]] | None = None
        for shot in shots:
            record.shots.append(shot.record)
            make = partial(shot.candidates, pixel_aspect=Fraction(record.pixel_aspect), config=config)
            if not is_parallel:
                yield from _weighed(make(), record)
                continue
            if waiting is not None:
                yield from _weighed(waiting.result(), record)
            waiting = pool.submit(make)
        if waiting is not None:
            yield from _weighed(waiting.result(), record)


def _weighed(candidates: Sequence[Candidate], record: EpisodeRecord) -> Iterator[tuple[dict[str, object], int]]:
    return ((_row(candidate, record), len(candidate.image)) for candidate in candidates)


def _row(candidate: Candidate, record: EpisodeRecord) -> dict[str, object]:
    pts_ms = _milliseconds(candidate.pts, Fraction(record.time_base))
    frame_id = f"{record.episode_id}-{pts_ms:09d}"
    return {
        "frame_id": frame_id,
        "episode_id": record.episode_id,
        "shot_id": candidate.shot_number,
        "stretch": candidate.stretch,
        "pts": candidate.pts,
        "time_base": record.time_base,
        "pts_ms": pts_ms,
        "sharpness": candidate.score.sharpness,
        "luma": candidate.score.luma,
        "contrast": candidate.score.contrast,
        "text": candidate.score.text,
        "fade": candidate.fade,
        "phash": candidate.phash,
        "width": candidate.width,
        "height": candidate.height,
        "image": {"bytes": candidate.image, "path": f"{frame_id}.jpg"},
    }


def _milliseconds(pts: int, time_base: Fraction) -> int:
    return round(1000 * pts * time_base)


class _NoPandas:
    """Keeps pandas out of the process: pyarrow would load it (half a second) to ask what a list is."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse one package; the others are found by the next finder."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def main() -> None:
    """Run the job that the command line describes."""
    video, out_dir, text = sys.argv[1:4]
    job = DecodeJob.model_validate_json(text)
    end_with_parent()
    sys.meta_path.insert(0, _NoPandas())
    limit_memory(job.max_memory_gb)
    cv2.setNumThreads(1)
    decode_episode(Path(video), Path(out_dir), job)


if __name__ == "__main__":
    main()
