"""Shots of drawn films with known cuts, for `build.py`: ours and PySceneDetect's on the same files."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from scenedetect import AdaptiveDetector, open_video
from scenedetect.scene_manager import SceneManager

from benchmarks.build_films import FPS, Film, Transition, encode, make_film
from benchmarks.build_shots import Score, evaluate
from story_model.build_config import CartoonConfig
from storystream_builder.cartoon.film import draw_series

SIZE = (320, 180)
Finder = Callable[[Path], list[float]]
"""From a video to the times in milliseconds at which shots begin, the first left out."""


@dataclass(frozen=True)
class KnownFilm:
    """A video and its transitions."""

    video: Path
    truth: list[Transition]
    kind_at: Callable[[float], str]
    frame_ms: float


def hard_films(folder: Path, num_films: int, num_shots: int = 24) -> Iterator[KnownFilm]:
    """Draw films of what deceives a detector, every second one as VP8."""
    for seed in range(num_films):
        film = make_film(seed, num_shots)
        codec, suffix = ("libvpx", ".webm") if seed % 2 else ("libx264", ".mp4")
        video = encode(folder / f"hard_{seed}{suffix}", film.frames(*SIZE), codec=codec)
        yield known(video, film)


def known(video: Path, film: Film) -> KnownFilm:
    """Pair a video with what was drawn."""
    return KnownFilm(video, film.transitions(), film.kind_at, 1000 / FPS)


def series_films(folder: Path, config: CartoonConfig) -> Iterator[KnownFilm]:
    """Draw the series that ships with the builder; its truth names fades as segments of their own."""
    for video in draw_series(folder, config=config).videos:
        shots = json.loads((folder / "truth" / f"{video.stem}.json").read_text())["shots"]
        yield KnownFilm(video, _series_truth(shots), _kind_in(shots), 1000 / config.fps)


def _series_truth(shots: list[dict[str, object]]) -> list[Transition]:
    found = []
    for before, shot in pairwise(shots):
        start, end = float(str(shot["start_ms"])), float(str(shot["end_ms"]))
        if shot["kind"] == "fade":
            found.append(Transition("fade through black", start, end))
        elif before["kind"] != "fade":
            found.append(Transition(f"cut to {shot['kind']}", start, start))
    return found


def _kind_in(shots: list[dict[str, object]]) -> Callable[[float], str]:
    def kind_at(at_ms: float) -> str:
        begun = [shot for shot in shots if float(str(shot["start_ms"])) <= at_ms]
        return str((begun or shots)[-1]["kind"])

    return kind_at


def measure(films: list[KnownFilm], find: Finder) -> Score:
    """Find the shots of all films, a frame being the tolerance."""
    total = Score()
    for film in films:
        tolerance = 1.01 * film.frame_ms
        total.add(evaluate(find(film.video), film.truth, kind_at=film.kind_at, tolerance_ms=tolerance))
    return total


def pyscenedetect(video: Path) -> list[float]:
    """Find shots as PySceneDetect's detect-adaptive does by default."""
    manager = SceneManager()
    manager.add_detector(AdaptiveDetector(min_scene_len=0.6))
    film = open_video(str(video))
    with suppress(StopIteration):
        manager.detect_scenes(film)
    return [1000 * start.seconds for start, _ in manager.get_scene_list()[1:]]
