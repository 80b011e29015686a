"""Claim: of ten thousand spoiled inputs none ends the builder, holds it up, or makes it write where it should not.

Videos, subtitles, pictures, archives, JSONL, `sources.yaml`, ledgers, captions and datasets are spoiled by seed (bits
flipped, stretches cut, doubled, blanked, swapped, spliced from others, lengths made to lie) and go through the
functions that read them in a build, in processes whose memory is capped as a build caps it. Each must end used or told:
a fault on record, a row of errors, or the documented `ValueError`, within ten seconds. What would be an exception of
another kind in the process that decodes a video is one row, `crashed`, in a build; here it is counted as a failure.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file, too

import argparse
import json
import os
import queue
import random
import resource
import shutil
import subprocess
import tempfile
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from story_model.build_config import BuildConfig
from story_model.config import PROJECT_DIR

MEMORY_GB = BuildConfig().decode.max_memory_gb
LONGEST_S = 10.0
_CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.symlink": 1, "os.link": 1, "shutil.rmtree": 0}
"""Audited events that change the disk, and the argument that says where."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass
class Tally:
    """What came of the mutations of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    """Of memory in use by the process that read them, libraries included."""


# ---------------------------------------------------------------------------------------------- the process that reads


def work(kind_name: str, start: int, end: int, seed: int, root: Path) -> None:
    """Read the mutations `start` to `end`; tell of each when it begins and what came of it, a JSON line each."""
    from benchmarks.mutated_inputs import KINDS
    from storystream_builder.children import limit_memory

    (root / "whole").mkdir(parents=True)
    kind = KINDS[kind_name][0](root / "whole")
    os.chdir(root)
    strays = _watch_writes(root)
    limit_memory(MEMORY_GB)
    names = sorted(kind.samples)
    _refuse_unread(kind, root / "unspoiled")
    for number in range(start, end):
        folder = root / f"case-{number}"
        folder.mkdir()
        name, data = spoiled(kind.samples, names, kind_name, number, seed)
        (folder / name).write_bytes(data)
        _say({"begins": number})
        before, began = _tree(root, folder), time.perf_counter()
        outcome, why = _outcome(kind.enter, folder, name)
        seconds = time.perf_counter() - began
        if _tree(root, folder) != before or strays:
            outcome, why = "failed: wrote outside", f"{strays}"
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        _say({"ends": number, "name": name, "outcome": outcome, "why": why, "s": seconds, "peak_mb": peak_mb})
        strays.clear()
        shutil.rmtree(folder)


def _refuse_unread(kind: Any, place: Path) -> None:  # noqa: ANN401
    """See that what is whole is read, or spoiling it would prove nothing."""
    for name, data in kind.samples.items():
        folder = place / f"of {name}"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(data)
        outcome, why = _outcome(kind.enter, folder, name)
        if not outcome.startswith("used"):
            raise RuntimeError(f"{name} is whole and was {outcome}: {why}")
    shutil.rmtree(place)


def spoiled(samples: dict[str, bytes], names: list[str], kind: str, number: int, seed: int) -> tuple[str, bytes]:
    """Make one mutation: (name of the whole input, spoiled bytes)."""
    from benchmarks.mutated_inputs import mutate

    rng = random.Random(f"{seed} {kind} {number}")
    name = names[number % len(names)]
    return name, mutate(samples[name], list(samples.values()), rng)


def _outcome(enter: Any, folder: Path, name: str) -> tuple[str, str]:  # noqa: ANN401
    try:
        return enter(folder, name), ""
    except ValueError as error:
        said = str(error)
        if type(error) is not ValueError and not type(error).__module__.startswith("storystream"):
            return f"failed: {type(error).__name__}", _last_frames()
        return ("told: ValueError", said[:200]) if said else ("failed: an error without words", _last_frames())
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return f"failed: {type(error).__name__}", _last_frames()


def _last_frames() -> str:
    return traceback.format_exc(limit=-4)[-900:]


def _tree(root: Path, but: Path) -> set[str]:
    inside = (path for path in root.rglob("*") if but not in path.parents)
    return {f"{path} {path.lstat().st_mtime_ns if path.is_file() else ''}" for path in inside}


def _watch_writes(root: Path) -> list[str]:
    """Note what Python code opens for writing, makes, moves or removes outside a folder."""
    strays: list[str] = []

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            is_written = flags & _WRITING if isinstance(flags, int) else any(c in str(mode) for c in "wax+")
        elif event in _CHANGES:
            path, is_written = args[_CHANGES[event]], True
        else:
            return
        if is_written and isinstance(path, (str, bytes, os.PathLike)):
            place = os.path.realpath(os.fsdecode(path))
            if not place.startswith(f"{root}/") and place != "/dev/null":
                strays.append(f"{event} {place}")

    sys.addaudithook(look)
    return strays


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


# --------------------------------------------------------------------------------------------- the process that watches


def run_kind(kind: str, count: int, *, seed: int, place: Path, first: int = 0) -> Tally:
    """Have mutations read; a reader that dies or takes too long is a failure, and another goes on after it."""
    tally, start, attempt = Tally(), first, 0
    while start < first + count:
        root = place / f"{kind}-{first}-{attempt}"
        start = _read_until_trouble(kind, start, first + count, seed, root, tally)
        attempt += 1
        shutil.rmtree(root, ignore_errors=True)
    return tally


def _read_until_trouble(kind: str, start: int, end: int, seed: int, root: Path, tally: Tally) -> int:
    command = [sys.executable, "-m", "benchmarks.build_mutations", "--work", kind, str(start), str(end), str(seed)]
    environment = os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT_DIR)}
    with subprocess.Popen(
        [*command, str(root)], cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=sys.stderr, env=environment
    ) as process:
        current: int | None = None
        for told in _lines(process):
            if told is None or not told:
                process.kill()
                code = process.wait()
                what = "failed: over 10 s" if told is None else f"failed: died ({code})"
                if current is None:
                    raise RuntimeError(f"the reader of {kind} did not start: {' '.join(command)}")
                _count(tally, kind, {"ends": current, "outcome": what, "why": "", "s": LONGEST_S, "peak_mb": 0})
                return current + 1
            if "begins" in told:
                current = int(told["begins"])
            else:
                _count(tally, kind, told)
                if told["ends"] == end - 1:
                    return end
    return end


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any] | None]:
    """Give what a reader says; none where it is silent for too long, nothing where it ended."""
    said: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(json.loads(line))
        said.put({})

    threading.Thread(target=listen, daemon=True).start()
    patience_s = 300.0  # it draws its samples first
    while True:
        try:
            told = said.get(timeout=patience_s)
        except queue.Empty:
            yield None
            return
        patience_s = LONGEST_S
        yield told


def _count(tally: Tally, kind: str, told: dict[str, Any]) -> None:
    tally.outcomes[told["outcome"]] += 1
    tally.slowest_s = max(tally.slowest_s, told["s"])
    tally.peak_mb = max(tally.peak_mb, told["peak_mb"])
    if told["outcome"].startswith("failed"):
        tally.failures.append({"kind": kind} | told)


def run_all(total: int, *, seed: int, processes: int, place: Path, only: list[str] | None = None) -> dict[str, Tally]:
    """Have all kinds read, in proportion, several processes at once."""
    from benchmarks.mutated_inputs import KINDS

    whole = sum(number for _, number in KINDS.values())
    jobs = []
    for kind, (_, number) in KINDS.items():
        count = max(1, total * number // whole)
        parts = processes if count > 100 else 1
        bounds = pairwise(count * part // parts for part in range(parts + 1))
        if not only or kind in only:
            jobs += [(kind, low, high - low) for low, high in bounds]
    tallies: dict[str, Tally] = defaultdict(Tally)
    with ThreadPoolExecutor(processes) as pool:
        found = pool.map(lambda job: (job[0], run_kind(job[0], job[2], seed=seed, place=place, first=job[1])), jobs)
        for kind, tally in found:
            known = tallies[kind]
            known.outcomes += tally.outcomes
            known.failures += tally.failures
            known.slowest_s = max(known.slowest_s, tally.slowest_s)
            known.peak_mb = max(known.peak_mb, tally.peak_mb)
    return tallies


def main() -> None:
    """Spoil, read, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total", type=int, default=10_400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="kinds")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        kind, start, end, seed, root = args.work
        work(kind, int(start), int(end), int(seed), Path(root))
        return
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        place = Path(folder).resolve()
        tallies = run_all(args.total, seed=args.seed, processes=args.processes, place=place, only=args.only)
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    for failure in failures[:60]:
        print(json.dumps(failure))
    for kind, tally in tallies.items():
        print(f"{kind}: {tally.outcomes.total()}, slowest {tally.slowest_s:.2f} s, peak {tally.peak_mb:.0f} MB")
        for outcome, number in tally.outcomes.most_common():
            print(f"{number:9d}  {outcome}")
    total = sum(tally.outcomes.total() for tally in tallies.values())
    slowest, peak = (max(getattr(tally, what) for tally in tallies.values()) for what in ("slowest_s", "peak_mb"))
    seconds = round(time.perf_counter() - started)
    result = {"inputs": total, "failures": len(failures), "slowest_s": round(slowest, 2), "peak_mb": round(peak)}
    print(json.dumps(result | {"seconds": seconds}))


if __name__ == "__main__":
    main()
