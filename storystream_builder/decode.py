"""One pass over one episode, in a process of its own: cuts, candidates, scores, hashes.

`python -m storystream_builder.decode VIDEO FOLDER JOB` is what `episodes.py` starts. A decoder that crashes, hangs or
eats memory takes this process down and nothing else. Results: `episode.json` and `candidates.parquet` in FOLDER.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa

from story_model.build_config import CandidatesConfig
from story_model.manifest import write_atomically
from storystream_builder.candidates import Candidate, Candidates, Contrasts, as_candidates
from storystream_builder.children import end_with_parent, limit_memory
from storystream_builder.parquet import write_table
from storystream_builder.pictures import Pixels, thumbnail
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
from storystream_builder.shots import ShotDetector, luma_change
from storystream_builder.sound_frames import Tally, check_losses, frame_rate_of, sound_frames
from storystream_builder.videos import OpenVideo, SourceError, open_video

_ROW_GROUP_MB = 16.0
_FADE_REACH_S = 0.25


class RunningShot:
    """The shot that no cut has ended yet: its candidates, how it moves, how its light comes and goes."""

    def __init__(self, config: CandidatesConfig, *, time_base: Fraction, pixel_aspect: Fraction) -> None:
        """Take the stream's time base and its pixel aspect ratio (width over height of one pixel)."""
        self.start = 0
        self._config, self._time_base, self._pixel_aspect = config, time_base, pixel_aspect
        self._candidates, self._contrasts = Candidates(config.per_shot), Contrasts()
        self._changes: list[tuple[int, float]] = []
        self._before: Pixels | None = None

    def add(self, pts: int, frame: Any, small: Pixels) -> None:  # noqa: ANN401 - PyAV has no types
        """Take the next frame and its thumbnail."""
        self._changes.append((pts, luma_change(self._before, small)))
        self._contrasts.add(pts, cv2.meanStdDev(small)[1].item(0))
        self._before = small
        self._candidates.offer(pts, frame)

    def close(self, number: int, cut: int) -> tuple[ShotRecord, list[Candidate]]:
        """End the shot at a cut; what is later belongs to the next one."""
        start, self.start = self.start, cut
        seconds = float((cut - start) * self._time_base)
        stretches = max(1, int(seconds / self._config.every_s))
        margin, reach = (round(span / self._time_base) for span in (self._config.margin_s, _FADE_REACH_S))
        frames = self._candidates.close(cut, start=start, margin=margin, stretches=stretches)
        candidates = as_candidates(
            frames,
            [self._contrasts.fade_at(pts, reach, start=start, cut=cut) for pts, _ in frames],
            shot_number=number,
            stretches=stretches,
            pixel_aspect=float(self._pixel_aspect),
            config=self._config,
        )
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
            num_candidates=len(candidates),
        )
        return record, candidates


def decode_episode(video_path: Path, out_dir: Path, job: DecodeJob) -> EpisodeRecord:
    """Decode a video once and write what was found; a video that cannot be used is recorded with its fault."""
    key, started, tally = job.key, time.perf_counter(), Tally()
    record = EpisodeRecord(episode_id=key.episode_id, source_sha256=key.source_sha256)
    candidates: list[Candidate] = []
    try:
        with (
            video_path.open("rb") as file,
            open_video(
                file, threads=job.threads, max_pixels=key.max_pixels, max_duration_s=key.max_duration_s
            ) as video,
        ):
            _describe(video, record)
            for shot, found in _shots(video, record, tally, key):
                record.shots.append(shot)
                candidates += found
    except SourceError as error:
        record.fault, record.reason = error.fault, str(error)
        candidates, record.shots = [], []
    write_table(out_dir / FRAMES, _table(candidates, record), row_group_mb=_ROW_GROUP_MB)
    write_atomically(out_dir / EPISODE, record.model_dump_json(indent=1).encode())
    timing = Timing(seconds=time.perf_counter() - started, decoder_seconds=tally.decoder_seconds)
    write_atomically(out_dir / TIMING, timing.model_dump_json().encode())
    return record


def _describe(video: OpenVideo, record: EpisodeRecord) -> None:
    stream = video.stream
    record.codec, record.time_base = video.codec, str(Fraction(stream.time_base))
    record.width, record.height = stream.codec_context.width, stream.codec_context.height
    record.pixel_aspect = str(Fraction(stream.sample_aspect_ratio or 1))


def _shots(
    video: OpenVideo, record: EpisodeRecord, tally: Tally, key: DecodeKey
) -> Iterator[tuple[ShotRecord, list[Candidate]]]:
    """Read all frames and yield the shots with their scored candidates; fill the record's counts at the end."""
    time_base = Fraction(record.time_base)
    detector = ShotDetector(key.shots, time_base=time_base, frame_rate=frame_rate_of(video))
    running = RunningShot(key.candidates, time_base=time_base, pixel_aspect=Fraction(record.pixel_aspect))
    number = 0
    for pts, frame in sound_frames(video, tally, key):
        record.rotation = round(frame.rotation) % 360
        small = thumbnail(frame)
        running.add(pts, frame, small)
        for cut in detector.feed(pts, small):
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


def _table(candidates: Sequence[Candidate], record: EpisodeRecord) -> pa.Table:
    return pa.Table.from_pylist([_row(candidate, record) for candidate in candidates], schema=CANDIDATES)


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


def main() -> None:
    """Run the job that the command line describes."""
    video, out_dir, text = sys.argv[1:4]
    job = DecodeJob.model_validate_json(text)
    end_with_parent()
    limit_memory(job.max_memory_gb)
    cv2.setNumThreads(1)
    decode_episode(Path(video), Path(out_dir), job)


if __name__ == "__main__":
    main()
