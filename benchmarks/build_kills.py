"""Claim: a build that is killed at any moment, as often as you like, ends in the dataset of one that never was.

`SIGKILL` goes to the whole process group of `python -m storystream_builder ...` after a delay drawn over the length of
an undisturbed run; then it is started again, and killed after a delay drawn over the length of a run that finds its
episodes decoded. A round ends when a run was left to finish; the next one starts from nothing. After
each round the dataset must have the manifest's digest of the undisturbed run, no story more and none less, and pass
`verify`. What an OpenAI-compatible server was paid for is counted by the server itself: a question that
was answered twice is paid twice. Where the client is killed between the server's answer and its own ledger this cannot
be helped, unless the server knows the question again by its `Idempotency-Key`; the Batch API knows it by its batch.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from story_model.config import PROJECT_DIR
from story_model.manifest import read_manifest
from storystream_builder.verify import verify_dataset

sys.path[:0] = [str(PROJECT_DIR / "tests"), str(PROJECT_DIR / "tests" / "storystream_builder")]
import drawn_release as release
from drawn_videos import draw_video, scenes
from paid_server import PaidServer, said_in, serving

BUILDER = [sys.executable, "-m", "storystream_builder"]
QUICK_BATCHES = """\
import runpy, sys
from story_model.asking.batches import Batches
Batches.__init__.__kwdefaults__["poll_s"] = 0.1
sys.argv[0] = "storystream_builder"
runpy.run_module("storystream_builder", run_name="__main__")"""
_SETTINGS = (
    *("build.stories.length=4", "build.stories.min_length=2", "build.stories.chunk_length=2", "build.workers=2"),
    *("build.captions.captioner=openai", "build.captions.model=seer", "build.captions.concurrency=4"),
    *("build.narratives.narrator=text", "build.narratives.model=seer"),
)
_COLOURS = ["red", "green", "blue", "brown", "grey", "white", "black", "pink", "yellow", "purple"]


@dataclass
class Outcome:
    """What kills did."""

    kills: int = 0
    rounds: int = 0
    """Runs that were left to finish, each after the kills of its round."""
    undisturbed_s: float = 0.0
    resumed_s: float = 0.0
    """Of a run that finds decoded episodes and nothing else."""
    datasets_that_differ: int = 0
    findings: int = 0
    """Of `verify`."""
    failed_runs: list[str] = field(default_factory=list)
    """Runs that ended by themselves with an error."""
    questions: int = 0
    """Distinct ones, over all rounds."""
    paid_twice: int = 0
    asked_again_unpaid: int = 0
    """By a server that knows the idempotency key."""
    hidden_leftovers: int = 0
    """Files that kills left in the folder of a finished dataset, unpublished."""
    killed_after_s: list[float] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Work:
    """A command whose result lies in a folder of its run's."""

    command: Callable[[Path], list[str]]
    """Of the folder of a round."""
    result: Callable[[Path], Path]
    start: Path | None = None
    """What a round's folder holds when it starts."""
    is_dataset: bool = True
    forgotten: tuple[str, ...] = ()
    """What is removed of a finished run's folder, so that the next run goes on from decoded episodes."""


