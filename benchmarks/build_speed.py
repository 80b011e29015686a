"""One pass over real clips against pure decoding and against PySceneDetect, for `build.py`."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av

from benchmarks.build_accuracy import pyscenedetect
from story_model.build_config import BuildConfig
from storystream_builder.decoding.decode import decode_episode
from storystream_builder.records import DecodeJob, DecodeKey, EpisodeRecord


@dataclass
class Times:
    """Seconds of each side on each clip, one a round: wall time, and processor time of this process."""

    wall: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    cpu: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def take(self, side: str, clip: str, work: Callable[[], object]) -> None:
        """Time one side on one clip."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall.setdefault((side, clip), []).append(time.perf_counter() - wall)
        self.cpu.setdefault((side, clip), []).append(time.process_time() - cpu)

    def ratio(self, over: str, under: str, clips: Sequence[str], *, cpu: bool = False) -> float:
        """Give one side's time over another's, both summed over the clips within a round; the median round."""
        taken = self.cpu if cpu else self.wall
        rounds = range(len(taken[over, clips[0]]))
        sums = [[sum(taken[side, clip][number] for clip in clips) for side in (over, under)] for number in rounds]
        return statistics.median(one / other for one, other in sums)


def job_for(episode_id: str, threads: int) -> DecodeJob:
    """Describe a pass with the default configuration."""
    config = BuildConfig()
    key = DecodeKey(
        episode_id=episode_id,
        source_sha256="0",
        max_pixels=config.decode.max_pixels,
        max_duration_s=config.decode.max_duration_s,
        max_corrupt_ratio=config.decode.max_corrupt_ratio,
        shots=config.shots,
        candidates=config.candidates,
    )
    return DecodeJob(key=key, threads=threads, max_memory_gb=config.decode.max_memory_gb)


def decode_only(video: Path, threads: int) -> int:
    """Demultiplex and decode all frames and do nothing with them; return their number."""
    with video.open("rb") as file, av.open(file) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "AUTO", threads
        return sum(len(packet.decode()) for packet in container.demux(stream))


def one_pass(video: Path, threads: int, folder: Path | None = None) -> EpisodeRecord:
    """Do all that the builder does with a video: frames, cuts, candidates, scores, hashes, stored pictures."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return decode_episode(video, folder, job_for(f"e-{video.stem}", threads))
    with tempfile.TemporaryDirectory() as out:
        return decode_episode(video, Path(out), job_for(f"e-{video.stem}", threads))


def _our_command(video: Path, threads: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "storystream_builder.decoding.decode", str(video), out]
        command.append(job_for("e", threads).model_dump_json())
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:  # it ends when its input is closed
            code = process.wait()
    assert code == 0, f"decoding {video} ended with {code}"


def _their_command(video: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "scenedetect", "-q", "-i", str(video), "-o", out]
        subprocess.run([*command, "detect-adaptive", "list-scenes"], check=True, stdout=subprocess.DEVNULL)


def measure(clips: Sequence[Path], *, rounds: int, threads: int) -> dict[str, object]:
    """Time all sides in turns; all but the commands in this process, after one round that is not counted."""
    times, names = Times(), [clip.stem for clip in clips]
    for number in range(rounds + 1):
        taken = Times() if number == 0 else times
        for clip, name in zip(clips, names, strict=True):
            taken.take("decode", name, lambda clip=clip: decode_only(clip, threads))
            taken.take("ours", name, lambda clip=clip: one_pass(clip, threads))
            taken.take("theirs", name, lambda clip=clip: pyscenedetect(clip))
            taken.take("our command", name, lambda clip=clip: _our_command(clip, threads))
            taken.take("their command", name, lambda clip=clip: _their_command(clip))
    for name in names:
        share, cpu = times.ratio("decode", "ours", [name]), times.ratio("decode", "ours", [name], cpu=True)
        print(f"{name:32} {share:.2f} of pure decoding (processor time: {cpu:.2f})")
    return {
        "share_of_pure_decode": round(times.ratio("decode", "ours", names), 3),
        "share_of_pure_decode_cpu": round(times.ratio("decode", "ours", names, cpu=True), 3),
        "speedup_over_pyscenedetect": round(times.ratio("their command", "ours", names), 2),
        "speedup_command_over_command": round(times.ratio("their command", "our command", names), 2),
        "speedup_over_pyscenedetect_in_process": round(times.ratio("theirs", "ours", names), 2),
    }


def repeat_video(clip: Path, path: Path, times: int) -> Path:
    """Write a clip several times in a row without encoding it again."""
    with av.open(str(path), "w") as out:
        stream = None
        shift = 0
        for _ in range(times):
            end = shift
            with av.open(str(clip)) as source:
                if stream is None:
                    stream = out.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is None:
                        continue
                    end = max(end, shift + packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    out.mux(packet)
            shift = end
    return path


def peak_memory_mb(video: Path, threads: int) -> int:
    """Measure the largest resident memory of a process that does nothing but this and decodes a video."""
    code = (
        "import re, sys; from pathlib import Path; from benchmarks.build_speed import one_pass; "
        "one_pass(Path(sys.argv[1]), int(sys.argv[2])); "
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
    )
    command = [sys.executable, "-c", code, str(video), str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
