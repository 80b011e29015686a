"""One line of a published JSONL file -> pictures' names and captions, or why it is no story.

Strict JSON, and the one other form that the published scripts write: a Python dictionary as `str()` shows it, read as a
literal, which runs nothing.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from story_model.strict_json import read_json
from storystream_builder.importers.entries import Fault

_MOST_LITERAL_BYTES = 1 << 20
"""A story of 30 is some 20 KB; Python's parser is not made for long foreign text."""


@dataclass(frozen=True)
class Line:
    """A story as published."""

    story_id: str
    """Unique in what `build_story.py` wrote; in files of chunks, the parent's number."""
    images: tuple[str, ...]
    captions: tuple[str, ...]
    has_orders: bool


def read_line(data: bytes) -> Line | Fault:
    """Read a line."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return Fault("not UTF-8", f"byte {error.start} is not UTF-8")
    value = _literal(text) if text.lstrip().startswith(("{'", "None")) else _json(text)
    if isinstance(value, Fault):
        return value
    if value is None:
        return Fault("empty story", "None: the story was given up where it was written")
    return _line(value) if isinstance(value, dict) else Fault("not a story", "not an object with images and captions")


def _json(text: str) -> object:
    try:
        return read_json(text)
    except ValueError as error:
        return Fault("not JSON", str(error))


def _literal(text: str) -> object:
    if len(text) > _MOST_LITERAL_BYTES:
        return Fault("not JSON", f"a Python literal of more than {_MOST_LITERAL_BYTES} characters")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        return Fault("not JSON", f"nor a Python literal: {type(error).__name__}")


def _line(value: Mapping[object, object]) -> Line | Fault:
    images, captions, orders = value.get("images"), value.get("captions"), value.get("orders")
    if not _are_texts(images) or not _are_texts(captions):
        return Fault("not a story", "`images` and `captions` are not lists of text")
    assert isinstance(images, list)
    assert isinstance(captions, list)
    if len(images) != len(captions):
        return Fault("lengths differ", f"{len(images)} images and {len(captions)} captions")
    if not images:
        return Fault("empty story", "it has no images")
    if orders is not None and orders != list(range(len(images))):
        return Fault("orders", "`orders` is not 0, 1, 2, ...: which text is whose is not certain")
    if not all(_is_unicode(text) for text in (*images, *captions)):
        return Fault("not UTF-8", "a text holds half a surrogate pair")
    return Line(str(value.get("id", "")), tuple(images), tuple(captions), orders is not None)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
