"""From video to dataset: one pass costs little more than decoding, finds the right cuts, and what it writes reads fast.

Real clips: the three of the folder that STORY_TEST_VIDEOS or `--videos` names; films with known cuts are drawn. Clips
are decoded in this process by `decode_episode`, with as many threads on either side; PySceneDetect runs as its own
command (its default backend, OpenCV), compared with this process and, start of Python and imports included, with ours,
and again inside this process. Files are in the cache on all sides.

Run it in the project's folder: `python -m benchmarks.build`; `--only speed cuts accuracy tables memory` picks parts.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import argparse
import json
import os
import tempfile

import cv2

from benchmarks import build_accuracy, build_speed, build_tables
from benchmarks.build_films import encode, make_film
from story_model.build_config import CartoonConfig, FiltersConfig
from storystream_builder.duplicates import find_duplicates
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode, load_episode
from storystream_builder.keyframes import choose
from storystream_builder.sources import Source

CLIPS = ("bbb_480p_30s.mp4", "bbb_moviepy_30s.webm", "sintel_trailer_52s_480x204.mp4")
TWO_ENCODES = CLIPS[:2]
PARTS = ("speed", "cuts", "accuracy", "tables", "memory")


def cuts(videos: Path, folder: Path) -> dict[str, object]:
    """Find the cuts of one film in two encodes, and that it is one film."""
    films, found = [], {}
    for name in TWO_ENCODES:
        out = folder / name
        record = build_speed.one_pass(videos / name, 1, out)
        found[name] = [shot.start_ms / 1000 for shot in record.shots[1:]]
        print(f"{name:32} cuts at {found[name]} s")
        films.append(_episode(videos / name, out))
    same = find_duplicates(films)
    return {"cuts_s": found[TWO_ENCODES[0]], "cuts_s_other_encode": found[TWO_ENCODES[1]], "one_episode": bool(same)}


def _episode(video: Path, folder: Path) -> Episode:
    loaded = load_episode(EpisodeOutcome(Source(video, video.name), "e"), folder)
    return Episode(loaded.outcome, loaded.record, folder, tuple(choose(loaded.frames, FiltersConfig())))


def accuracy(folder: Path, num_films: int) -> dict[str, object]:
    """Find the shots of drawn films: what deceives a detector, and the builder's own series."""
    sets = {
        "hard": list(build_accuracy.hard_films(folder, num_films)),
        "series": list(build_accuracy.series_films(folder / "series", CartoonConfig(episodes=4, shots_per_episode=30))),
    }
    found: dict[str, object] = {}
    for name, films in sets.items():
        ours = build_accuracy.measure(films, _our_times)
        theirs = build_accuracy.measure(films, build_accuracy.pyscenedetect)
        for side, score in (("ours", ours), ("PySceneDetect", theirs)):
            print(f"{name} films, {side}: " + "\n".join(score.lines()))
        found |= {f"f1_{name}": round(ours.f1, 3), f"f1_{name}_pyscenedetect": round(theirs.f1, 3)}
    return {"f1": min(found["f1_hard"], found["f1_series"]), **found}  # type: ignore[type-var]


def _our_times(video: Path) -> list[float]:
    return [float(shot.start_ms) for shot in build_speed.one_pass(video, 1).shots[1:]]


def memory(folder: Path, minutes: float) -> dict[str, object]:
    """Measure the peak of decoding a short and a long film of 1920 x 1080, and of one shot without end."""
    film = make_film(0, 6)
    length_s = sum(shot.num_frames for shot in film.shots) / 24
    short = encode(folder / "short.mp4", film.frames(1920, 1080))
    long = build_speed.repeat_video(short, folder / "long.mp4", round(60 * minutes / length_s))
    return {
        f"peak_mb_{length_s:.0f}_s": build_speed.peak_memory_mb(short, 2),
        f"peak_mb_{minutes:g}_min": build_speed.peak_memory_mb(long, 2),
    }


def main() -> None:
    """Measure what is asked for, and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, default=os.environ.get("STORY_TEST_VIDEOS"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--films", type=int, default=6, help="drawn films that deceive (default: 6)")
    parser.add_argument("--minutes", type=float, default=10, help="length of the film that memory is measured on")
    given = parser.parse_args()
    if given.videos is None and {"speed", "cuts"} & set(given.only):
        parser.error("name the folder of clips: --videos FOLDER or STORY_TEST_VIDEOS")
    cv2.setNumThreads(1)  # as in the process that decodes
    measured: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "speed" in given.only:
            clips = [Path(given.videos) / clip for clip in CLIPS]
            measured |= build_speed.measure(clips, rounds=given.rounds, threads=given.threads)
        if "cuts" in given.only:
            measured |= cuts(Path(given.videos), folder)
        if "accuracy" in given.only:
            measured |= accuracy(folder, given.films)
        if "tables" in given.only:
            measured |= build_tables.measure(folder, rounds=given.rounds)
        if "memory" in given.only:
            measured |= memory(folder, given.minutes)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
