"""The series on film: each episode as an H.264 file, its subtitles, and the truth about every shot.

An episode is finished when its truth is there, since that is written last; a second run leaves it alone.
The same configuration gives the same bytes wherever the same encoder is installed.
"""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
from av.video.reformatter import VideoReformatter
from PIL import Image
from tqdm import tqdm

from story_model.build_config import CartoonConfig
from storystream_builder.cartoon.cards import draw_credits, draw_title
from storystream_builder.cartoon.drawing import Jitter, draw_frame
from storystream_builder.cartoon.script import Script, Segment, write_script
from storystream_builder.cartoon.world import ACTIONS, CAST, PLACES

logger = logging.getLogger(__name__)

GOP_FRAMES = 48
CODEC_OPTIONS = {
    "preset": "veryfast",
    "crf": "20",
    "threads": "1",
    "g": str(GOP_FRAMES),
    "x264-params": "mbtree=0",  # macroblock trees read memory that was never written: now and then another file
}


@dataclass(frozen=True)
class Series:
    """The drawn series: its videos in order, and how many of them this run drew or found finished."""

    videos: tuple[Path, ...]
    num_drawn: int
    num_kept: int


def draw_series(out_dir: Path, *, config: CartoonConfig, workers: int = 1) -> Series:
    """Draw every episode that is not yet finished in `out_dir`, with `workers` processes, and say what was done."""
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / "truth").mkdir(exist_ok=True)
    _write_text(out_dir / "truth" / "world.json", _world_json())
    missing = [index for index in range(config.episodes) if not _is_finished(out_dir, index, config)]
    kept = config.episodes - len(missing)
    with tqdm(total=config.episodes, initial=kept, desc="drawing the cartoon", unit="episode") as bar:
        for _ in _draw_all(out_dir, missing, config, workers):
            bar.update()
    logger.info("cartoon in %s: %d episodes drawn, %d found finished", out_dir, len(missing), kept)
    videos = tuple(out_dir / f"{episode_name(index)}.mp4" for index in range(config.episodes))
    return Series(videos=videos, num_drawn=len(missing), num_kept=kept)


def draw_episode(out_dir: Path, index: int, config: CartoonConfig) -> Path:
    """Draw one episode (index from 0): its video, whose path is returned, then its subtitles, then its truth."""
    script = _script(index, config)
    name = episode_name(index)
    part = out_dir / f"{name}.mp4.part"
    _encode(part, frames_of(script, config), config)
    video = part.replace(out_dir / f"{name}.mp4")
    _write_text(out_dir / f"{name}.srt", _subtitles(script, config.fps))
    _write_text(out_dir / "truth" / f"{name}.json", _truth_json(script, index, config.fps))
    return video


def episode_name(index: int) -> str:
    """Name the files of an episode, without their endings."""
    return f"episode_{index + 1:02d}"


