"""Reading and verifying a dataset of 600 stories, for `build.py`, beside Parquet as pyarrow writes it by default."""

import hashlib
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from story_model import schema
from story_model.build_config import ParquetConfig
from story_model.manifest import StepResult, run_step
from storystream_builder.parquet import TableWriter, write_table
from storystream_builder.verify import verify_dataset

STORIES, PICTURES, PICTURE_BYTES = 600, 30, 40_000
_TEXT = ["story_id", "captions", "frame_captions"]


def _story(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """Make up a story; its pictures are noise of a JPEG's weight, all different."""
    pictures = [rng.bytes(PICTURE_BYTES) for _ in range(PICTURES)]
    texts = [f"George looks at thing {rng.integers(10**6)} and then goes on to the next one." for _ in range(PICTURES)]
    known: dict[str, Any] = {
        "story_id": f"g-{number:04d}",
        "subset": "g",
        "split": "train",
        "episode_id": f"e{number:011d}",
        "images": [{"bytes": one, "path": f"{number}-{index}.jpg"} for index, one in enumerate(pictures)],
        "captions": texts,
        "frame_captions": texts,
        "image_sha256": [hashlib.sha256(one).hexdigest() for one in pictures],
        "phash": [int(value) for value in rng.integers(0, 2**63, PICTURES)],
        "frame_ids": [f"{number}-{index}" for index in range(PICTURES)],
    }
    numbers = {name: list(range(PICTURES)) for name in ("orders", "pts_ms", "shot_ids", "width", "height")}
    return known | numbers


def _write(dataset: Path, plain: Path) -> None:
    """Write the stories as the builder does and as pyarrow does when told nothing: one row group."""
    rng = np.random.default_rng(0)
    stories = [_story(number, rng) for number in range(STORIES)]

    def work(out: Path) -> StepResult:
        _write_all(out, stories)
        return StepResult(counts={"stories": STORIES})

    run_step(dataset, work, step="dataset", version=1, config=ParquetConfig(), inputs={})
    pq.write_table(pa.Table.from_pylist(stories, schema=schema.STORIES_INLINE), plain, row_group_size=STORIES)


def _write_all(out: Path, stories: list[dict[str, Any]]) -> None:
    """Write a whole dataset, pictures with the stories and once more as frames, so that it can be verified."""
    train, frames = (schema.with_metadata(one) for one in (schema.STORIES_INLINE, schema.FRAMES))
    with TableWriter(out / "data" / "g", "train", train, ParquetConfig()) as to:
        for story in stories:
            to.add(story, PICTURES * PICTURE_BYTES)
    with TableWriter(out / "frames", "g", frames, ParquetConfig()) as to:
        for story in stories:
            for name, image, digest in zip(story["frame_ids"], story["images"], story["image_sha256"], strict=True):
                row = {"frame_id": name, "episode_id": story["episode_id"], "status": "kept"}
                to.add(row | {"image": image, "image_sha256": digest}, PICTURE_BYTES)
    (out / "meta").mkdir()
    ids = ("story_id", "episode_id", "subset", "split")
    texts = [{name: story[name] for name in (*ids, "frame_ids", "captions")} for story in stories]
    episodes = [{name: story[name] for name in ids[1:]} for story in stories]
    tables = {
        "episodes": (episodes, schema.EPISODES),
        "stories": (texts, schema.STORIES),
        "shots": ([], schema.SHOTS),
        "errors": ([], schema.ERRORS),
    }
    for name, (rows, columns) in tables.items():
        table = pa.Table.from_pylist(rows, schema=schema.with_metadata(columns))
        write_table(out / "meta" / f"{name}.parquet", table, row_group_mb=16)


def _random_story(files: list[Path], chance: random.Random) -> None:
    with pq.ParquetFile(chance.choice(files)) as file:
        group = chance.randrange(file.num_row_groups)
        table = file.read_row_group(group, columns=["images", "captions"])
        table.slice(chance.randrange(table.num_rows), 1).to_pylist()


def _read_text(files: list[Path]) -> None:
    for file in files:
        pq.ParquetFile(file).read(columns=_TEXT)


def _read_all(files: list[Path]) -> None:
    for path in files:
        with pq.ParquetFile(path, memory_map=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)


def _read_raw(files: list[Path]) -> None:
    """Read whole files into fresh memory, as a table that is read lies in fresh memory."""
    for path in files:
        path.read_bytes()


def _read_over(files: list[Path]) -> None:
    """Read files piece by piece over the same memory: the cache's speed, which nothing that keeps data reaches."""
    piece = bytearray(2**24)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass


def _hash(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def _verify(dataset: Path) -> None:
    findings = verify_dataset(dataset)
    assert not findings, findings[:3]


def _in_turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time works in turns, in seconds, after a round that is not counted and fills the caches."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number:
                taken[name].append(time.perf_counter() - started)
    return taken


def measure(folder: Path, *, rounds: int) -> dict[str, object]:
    """Measure reading and verifying; files lie in the operating system's cache."""
    dataset, plain = folder / "dataset", folder / "plain.parquet"
    _write(dataset, plain)
    files, chance = sorted(dataset.glob("data/*/*.parquet")), random.Random(0)
    everything = sorted(dataset.rglob("*.parquet"))
    size, whole = (sum(path.stat().st_size for path in paths) for paths in (files, everything))
    quick = _in_turns(
        {
            "random": lambda: _random_story(files, chance),
            "text": lambda: _read_text(files),
            "text plain": lambda: _read_text([plain]),
        },
        10 * rounds,
    )
    long = _in_turns(
        {
            "raw": lambda: _read_raw(files),
            "raw over": lambda: _read_over(files),
            "scan": lambda: _read_all(files),
            "scan plain": lambda: _read_all([plain]),
            "random plain": lambda: _random_story([plain], chance),
            "sha256": lambda: _hash(everything),
            "verify": lambda: _verify(dataset),
        },
        rounds,
    )
    middle = {name: statistics.median(times) for name, times in (quick | long).items()}
    scan = statistics.median(raw / own for raw, own in zip(long["raw"], long["scan"], strict=True))
    print(f"600 stories, {size / 1e6:.0f} MB, {len(files)} files; seconds: {middle}")
    return {
        "random_story_ms": round(1000 * middle["random"], 2),
        "random_story_plain_ms": round(1000 * middle["random plain"], 1),
        "text_scan_ms": round(1000 * middle["text"], 1),
        "text_scan_plain_ms": round(1000 * middle["text plain"], 1),
        "scan_share": round(scan, 2),
        "scan_share_of_reading_over": round(middle["raw over"] / middle["scan"], 2),
        "scan_gb_s": round(size / middle["scan"] / 1e9, 2),
        "verify_gb_s": round(whole / middle["verify"] / 1e9, 2),
        "verify_share_of_sha256": round(middle["sha256"] / middle["verify"], 2),
    }
