"""Stories that another system told from the same openings, read like ours so that they are measured and judged alike.

Every picture becomes the square that ours are, whatever its size and shape: squashed, or its middle cut out, as the
de-tokenizer's `transform` says, and just as the dataset's pictures are treated; smaller pictures are scaled up. This
happens when a picture is opened; files are left as they are. The opening is the dataset's own, for all systems.

A story that cannot be used is left out, named and counted, never scored as zero: `python -m evaluation.external check
FOLDER RUN_DIR` says which those are before anything is paid.
"""

import argparse
import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel
from tqdm import tqdm

from evaluation.external_forms import ExternalStory, read_story, read_system
from evaluation.pictures import Pair, Pixels, Telling, measured
from story_model.config import read_config
from story_model.dataset import Story, read_stories
from story_model.pixels import Square, detokenizer_square, size_of
from story_model.workspace import RunFolder, contained

MODE = "external"
"""In the place of a mode; the system's name is in that of the policy, so that no system of ours has the same name."""
MAPPING = "mapping.csv"
_LONGEST = 8
_MOST_PIXELS = 1 << 26
_UNLIKE = 40.0
"""Mean difference of pixels (of 255) beyond which an opening is hardly the dataset's; recompressed, it is below 10."""


class ExternalNotes(BaseModel):
    """What was found in another system's folder, and what was not used."""

    name: str
    url: str | None
    notes: str | None
    stories: int
    """Stories that are used."""
    not_told: int
    """Validation stories that the system has not told."""
    pictures: int
    texts_alone: int
    """Segments without a picture."""
    forms: dict[str, int]
    """Stories by form."""
    segments: dict[int, int]
    """Stories by how many segments were told; unequal numbers are compared where both have one."""
    sizes: dict[str, int]
    """Pictures by width x height, as stored."""
    remarks: dict[str, int]
    """What had to be understood in reading, by the number of stories."""
    skipped: dict[str, str]
    """Folders that hold no usable story, with the reason."""
    unmatched: list[str]
    """Folders whose story is none of the dataset's validation stories."""
    unlike_openings: list[str]
    """Folders whose opening does not look like the dataset's: is the story matched with the right one?"""

    @property
    def lines(self) -> list[str]:
        """Say all of it for a terminal."""
        counts = f"{self.name}: {self.stories} stories, {self.pictures} pictures, {self.texts_alone} texts without one"
        tables = [_counted("forms", self.forms), _counted("sizes", self.sizes)]
        lengths = [] if len(self.segments) > 1 else _counted("segments told", self.segments)
        return [counts, *(line for table in tables for line in table), *lengths, *self.cautions]

    @property
    def cautions(self) -> list[str]:
        """Say what weakens its numbers, for a report."""
        told = _counted("segments told", self.segments) if len(self.segments) > 1 else []
        told += [f"texts without a picture: {self.texts_alone}"] if self.texts_alone else []
        told += _counted("noted", self.remarks)
        told += [f"validation stories not told: {self.not_told}"] if self.not_told else []
        told += [f"skipped {folder}: {reason}" for folder, reason in self.skipped.items()]
        told += [
            f"unmatched {folder}: no validation story of this name; add it to {MAPPING}" for folder in self.unmatched
        ]
        return told + [
            f"opening of {folder} looks unlike the dataset's; matched rightly?" for folder in self.unlike_openings
        ]


def read_external(
    folder: Path, validation: Iterable[Story], square: Square
) -> tuple[str, list[Telling], ExternalNotes]:
    """Read another system's stories beside the dataset's.

    Args:
        folder: of the system, in the form of docs/external_systems.md.
        validation: the dataset's validation stories.
        square: of the told pictures; every picture of the system is made this square.

    Returns:
        The system's name in tables (`external-<name>`), its tellings in the order of their folders' names, and what
        was left out.

    Raises:
        ValueError: there is no such folder, its `system.json` or `mapping.csv` is malformed, or no story is usable.
    """
    system = read_system(folder)
    reading = _Reading(folder, list(validation), square, system.name)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for name in tqdm(names, desc=f"{MODE}-{system.name}", unit="story", mininterval=2):
        reading.add(name)
    tellings = list(reading.tellings.values())
    notes = reading.notes(url=system.url, notes=system.notes)
    if not tellings:
        raise ValueError("\n  ".join([f"{folder} holds no story that can be used", *notes.lines[:20]]))
    return tellings[0].system, tellings, notes


