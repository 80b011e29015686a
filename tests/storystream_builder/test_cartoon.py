"""The cartoon series: equal to the byte when drawn again, and truthful about every frame."""

import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from story_model.build_config import CartoonConfig
from storystream_builder.cartoon.drawing import draw_frame
from storystream_builder.cartoon.film import draw_series
from storystream_builder.cartoon.script import Script, write_script
from storystream_builder.cartoon.world import ACTIONS, CAST, PLACES

REPOSITORY = Path(__file__).parents[2]
SMALL = CartoonConfig(episodes=2, shots_per_episode=12, width=160, height=90, shot_s=1.0)


@pytest.fixture(scope="module")
def series_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("series")
    draw_series(out_dir, config=SMALL)
    return out_dir


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def truth_of(series_dir: Path) -> list[dict]:
    return json.loads((series_dir / "truth" / "episode_01.json").read_text())["shots"]


def changes(video: Path) -> np.ndarray:
    """Mean change of the picture from each frame to the next, 0 to 255."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(np.int16) for frame in container.decode(video=0)]
    return np.array([np.abs(after - before).mean() for before, after in pairwise(frames)])


def default_scripts() -> list[Script]:
    config = CartoonConfig()
    return [
        write_script(
            seed=config.seed, index=index, num_shots=config.shots_per_episode, shot_s=config.shot_s, fps=config.fps
        )
        for index in range(config.episodes)
    ]


def words_among(text: str, names: list[str]) -> list[str]:
    spoken = re.findall(r"[a-z]+", text.lower())
    return [name for name in names for word in spoken if word == name.lower()]


def test_a_series_drawn_again_is_equal_to_the_byte(series_dir: Path, tmp_path: Path) -> None:
    draw_series(tmp_path, config=SMALL, workers=2)
    assert digests(tmp_path) == digests(series_dir)


def test_what_happens_to_lie_in_memory_does_not_reach_the_video(tmp_path: Path) -> None:
    draw_third = "; ".join(
        (
            "import pathlib, story_model.config as config, storystream_builder.cartoon.film as film",
            "film.draw_episode(pathlib.Path.cwd(), 2, config.CartoonConfig(shots_per_episode=10))",
        )
    )
    videos = set()
    for pattern in ("1", "170"):  # glibc fills fresh memory with it
        (tmp_path / pattern / "truth").mkdir(parents=True)
        memory = {**os.environ, "MALLOC_PERTURB_": pattern, "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", draw_third], cwd=tmp_path / pattern, env=memory, check=True)
        videos.add(digests(tmp_path / pattern)["episode_03.mp4"])
    assert len(videos) == 1


def test_an_episode_is_a_video_its_subtitles_and_its_truth(series_dir: Path) -> None:
    names = ("{}.mp4", "{}.srt", "truth/{}.json")
    episodes = {name.format(f"episode_0{number}") for number in (1, 2) for name in names}
    assert set(digests(series_dir)) == {*episodes, "truth/world.json"}


def test_the_picture_changes_most_at_the_cuts_that_the_truth_tells(series_dir: Path) -> None:
    steps = changes(series_dir / "episode_01.mp4")
    cuts, inside = [], []
    for before, after in pairwise(truth_of(series_dir)):
        if after["kind"] in ("shot", "credits") and before["kind"] != "fade":
            cuts.append(steps[round(after["start_ms"] * SMALL.fps / 1000) - 1])
        if after["kind"] == "shot":
            first, end = (round(after[key] * SMALL.fps / 1000) for key in ("start_ms", "end_ms"))
            inside.extend(steps[first : end - 1])
    assert len(cuts) == SMALL.shots_per_episode  # the credits' and all but the one after a fade
    assert min(cuts) > max(inside)


def test_the_truth_covers_the_video_without_gaps(series_dir: Path) -> None:
    shots = truth_of(series_dir)
    assert shots[0]["start_ms"] == 0
    assert all(before["end_ms"] == after["start_ms"] for before, after in pairwise(shots))
    num_frames = len(changes(series_dir / "episode_01.mp4")) + 1
    assert shots[-1]["end_ms"] == round(num_frames * 1000 / SMALL.fps)


def test_drawings_are_held_for_two_frames(series_dir: Path) -> None:
    steps = changes(series_dir / "episode_01.mp4")
    for shot in truth_of(series_dir):
        if shot["kind"] == "shot":
            first, end = (round(shot[key] * SMALL.fps / 1000) for key in ("start_ms", "end_ms"))
            assert steps[first : end - 1 : 2].mean() < 0.5 * steps[first + 1 : end - 1 : 2].mean()


def test_subtitles_are_the_lines_of_the_truth_at_their_times(series_dir: Path) -> None:
    blocks = (series_dir / "episode_01.srt").read_text("utf-8").strip().split("\n\n")
    told = [shot for shot in truth_of(series_dir) if shot["kind"] == "shot"]
    assert [block.split("\n")[2] for block in blocks] == [shot["text"] for shot in told]
    for block, shot in zip(blocks, told, strict=True):
        times = [[int(part) for part in re.split("[:,]", time)] for time in block.split("\n")[1].split(" --> ")]
        in_ms = [((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in times]
        assert in_ms == [shot["start_ms"], shot["end_ms"]]


def test_every_line_of_the_default_series_names_who_where_and_what_once() -> None:
    for shot in (segment for script in default_scripts() for segment in script.segments if segment.kind == "shot"):
        assert shot.text is not None
        assert words_among(shot.text, [one.name for one in CAST]) == [shot.character]
        assert words_among(shot.text, [one.name for one in PLACES]) == [shot.place]
        assert set(words_among(shot.text, [one.name for one in ACTIONS])) == {shot.action}
        assert 8 <= len(shot.text.split()) <= 14


def test_the_vocabulary_is_small_and_every_combination_occurs() -> None:
    shots = [segment for script in default_scripts() for segment in script.segments if segment.text]
    words = {word for shot in shots for word in re.findall(r"[a-z]+", (shot.text or "").lower())}
    assert len(words) < 200
    assert len({(shot.character, shot.place, shot.action) for shot in shots}) == len(CAST) * len(PLACES) * len(ACTIONS)


def test_no_two_episodes_tell_the_same() -> None:
    scripts = default_scripts()
    assert len({tuple(segment.text for segment in script.segments) for script in scripts}) == len(scripts)


def test_a_second_run_draws_nothing_and_mends_only_what_is_missing(series_dir: Path) -> None:
    assert draw_series(series_dir, config=SMALL).num_drawn == 0
    before = digests(series_dir)
    (series_dir / "truth" / "episode_02.json").unlink()
    assert draw_series(series_dir, config=SMALL).num_drawn == 1
    assert digests(series_dir) == before


def test_another_seed_is_another_series(series_dir: Path, tmp_path: Path) -> None:
    draw_series(tmp_path, config=SMALL.model_copy(update={"seed": 1}))
    ours, theirs = digests(tmp_path), digests(series_dir)
    assert [name for name in ours if ours[name] == theirs[name]] == ["truth/world.json"]


def test_a_picture_is_as_large_as_asked_and_moves_with_its_phase() -> None:
    early, late = (
        draw_frame(character="Pip", place="meadow", action="runs", phase=phase, width=64, height=36)
        for phase in (0.0, 0.9)
    )
    assert early.size == (64, 36)
    assert early.tobytes() != late.tobytes()


def test_whoever_is_not_in_the_world_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"Zorro.*Pip, Luna"):
        draw_frame(character="Zorro", place="meadow", action="runs", phase=0.0, width=64, height=36)