def frames_of(script: Script, config: CartoonConfig) -> Iterator[Image.Image]:
    """Draw an episode frame by frame; what is held for two frames comes twice as the same object."""
    size = (config.width, config.height)
    for number, segment in enumerate(script.segments):
        if segment.kind == "title":
            yield from _title(script, segment, size, rise_frames=max(1, config.fps // 3))
        elif segment.kind == "fade":
            yield from _fade(script, number, size)
        else:
            for drawing in range(segment.num_frames // 2):
                picture = _picture(script, segment, drawing, size)
                yield from (picture, picture)


def _title(script: Script, title: Segment, size: tuple[int, int], *, rise_frames: int) -> Iterator[Image.Image]:
    card, black = draw_title(script.title, script.protagonist, size), Image.new("RGB", size)
    for frame in range(title.num_frames):
        yield card if frame >= rise_frames else Image.blend(black, card, frame / rise_frames)


def _fade(script: Script, number: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Darken the last drawing before segment `number`, then brighten the first one after it; black for a third."""
    before, fade, after = script.segments[number - 1 : number + 2]
    last = _picture(script, before, before.num_frames // 2 - 1, size)
    first, black = _picture(script, after, 0, size), Image.new("RGB", size)
    for frame in range(fade.num_frames):
        at = (frame + 1) / (fade.num_frames + 1)
        yield Image.blend(black, last if at < 0.5 else first, max(0.0, abs(2 * at - 1) * 1.5 - 0.5))


def _picture(script: Script, shot: Segment, drawing: int, size: tuple[int, int]) -> Image.Image:
    if shot.kind == "credits":
        return draw_credits(script.cast, 2 * drawing / shot.num_frames, size)
    assert shot.character is not None, f"nobody to draw in {shot}"
    assert shot.place is not None, f"nowhere to draw {shot}"
    assert shot.action is not None, f"nothing to draw in {shot}"
    return draw_frame(
        character=shot.character,
        place=shot.place,
        action=shot.action,
        phase=drawing / (shot.num_frames // 2),
        jitter=Jitter(shift=shot.shift, drift=script.drift, reverse=shot.reverse),
        width=size[0],
        height=size[1],
    )


def _draw_all(out_dir: Path, indices: list[int], config: CartoonConfig, workers: int) -> Iterator[Path]:
    if workers <= 1 or len(indices) <= 1:
        for index in indices:
            yield draw_episode(out_dir, index, config)
        return
    # Spawned, not forked: the caller may hold threads.
    with ProcessPoolExecutor(max_workers=workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(draw_episode, out_dir, index, config) for index in indices]):
            yield done.result()


def _encode(path: Path, frames: Iterator[Image.Image], config: CartoonConfig) -> None:
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=config.fps, options=CODEC_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, config.fps)
        to_yuv, held, frame = VideoReformatter(), None, None
        for number, image in enumerate(frames):
            if frame is None or image is not held:
                held, frame = image, to_yuv.reformat(av.VideoFrame.from_image(image), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, config.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _timed(script: Script, fps: int) -> Iterator[tuple[int, int, Segment]]:
    """Yield the segments with their first and last moment in milliseconds."""
    frame = 0
    for segment in script.segments:
        end = frame + segment.num_frames
        yield round(frame * 1000 / fps), round(end * 1000 / fps), segment
        frame = end


def _subtitles(script: Script, fps: int) -> str:
    spoken = [(start, end, segment.text) for start, end, segment in _timed(script, fps) if segment.text]
    return "\n".join(
        f"{number}\n{_srt_time(start)} --> {_srt_time(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(spoken, start=1)
    )


def _srt_time(time_ms: int) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{ms:03d}"


def _truth_json(script: Script, index: int, fps: int) -> str:
    shots = [
        {
            "start_ms": start,
            "end_ms": end,
            "kind": segment.kind,
            "character": segment.character,
            "place": segment.place,
            "action": segment.action,
            "text": segment.text,
        }
        for start, end, segment in _timed(script, fps)
    ]
    return json.dumps({"video": f"{episode_name(index)}.mp4", "shots": shots}, indent=1) + "\n"


def _world_json() -> str:
    names = {
        "characters": [one.name for one in CAST],
        "places": [one.name for one in PLACES],
        "actions": [one.name for one in ACTIONS],
    }
    return json.dumps(names, indent=1) + "\n"


def _is_finished(out_dir: Path, index: int, config: CartoonConfig) -> bool:
    """Say whether the episode is there and is the one the configuration asks for."""
    name, script = episode_name(index), _script(index, config)
    texts = {
        out_dir / "truth" / f"{name}.json": _truth_json(script, index, config.fps),
        out_dir / f"{name}.srt": _subtitles(script, config.fps),
    }
    video = out_dir / f"{name}.mp4"
    if any(not path.is_file() for path in (video, *texts)):
        return False
    if any(path.read_text("utf-8") != text for path, text in texts.items()):
        return False
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        return (stream.width, stream.height) == (config.width, config.height)


def _script(index: int, config: CartoonConfig) -> Script:
    return write_script(
        seed=config.seed, index=index, num_shots=config.shots_per_episode, shot_s=config.shot_s, fps=config.fps
    )


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
