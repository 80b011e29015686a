"""Who and what a story's texts name, and how they carry it on: introduced, kept, dropped.

Names are those that are known (the drawn series' world, or a cast that the user gives), else words that begin with a
capital inside a sentence somewhere in the story or its dataset's counterpart. Scripts without capitals then have no
names, and no values. What is kept from one segment to the next follows the entity grid (Barzilay and Lapata 2008).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from evaluation.measures.measure import Values
from evaluation.measures.texts import named, without_possessive, words, words_as_written
from evaluation.pictures import Pair, Telling

Entities = frozenset[str]
Grid = list[tuple[int, Entities]]
Found = list[tuple[int, float]]
_QUOTES = '\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}«»"'
_SENTENCE = re.compile(rf"[.!?…:;]['\N{{RIGHT SINGLE QUOTATION MARK}})\]]*\s+|[{_QUOTES}]|\n+")


def entity_values(tellings: Sequence[Telling], *, cast: Sequence[str] | None = None) -> dict[str, Values]:
    """Measure how one system's texts carry on what they name.

    Args:
        tellings: of the system.
        cast: all names, in lower case or not; none: found by their capitals, story by story.
    """
    told, true = {}, {}
    for telling in tellings:
        names = _reader(telling, cast)
        told[telling.story_id] = _grid((telling.opening, *telling.told), names)
        true[telling.story_id] = dict(_grid(telling.reference, names))
    return {
        "entities_named": {
            story: [(index, float(len(own))) for index, own in grid[1:]] for story, grid in told.items()
        },
        "entities_new": {story: _new(grid) for story, grid in told.items()},
        "entities_mentioned_before": {story: _mentioned_before(grid) for story, grid in told.items()},
        "entities_kept": {story: _kept(grid) for story, grid in told.items()},
        "entities_of_opening": {story: _of_opening(grid) for story, grid in told.items()},
        "entities_reference": {story: _agreement(grid, true[story]) for story, grid in told.items()},
    }


def naming_values(tellings: Sequence[Telling], names: Mapping[str, Sequence[str]]) -> dict[str, Values]:
    """Tell for each text whether it names one of each kind of names: `text_names_<kind>`."""
    return {
        f"text_names_{kind}": {
            telling.story_id: [(pair.index, float(bool(named(pair.text, known)))) for pair in telling.told]
            for telling in tellings
        }
        for kind, known in names.items()
    }


def cast_of(texts: Sequence[str]) -> Entities:
    """Find names by their capitals: words that begin with one inside a sentence, and never without one.

    Single letters ("I") are none. In languages that write every noun so, all nouns are found.
    """
    inside: set[str] = set()
    lower: set[str] = set()
    for text in texts:
        for sentence in _SENTENCE.split(text):
            for place, word in enumerate(words_as_written(sentence or "")):
                plain = without_possessive(word)
                if len(plain) > 1 and place and _is_capital(plain[0]):
                    inside.add(plain.casefold())
                elif not _is_capital(plain[0]):
                    lower.add(plain.casefold())
    return frozenset(inside - lower)


def mentioned(text: str, cast: Entities) -> Entities:
    """List the members of a cast of single words, in lower case, that a text mentions."""
    return frozenset(without_possessive(word) for word in words(text)) & cast


def _reader(telling: Telling, cast: Sequence[str] | None) -> Callable[[str], Entities] | None:
    """Choose how names are read from a story's texts; none where its script shows none and no cast is given."""
    if cast is not None:
        return lambda text: frozenset(named(text, cast))
    found = cast_of([pair.text for pair in (telling.opening, *telling.told, *telling.reference)])
    return (lambda text: mentioned(text, found)) if found else None


def _grid(pairs: Sequence[Pair], names: Callable[[str], Entities] | None) -> Grid:
    """List what each text names."""
    return [(pair.index, names(pair.text)) for pair in pairs] if names is not None else []


def _new(grid: Grid) -> Found:
    seen = grid[0][1] if grid else frozenset()
    found = []
    for index, own in grid[1:]:
        found.append((index, float(len(own - seen))))
        seen |= own
    return found


def _mentioned_before(grid: Grid) -> Found:
    """Measure the share of a segment's names that the opening or an earlier text has."""
    seen = grid[0][1] if grid else frozenset()
    found = []
    for index, own in grid[1:]:
        if own:
            found.append((index, len(own & seen) / len(own)))
        seen |= own
    return found


def _kept(grid: Grid) -> Found:
    """Measure the share of the names of the text before that are named again, where it has any."""
    return [(index, len(own & before) / len(before)) for (_, before), (index, own) in pairwise(grid) if before]


def _of_opening(grid: Grid) -> Found:
    opening = grid[0][1] if grid else frozenset()
    return [(index, float(bool(own & opening))) for index, own in grid[1:]] if opening else []


def _agreement(grid: Grid, true: Mapping[int, Entities]) -> Found:
    """Measure the F1 with what the dataset's text of the same index names; none where neither names anything."""
    return [
        (index, 2 * len(own & true[index]) / (len(own) + len(true[index])))
        for index, own in grid[1:]
        if index in true and own | true[index]
    ]


def _is_capital(letter: str) -> bool:
    return letter.isupper() or letter.istitle()
