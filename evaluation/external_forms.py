"""The forms in which other systems' stories lie on disk, read to plain rows: texts, and where their pictures are.

A folder holds a folder for each story: our own `story.json`; what SEED-Story's inference writes; or numbered pictures
with a file of texts (docs/external_systems.md). Nothing is guessed: a story whose texts and pictures cannot be told to
belong together is refused with the reason. No picture is opened here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from story_model.schema import ToldStory
from story_model.strict_json import read_json
from story_model.workspace import contained

Form = Literal["story.json", "seed-story", "numbered pictures"]
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SEED_PICTURE = re.compile(r"ori_(\d{1,4})\.(?:jpg|jpeg|png|webp)", re.IGNORECASE)
_NUMBERED_PICTURE = re.compile(r"(\d{1,4})\.(?:jpg|jpeg|png|webp)", re.IGNORECASE)


class ExternalSystem(BaseModel):
    """Another system, as `system.json` describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=rf"^{_PLAIN_NAME.pattern}$")
    """In tables and MLflow; letters, digits, dot, dash, underscore."""
    url: str | None = None
    notes: str | None = None


@dataclass(frozen=True)
class ExternalStory:
    """A story as found, its opening left out."""

    form: Form
    story_id: str | None
    """As the story itself says; only our own form does."""
    texts: tuple[str, ...]
    """Of the told segments, 1.. in order."""
    pictures: tuple[Path | None, ...]
    """As many; none where the system gave a text alone."""
    opening: Path | None = None
    """The opening's picture, where the folder has it unchanged."""
    remark: str | None = None
    """What had to be understood, for the counts."""


class _Line(BaseModel):
    """One line of `texts.jsonl`; keys of the user's own are let be."""

    text: str
    index: int | None = None


def read_system(folder: Path) -> ExternalSystem:
    """Read who told a folder's stories; without `system.json`, the folder's name is the system's.

    Raises:
        ValueError: there is no such folder, or no usable name.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; evaluate.external names folders of other systems' stories")
    path = folder / "system.json"
    try:
        if path.is_file():
            return ExternalSystem.model_validate(read_json(path.read_bytes()))
        return ExternalSystem(name=folder.resolve().name)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f'{path}: {where}: {first["msg"]}; write {{"name": "...", "url": "...", "notes": "..."}}, the name of '
            "letters, digits, dots, dashes and underscores"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None


def external_folders(folders: Sequence[str]) -> dict[str, Path]:
    """Name the folders of `evaluate.external` by their systems: `external-<name>`, which none of ours is called.

    Raises:
        ValueError: a folder is not there, or two systems have one name.
    """
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        name = f"external-{read_system(folder).name}"
        if name in found:
            raise ValueError(
                f"{found[name]} and {folder} are both called {name!r}; give one another name in its system.json"
            )
        found[name] = folder.resolve()
    return found


def read_story(folder: Path) -> ExternalStory:
    """Read one story in whichever form it lies there.

    Raises:
        ValueError: it has none of the forms, or its texts and pictures do not belong together.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if "story.json" in names:
        return _read_told(folder)
    if pictures := _numbered(folder, names, _SEED_PICTURE):
        return _read_seed_story(folder, pictures)
    if pictures := _numbered(folder, names, _NUMBERED_PICTURE):
        return _read_numbered(folder, pictures)
    raise ValueError("holds no story: no story.json, no ori_01.jpg, no 01.png")


