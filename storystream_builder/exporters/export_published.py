"""The form in which StoryStream was published: `images/<episode>/*.jpg`, and JSONL files with a story a line.

Whole stories lie in `json/train.jsonl` and `json/val.jsonl`; chunks of 10 in `json/train_10.jsonl`, with the number of
their parent as id and without `orders`, as SEED-Story's training reads them. Every line is valid JSON.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from story_model.dataset import Story, chunks
from storystream_builder.importers.release_names import Picture, name_of
from storystream_builder.stories import TRAIN, VALIDATION

_FILES = {TRAIN: "train", VALIDATION: "val"}


def write_published(out: Path, splits: Mapping[str, Sequence[Story]], *, chunk_length: int | None) -> dict[str, int]:
    """Write pictures and lines; gives counts.

    Raises:
        ValueError: an id cannot be a folder's name, or two pictures of an episode are of the same moment.
    """
    written: dict[str, str] = {}
    counts: Counter[str] = Counter()
    (out / "json").mkdir(parents=True, exist_ok=True)
    for split, stories in splits.items():
        name = f"{_FILES[split]}_{chunk_length}" if chunk_length else _FILES[split]
        with (out / "json" / f"{name}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            for number, story in enumerate(tqdm(stories, desc=split, unit="story")):
                paths = {pts_ms: _write_picture(out, story, at, written) for at, pts_ms in enumerate(story.pts_ms)}
                counts["stories"] += 1
                counts["pairs after the last chunk, left out"] += len(story.captions)
                for view in chunks([story], chunk_length) if chunk_length else [story]:
                    file.write(json.dumps(_line(number, view, paths, chunk_length), ensure_ascii=False) + "\n")
                    counts[f"lines {split}"] += 1
                    counts["pairs"] += len(view.captions)
                    counts["pairs after the last chunk, left out"] -= len(view.captions)
    return dict(counts | {"pictures": len(written)})


def _line(number: int, story: Story, paths: Mapping[int, str], chunk_length: int | None) -> dict[str, object]:
    line = {"id": number, "images": [paths[pts_ms] for pts_ms in story.pts_ms], "captions": list(story.captions)}
    return line if chunk_length else line | {"orders": list(range(len(story.captions)))}


def _write_picture(out: Path, story: Story, position: int, written: dict[str, str]) -> str:
    """Write a picture unless it is there already; gives its path in the folder of pictures."""
    data, digest = story.images[position], story.image_sha256[position]
    name = name_of(Picture(story.episode_id, story.pts_ms[position]), ending_of(data))
    known = written.setdefault(name, digest)
    if known != digest:
        raise ValueError(f"story {story.story_id}: another picture of its episode is of the same moment ({name})")
    path = out / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def ending_of(picture: bytes) -> str:
    """Tell by its first bytes what a picture's file is called."""
    if picture.startswith(b"\x89PNG"):
        return "png"
    return "webp" if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP" else "jpg"
