"""A small configuration, small videos good and bad, and shortcuts to a decoded episode."""

import os
from dataclasses import replace
from pathlib import Path

from drawn_videos import draw_sound, draw_video, scenes, write_srt

from story_model.build_config import BuildConfig, FiltersConfig
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode, load_episode
from storystream_builder.keyframes import choose
from storystream_builder.records import DecodeKey
from storystream_builder.rows import shot_rows
from storystream_builder.sources import Source
from storystream_builder.videos import printable

SMALL_STORIES = {"length": 4, "min_length": 2, "chunk_length": 2}


def small_config(**sections) -> BuildConfig:
    return BuildConfig.model_validate({"stories": SMALL_STORIES, **sections})


def decode_key(**changes) -> DecodeKey:
    config = BuildConfig()
    known = {
        "episode_id": "e0",
        "source_sha256": "0",
        "max_pixels": config.decode.max_pixels,
        "max_duration_s": config.decode.max_duration_s,
        "max_corrupt_ratio": config.decode.max_corrupt_ratio,
        "shots": config.shots,
        "candidates": config.candidates,
    }
    return DecodeKey.model_validate(known | changes)


def source_of(video: Path) -> Source:
    return Source(video, printable(video.name))


def chosen(outcome: EpisodeOutcome, folder: Path, **filters) -> Episode:
    """Load a decoded episode with its keyframes chosen."""
    episode = load_episode(outcome, folder)
    return replace(episode, frames=choose(episode.frames, FiltersConfig(**filters)))


def kept_of(folder: Path, **filters):
    """Choose keyframes of a decoded episode: (frames, outcomes of the shots)."""
    episode = chosen(EpisodeOutcome(source_of(Path("x")), "e0"), folder, **filters)
    return episode.frames, [row["outcome"] for row in shot_rows(episode)]


def make_videos(folder: Path) -> Path:
    """Three good episodes, one of them with subtitles and a title card, and one of each bad input."""
    folder.mkdir()
    draw_video(folder / "one.mp4", scenes(1, 2, 3, 4, 5))
    draw_video(folder / "two.mp4", scenes(11, 12, 13, 14, 15))
    draw_video(folder / "spoken.mp4", scenes(20, 21, 22, 23, 24))
    write_srt(folder / "spoken.srt", [(second, second + 1, f"This is second {second}.") for second in range(1, 5)])
    whole = (folder / "one.mp4").read_bytes()
    (folder / "cut_short.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "page.mp4").write_text("<!doctype html><html><body>404</body></html>")
    draw_sound(folder / "sound.mp4")
    strange = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))
    draw_video(strange, scenes(31, 32, 33))
    draw_video(folder / "mute.mp4", scenes(41, 42, 43))
    (folder / "mute.srt").write_bytes("1\n00:00:00,000 --> 00:00:01,000\nHello\n".encode("utf-16-le"))
    return folder