def words_of(body: dict[str, Any]) -> str:
    """Answer any question of a build's, the same every time."""
    content = body["messages"][1]["content"]
    if not isinstance(content, str):
        number = zlib.crc32(said_in(body).encode())
        first, second = (_COLOURS[number % 10], _COLOURS[number // 10 % 10])
        return f"A small square moves over {first} and {second} blocks, {number % 999} of them."
    frames = [frame["frame"] for frame in json.loads(content)["frames"]]
    told = [
        {"frame": n, "text": f"The small square went over the {_COLOURS[n % 10]} blocks once more."} for n in frames
    ]
    return json.dumps({"passages": told})


@contextmanager
def paid_server(*, knows_keys: bool) -> Iterator[PaidServer]:
    """Serve captions and stories, with a moment between being paid and answering."""
    with serving() as server:
        server.words, server.knows_keys, server.delay_s, server.looks = words_of, knows_keys, 0.1, 3
        yield server


def run_until_killed(command: list[str], after_s: float | None, url: str | None) -> tuple[bool, str]:
    """Run to the end (its exit and last line), or kill its process group: (whether it was killed, what went wrong)."""
    place = os.environ | {"STORY_API_BASE_URL": url or "", "STORY_API_KEY": "key", "PYTHONPATH": str(PROJECT_DIR)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=PROJECT_DIR, env=place, stdout=said, stderr=said, start_new_session=True
        )
        try:
            code = process.wait(after_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True, ""
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    return False, "" if code == 0 else f"exit {code}: {text[-300:]}"


def finish(work: Work, folder: Path, delays: Iterator[float | None], url: str | None, outcome: Outcome) -> None:
    """Start, kill, start again until a run is left to finish."""
    if work.start:
        shutil.copytree(work.start, folder)
    while True:
        after_s = next(delays)
        killed, wrong = run_until_killed(work.command(folder), after_s, url)
        if killed and after_s is not None:
            outcome.kills += 1
            outcome.killed_after_s.append(round(after_s, 2))
            continue
        if wrong:
            outcome.failed_runs.append(wrong)
        outcome.rounds += 1
        return


def kill(work: Work, place: Path, *, kills: int, seed: int, knows_keys: bool | None) -> Outcome:
    """Kill runs of some work so many times; `knows_keys` is none where no server is asked."""
    outcome, rng = Outcome(), random.Random(seed)

    def delays() -> Iterator[float | None]:
        longest_s = outcome.undisturbed_s
        while outcome.kills < kills:
            yield rng.uniform(0, longest_s)
            longest_s = outcome.resumed_s
        while True:
            yield None

    place.mkdir()
    with serve(knows_keys) as server:
        outcome.undisturbed_s = _measure(work, place / "undisturbed", server, outcome)
        usual = len(server.paid) if server else 0
        expected = read_manifest(work.result(place / "undisturbed"))
    for name in work.forgotten:
        shutil.rmtree(place / "undisturbed" / name)
    with serve(knows_keys) as server:
        outcome.resumed_s = outcome.undisturbed_s
        if work.forgotten:
            outcome.resumed_s = _measure(replace(work, start=None), place / "undisturbed", server, outcome)
    if expected is None:
        raise ValueError(f"the undisturbed run failed: {outcome.failed_runs}")
    outcome.rounds = 0
    while outcome.kills < kills:
        folder = place / f"round-{outcome.rounds}"
        with serve(knows_keys) as server:
            finish(work, folder, delays(), server and server.url, outcome)
            if server:
                outcome.questions += usual
                outcome.paid_twice += sum(server.paid.values()) - usual
                outcome.asked_again_unpaid += server.num_repeated
        _compare(work, folder, expected.digest, outcome)
        print(f"{outcome.kills} kills, {outcome.rounds} rounds, {outcome.paid_twice} paid twice", flush=True)
        shutil.rmtree(folder)
    return outcome


def _measure(work: Work, folder: Path, server: PaidServer | None, outcome: Outcome) -> float:
    started = time.perf_counter()
    finish(work, folder, iter([None]), server and server.url, outcome)
    return round(time.perf_counter() - started, 2)


def serve(knows_keys: bool | None) -> Any:  # noqa: ANN401 - a server, or a context of none
    """Have a server of the round's own where one is asked."""
    return nullcontext() if knows_keys is None else paid_server(knows_keys=knows_keys)


def _compare(work: Work, folder: Path, digest: str, outcome: Outcome) -> None:
    result = work.result(folder)
    found = read_manifest(result)
    outcome.datasets_that_differ += found is None or found.digest != digest
    if work.is_dataset and found is not None:
        outcome.findings += len(verify_dataset(result))
    hidden = (path for path in result.rglob("*") if path.is_file() and path.name.startswith("."))
    outcome.hidden_leftovers += len(list(hidden))


def draw_series(folder: Path, episodes: int) -> Path:
    """Draw a series of four shots an episode."""
    folder.mkdir()
    for number in range(episodes):
        draw_video(folder / f"{number:02d}.mp4", scenes(*range(10 * number + 1, 10 * number + 5)))
    return folder


def draw_release(folder: Path, stories: int) -> tuple[Path, Path]:
    """Draw a release of ten pictures a story."""
    folder.mkdir()
    shown = [release.names(number, *range(10)) for number in range(stories)]
    pictures = release.write_pictures(folder / "series.tar.gz", [name for names in shown for name in names])
    text = release.lines(*(release.story(names, number=number) for number, names in enumerate(shown)))
    return pictures, release.write_zip(folder / "series.zip", {"train.jsonl": text[:-1], "val.jsonl": text})


def works(place: Path, *, episodes: int, stories: int) -> dict[str, tuple[Work, bool | None]]:
    """Name what is killed, each with whether its server knows idempotency keys (none: it has no server)."""
    videos = draw_series(place / "videos", episodes)
    pictures, texts = draw_release(place / "release", stories)
    build = Work(lambda run: [*BUILDER, "build", str(run), str(videos), *_SETTINGS], lambda run: run / "dataset")
    build = replace(build, forgotten=("dataset", "answers"))
    decoded, imported = place / "decoded", place / "imported"
    run_until_killed([*BUILDER, "build", str(decoded), str(videos), *_SETTINGS[:4]], None, None)
    shutil.rmtree(decoded / "dataset")
    run_until_killed([*BUILDER, "import-storystream", str(pictures), str(texts), str(imported)], None, None)
    from_decoded = Work(build.command, build.result, start=decoded)
    batch = [sys.executable, "-c", QUICK_BATCHES]
    batched = Work(
        lambda run: [*batch, "build", str(run), str(videos), *_SETTINGS, "build.captions.batch=true"],
        build.result,
        start=decoded,
    )
    importing = [*BUILDER, "import-storystream", str(pictures), str(texts)]
    exporting = [*BUILDER, "export", str(imported)]
    return {
        "build": (build, True),
        "captions and stories, keys known": (from_decoded, True),
        "captions and stories, keys unknown": (from_decoded, False),
        "captions by batches": (batched, True),
        "import": (Work(lambda run: [*importing, str(run / "made")], lambda run: run / "made"), None),
        "export webdataset": (
            Work(
                lambda run: [*exporting, str(run / "made"), "--form", "webdataset", "--shard-mb", "0.2"],
                lambda run: run / "made",
                is_dataset=False,
            ),
            None,
        ),
        "export storystream": (
            Work(
                lambda run: [*exporting, str(run / "made"), "--form", "storystream"],
                lambda run: run / "made",
                is_dataset=False,
            ),
            None,
        ),
    }


def main() -> None:
    """Kill, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each kind; a third as many of imports and exports")
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--stories", type=int, default=200, help="of the release that is imported and exported")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="kinds, by their beginning")
    args = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for name, (work, knows_keys) in works(Path(folder), episodes=args.episodes, stories=args.stories).items():
            if args.only and not any(name.startswith(one) for one in args.only):
                continue
            kills = args.kills if knows_keys is not None else args.kills // 3
            place = Path(folder) / name.replace(" ", "-").replace(",", "")
            started = time.perf_counter()
            outcome = kill(work, place, kills=kills, seed=args.seed, knows_keys=knows_keys)
            shutil.rmtree(place)
            quartiles = statistics.quantiles(outcome.killed_after_s, n=4)
            shown = asdict(outcome) | {"killed_after_s": f"quartiles {[round(one, 2) for one in quartiles]}"}
            results[name] = shown | {"seconds": round(time.perf_counter() - started)}
            print(name, json.dumps(results[name], indent=1), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