def told_story(folder: Path) -> ToldStory:
    """Read a folder's `story.json`.

    Raises:
        ValueError: it is none, or its segments are not numbered 0, 1, ...
    """
    try:
        told = ToldStory.model_validate(read_json((folder / "story.json").read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"story.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as error:
        raise ValueError(f"story.json is no JSON: {error}") from None
    if [segment.index for segment in told.segments] != list(range(len(told.segments))) or len(told.segments) < 2:
        raise ValueError("story.json: segments must be numbered 0, 1, ...; 0 is the opening")
    return told


def _read_told(folder: Path) -> ExternalStory:
    told = told_story(folder)
    pictures = [None if segment.image is None else _file(folder, segment.image) for segment in told.segments]
    texts = tuple(segment.text for segment in told.segments[1:])
    return ExternalStory("story.json", told.story_id, texts, tuple(pictures[1:]), pictures[0], f"mode {told.mode}")


def _read_seed_story(folder: Path, pictures: Mapping[int, Path]) -> ExternalStory:
    """Read `ori_01.jpg` ... and `text.txt`, to which a repeated run appends while it writes over the pictures."""
    _check_gaps(pictures)
    if 0 in pictures:
        raise ValueError(f"{pictures[0].name} is none of SEED-Story's; its pictures are numbered from 01")
    count = len(pictures)
    lines = [line.replace("[INST]", "").strip() for line in _lines(folder / "text.txt")]
    runs = [(length, len(lines) // length) for length in (count, count + 1) if len(lines) and len(lines) % length == 0]
    if len(runs) != 1:
        raise ValueError(
            f"text.txt has {len(lines)} lines for {count} pictures, which is no number of whole runs; leave the lines "
            "of the last run alone, one a picture"
        )
    length, repeats = runs[0]
    texts = tuple(lines[-length:])
    remark = None if repeats == 1 else "text.txt holds several runs; the last one's lines are taken"
    return ExternalStory("seed-story", None, texts, _beside(texts, pictures), remark=remark)


def _read_numbered(folder: Path, pictures: Mapping[int, Path]) -> ExternalStory:
    """Read `01.png` ... and their texts; 00 is the opening, where it is there."""
    _check_gaps(pictures)
    first = min(pictures)
    texts = _texts(folder, first)
    while len(texts) > len(pictures) and not texts[-1].strip():
        texts = texts[:-1]
    if len(texts) < len(pictures):
        raise ValueError(
            f"has {len(pictures)} pictures and {len(texts)} texts; give one a picture, to the opening as well"
        )
    told = texts[1:] if first == 0 else texts
    return ExternalStory("numbered pictures", None, told, _beside(told, pictures), pictures.get(0))


def _texts(folder: Path, first: int) -> tuple[str, ...]:
    plain, rows = folder / "texts.txt", folder / "texts.jsonl"
    if plain.is_file() == rows.is_file():
        raise ValueError("must hold either texts.txt, a line a picture, or texts.jsonl")
    if plain.is_file():
        return tuple(_lines(plain))
    lines = [_row(line, number) for number, line in enumerate(_lines(rows), start=1)]
    indices = [first + place if line.index is None else line.index for place, line in enumerate(lines)]
    if indices != list(range(first, first + len(lines))):
        raise ValueError(f"texts.jsonl: indices must be {first}, {first + 1}, ... in order")
    return tuple(line.text for line in lines)


def _row(line: str, number: int) -> _Line:
    try:
        row = read_json(line)
        return _Line(text=row) if isinstance(row, str) else TypeAdapter(_Line).validate_python(row, strict=True)
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ValueError(f'texts.jsonl, line {number}: {reason}; write {{"index": 1, "text": "..."}}') from None


def _lines(path: Path) -> list[str]:
    """Read a file's lines; an empty one is an empty text, all but the end of the file."""
    if not path.is_file():
        raise ValueError(f"has no {path.name}")
    try:
        text = _file(path.parent, path.name).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8") from None
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _numbered(folder: Path, names: Sequence[str], pattern: re.Pattern[str]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for name in names:
        if (match := pattern.fullmatch(name)) is None:
            continue
        number = int(match[1])
        if number in found:
            raise ValueError(f"{found[number].name} and {name} have the same number")
        found[number] = _file(folder, name)
    return found


def _check_gaps(pictures: Mapping[int, Path]) -> None:
    """Refuse a picture that is missing between others: lost, or never painted, is for the user to say."""
    numbers = sorted(pictures)
    if numbers[0] > 1 or numbers[-1] == 0:
        raise ValueError("has no picture 01, the first that was told (00 is the opening)")
    gap = next((number for number in range(numbers[0], numbers[-1]) if number not in pictures), None)
    if gap is not None:
        raise ValueError(
            f"picture {gap} is missing; if the system gave none there, say so in a story.json (image: null)"
        )


def _beside(texts: Sequence[str], pictures: Mapping[int, Path]) -> tuple[Path | None, ...]:
    return tuple(pictures.get(number) for number in range(1, len(texts) + 1))


def _file(folder: Path, name: str) -> Path:
    path = contained(folder, name)
    if not path.is_file():
        raise ValueError(f"{name} is not there")
    return path