class _Reading:
    """Stories read so far, and what was not."""

    def __init__(self, folder: Path, validation: Sequence[Story], square: Square, name: str) -> None:
        self._folder, self._square, self._name = folder, square, name
        self._stories = {story.story_id: story for story in validation}
        self._mapped, self._named = read_mapping(folder, self._stories), _by_folder(self._stories)
        self.tellings: dict[str, Telling] = {}
        self._folders: dict[str, str] = {}
        self._found: list[ExternalStory] = []
        self._sizes: Counter[str] = Counter()
        self._skipped: dict[str, str] = {}
        self._unmatched: list[str] = []
        self._unlike: list[str] = []

    def add(self, name: str) -> None:
        """Read one story's folder; what is wrong with it is noted."""
        try:
            self._add(name, read_story(contained(self._folder, name)))
        except (ValueError, OSError, RuntimeError) as error:  # the last: a link that leads to itself
            self._skipped[name] = str(error).splitlines()[0]

    def _add(self, name: str, found: ExternalStory) -> None:
        story_id = self._mapped.get(name) or found.story_id or self._named.get(name)
        if story_id is None or story_id not in self._stories:
            self._unmatched.append(name)
            return
        if story_id in self.tellings:
            raise ValueError(f"story {story_id} is in folder {self._folders[story_id]} already")
        telling, sizes = self._telling(self._stories[story_id], found)
        if (
            found.opening is not None
            and size_text(found.opening)
            and self._is_unlike(found.opening, telling.opening.pixels)
        ):
            self._unlike.append(name)
        self.tellings[story_id], self._folders[story_id] = telling, name
        self._found.append(found)
        self._sizes.update(sizes)

    def _telling(self, story: Story, found: ExternalStory) -> tuple[Telling, list[str]]:
        true = [
            Pair(index, story.captions[index], picture, self._pixels(picture))
            for index, picture in enumerate(story.images[: len(found.texts) + 1])
        ]
        shapes = [size_text(path) for path in found.pictures if path is not None]
        told = tuple(
            Pair(index, text, picture, None if picture is None else self._pixels(picture), self._square)
            for index, (text, picture) in enumerate(zip(found.texts, found.pictures, strict=True), start=1)
        )
        opening = replace(true[0], square=self._square)
        return Telling(story.story_id, MODE, self._name, opening, told, tuple(true[1:])), shapes

    def _pixels(self, source: bytes | Path) -> Pixels:
        return measured(source, square=self._square)

    def _is_unlike(self, opening: Path, true: Pixels | None) -> bool:
        assert true is not None
        return float(np.abs(self._pixels(opening).astype(np.float32) - true).mean()) > _UNLIKE

    def notes(self, *, url: str | None, notes: str | None) -> ExternalNotes:
        """Count what was read."""
        pictures = [picture for story in self._found for picture in story.pictures]
        return ExternalNotes(
            name=f"{MODE}-{self._name}",
            url=url,
            notes=notes,
            stories=len(self._found),
            not_told=len(self._stories) - len(self._found),
            pictures=sum(picture is not None for picture in pictures),
            texts_alone=sum(picture is None for picture in pictures),
            forms=Counter(story.form for story in self._found),
            segments=dict(sorted(Counter(len(story.texts) for story in self._found).items())),
            sizes=dict(self._sizes.most_common()),
            remarks=Counter(story.remark for story in self._found if story.remark is not None),
            skipped=self._skipped,
            unmatched=self._unmatched,
            unlike_openings=self._unlike,
        )


def _counted(head: str, table: Mapping[str, int] | Mapping[int, int]) -> list[str]:
    return [f"{head}: " + ", ".join(f"{key} ({n})" for key, n in table.items())] if table else []


def size_text(path: Path) -> str:
    """Give a picture's `width x height`, without decoding it.

    Raises:
        ValueError: it is none, or of a shape that would take all memory once its shorter side is scaled up.
    """
    try:
        width, height = size_of(path.read_bytes())
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} cannot be decoded: {error}") from None
    if max(width, height) > _LONGEST * min(width, height) or width * height > _MOST_PIXELS:
        raise ValueError(
            f"{path.name} has {width} x {height} pixels; at most {_MOST_PIXELS:,} are read, and {_LONGEST} times as "
            "long as wide"
        )
    return f"{width} x {height}"


def read_mapping(folder: Path, stories: Mapping[str, Story]) -> dict[str, str]:
    """Read which folder continues which validation story: `mapping.csv` with the columns `folder,story_id`.

    Raises:
        ValueError: it has other columns, names something twice, or a story that is no validation story.
    """
    path = folder / MAPPING
    if not path.is_file():
        return {}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table: {error}") from None
    found: dict[str, str] = {}
    folders = {one.name for one in folder.iterdir()}
    for number, row in enumerate(rows, start=2):
        name, story_id = row.get("folder"), row.get("story_id")
        if not name or not story_id or None in row:
            raise ValueError(f"{path}, line {number}: give folder,story_id, as the first line says them")
        if name in found or story_id in found.values():
            raise ValueError(f"{path}, line {number}: folder {name!r} or story {story_id!r} comes twice")
        if name not in folders:
            raise ValueError(f"{path}, line {number}: there is no folder {name!r}")
        if story_id not in stories:
            raise ValueError(f"{path}, line {number}: {story_id!r} is no validation story of the dataset")
        found[name] = story_id
    return found


def _by_folder(stories: Mapping[str, Story]) -> dict[str, str]:
    """Name stories as folders may be called: the id itself, and with `-` for what no file name holds."""
    plain = {story_id: re.sub(r"[^A-Za-z0-9_-]", "-", story_id) for story_id in stories}
    unique = {name for name, count in Counter(plain.values()).items() if count == 1}
    return {name: story_id for story_id, name in plain.items() if name in unique} | {one: one for one in stories}


def main(arguments: Sequence[str] | None = None) -> None:
    """Say what a run's evaluation would use of another system's folder."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.external", description="Check other systems' stories.")
    check = parser.add_subparsers(required=True).add_parser("check", help="read a folder as the evaluation would")
    check.add_argument("folder", type=Path, help="the other system's stories (docs/external_systems.md)")
    check.add_argument("run_dir", type=Path, help="the run whose validation stories they continue (workspace/<run>)")
    options = parser.parse_args(arguments)
    run = RunFolder(options.run_dir.resolve())
    try:
        if not run.config_path.is_file():
            raise ValueError(f"{run.root} holds no config.yaml; is it a run's folder?")
        square = detokenizer_square(read_config(run.config_path).model.detokenizer)
        notes = read_external(options.folder, read_stories(run.dataset_dir, "validation"), square)[2]
    except ValueError as error:
        sys.exit(f"external: {error}")
    sys.stdout.write("\n".join(notes.lines) + "\n")
    if notes.skipped or notes.unmatched:
        sys.exit(1)


if __name__ == "__main__":
    main()
