"""Contact sheets: one picture with rows of labelled thumbnails, to look over many frames at once."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from PIL import Image, ImageDraw, ImageFont

from storystream_builder.showing.browse import (
    Collection,
    SeenEpisode,
    SeenFrame,
    open_collection,
    pick_examples,
    spread,
)
from storystream_builder.showing.page_writer import clock
from storystream_builder.showing.safe_text import shown
from storystream_builder.showing.thumbnails import shrink

SheetKind = Literal["episode", "story", "reason"]
SHEET_KINDS: tuple[SheetKind, ...] = get_args(SheetKind)
USUAL_ROWS = 40
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_HIGHEST = 65_000
"""Pixels that a JPEG can be high."""
_COLUMNS = 10
_CELL, _PICTURE, _LABEL, _TITLE, _MARGIN = 164, (156, 104), 18, 26, 12
_PAPER, _INK, _SOFT, _GAP = "#faf9f6", "#22222a", "#63636f", "#e3e0d8"


@dataclass(frozen=True)
class Cell:
    """A picture, or a gap where there is none, with its label."""

    label: str
    picture: Image.Image | None


@dataclass(frozen=True)
class Row:
    """Thumbnails that belong together."""

    title: str
    cells: list[Cell]


def write_sheet(folder: Path, kind: SheetKind, path: Path, *, limit: int = USUAL_ROWS) -> int:
    """Draw a contact sheet of a dataset or run: a row an episode, a story or a reason; gives the number of rows.

    Of a long row as many frames are shown as fit, evenly spread; of a story all of them, in lines of ten.

    Raises:
        ValueError: there is no dataset, nothing to show, or `path` is no PNG or JPEG.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"{path} is no picture's name; end it in {', '.join(_FORMATS)}")
    collection = open_collection(folder)
    rows = list(_rows(collection, kind, limit))
    if not rows:
        raise ValueError(f"{folder} has no {kind} with pictures to draw a contact sheet of")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = draw_sheet(rows)
    if sheet.height > _HIGHEST:
        raise ValueError(f"a contact sheet of {len(rows)} rows would be {sheet.height} pixels high; lower --limit")
    sheet.save(path, form, quality=88)
    return len(rows)


def draw_sheet(rows: Sequence[Row]) -> Image.Image:
    """Draw rows of labelled thumbnails under their titles."""
    heights = [_TITLE + _lines(row) * (_PICTURE[1] + _LABEL) + _MARGIN for row in rows]
    width = 2 * _MARGIN + _COLUMNS * _CELL
    sheet = Image.new("RGB", (width, sum(heights) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for row, height in zip(rows, heights, strict=True):
        draw.text((_MARGIN, top), _fitting(row.title, width - 2 * _MARGIN, 15), _INK, ImageFont.load_default(15))
        for number, cell in enumerate(row.cells):
            line, column = divmod(number, _COLUMNS)
            place = _MARGIN + column * _CELL, top + _TITLE + line * (_PICTURE[1] + _LABEL)
            _draw_cell(sheet, draw, cell, place)
        top += height
    return sheet


def _lines(row: Row) -> int:
    return max(1, -(-len(row.cells) // _COLUMNS))


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, place: tuple[int, int]) -> None:
    left, top = place
    if cell.picture is None:
        draw.rectangle((left, top, left + _PICTURE[0] - 1, top + _PICTURE[1] - 1), outline=_GAP)
        draw.text((left + 44, top + 44), "no picture", _SOFT, ImageFont.load_default(12))
    else:
        offset = (_PICTURE[0] - cell.picture.width) // 2, (_PICTURE[1] - cell.picture.height) // 2
        sheet.paste(cell.picture, (left + offset[0], top + offset[1]))
    draw.text((left, top + _PICTURE[1] + 1), _fitting(cell.label, _PICTURE[0], 12), _SOFT, ImageFont.load_default(12))


def _fitting(text: str, width: int, size: int) -> str:
    """Cut a text to what a line of so many pixels holds."""
    font, text = ImageFont.load_default(size), " ".join(shown(text).split())
    while text and font.getlength(text) > width:
        text = text[: max(0, len(text) - 4)].rstrip() + "…" if len(text) > 4 else ""
    return text


def _rows(collection: Collection, kind: SheetKind, limit: int) -> Iterator[Row]:
    if kind == "reason":
        yield from _reason_rows(collection, limit)
        return
    made = 0
    for episode in collection.episodes:
        if limit and made >= limit:
            return
        rows = _episode_rows(collection, episode) if kind == "episode" else _story_rows(collection, episode)
        for row in rows:
            if not limit or made < limit:
                made += 1
                yield row


def _episode_rows(collection: Collection, episode: SeenEpisode) -> Iterator[Row]:
    kept = [frame for frame in episode.frames if frame.is_kept]
    if kept:
        pictures = collection.pictures(episode.episode_id)
        cells = [_cell(frame, pictures, clock(frame.pts_ms)) for frame in spread(kept, _COLUMNS)]
        yield Row(f"{episode.name}: {len(kept)} kept of {len(episode.frames)}", cells)


def _story_rows(collection: Collection, episode: SeenEpisode) -> Iterator[Row]:
    pictures = collection.pictures(episode.episode_id) if episode.stories else {}
    for story in episode.stories:
        pairs = enumerate(zip(story.frame_ids, story.texts, strict=True), 1)
        cells = [Cell(f"{index} {text}", _shrunk(pictures.get(name))) for index, (name, text) in pairs]
        yield Row(f"{story.story_id} ({story.split}) of {episode.name}", cells)


def _reason_rows(collection: Collection, limit: int) -> Iterator[Row]:
    """Show examples of each reason, from as many episodes as there are; reasons without pictures are left out."""
    counts = Counter(frame.reason for episode in collection.episodes for frame in episode.frames)
    examples = pick_examples(collection.episodes, _COLUMNS)
    names = {episode.episode_id: episode.name for episode in collection.episodes}
    wanted = {frame.frame_id for frames in examples.values() for frame in frames}
    pictures: dict[str, bytes] = {}
    for episode_id in sorted({frame.episode_id for frames in examples.values() for frame in frames}):
        found = collection.pictures(episode_id)
        pictures |= {name: data for name, data in found.items() if name in wanted}
    for reason, number in counts.most_common(limit or None):
        seen = [frame for frame in examples[reason] if frame.frame_id in pictures]
        if seen:
            labels = [f"{clock(frame.pts_ms)} {names[frame.episode_id]}" for frame in seen]
            cells = [_cell(frame, pictures, label) for frame, label in zip(seen, labels, strict=True)]
            yield Row(f"{reason}: {number}", cells)


def _cell(frame: SeenFrame, pictures: Mapping[str, bytes], label: str) -> Cell:
    return Cell(label, _shrunk(pictures.get(frame.frame_id)))


def _shrunk(data: bytes | None) -> Image.Image | None:
    """Decode a picture to the size of a cell."""
    picture = shrink(data, max(_PICTURE)) if data else None
    if picture is not None:
        picture.thumbnail(_PICTURE)
    return picture
