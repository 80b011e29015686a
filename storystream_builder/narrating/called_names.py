"""Whom the spoken lines of an episode call by name, found by capitals and frequency alone."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence

from storystream_builder.narrating.names import (
    NOT_NAMES,
    TITLES,
    Word,
    bare,
    has_telling_capitals,
    key,
    same_name,
    unaccented,
    words_in,
)

_MIN_CALLS = 3


def called_names(lines: Sequence[str], language: str) -> list[str]:
    """List the names that lines keep calling, the most frequent first: capitalised in mid-sentence, thrice at least.

    A name at the start of a sentence counts only where it calls somebody (`George, come!`) and is elsewhere seen to be
    a name. None is found where capitals do not tell names, as in German, Japanese or Arabic.
    """
    if not has_telling_capitals(language):
        return []
    inside, at_start, small = Counter[str](), Counter[str](), Counter[str]()
    for line in lines:
        words = words_in(line)
        inside.update(_runs(line, words))
        at_start.update(bare(word.text) for word in words if word.starts and word.called and word.is_capital)
        small.update(key(word.text) for word in words if word.text[0].islower())
    counts = Counter({name: number + at_start[name] for name, number in inside.items() if small[key(name)] < number})
    merged = _merged(counts, language)
    frequent = [name for name, number in merged.items() if number >= _MIN_CALLS]
    return sorted(frequent, key=lambda name: (-merged[name], name))


def _runs(line: str, words: Sequence[Word]) -> list[str]:
    """List the names in a line, those of several words whole."""
    runs: list[list[Word]] = []
    for word in words:
        folded = key(word.text)
        is_title = word.is_capital and folded in TITLES
        fits = is_title or (word.is_capital and not word.starts and folded not in NOT_NAMES)
        if fits and runs and runs[-1] and word.follows and not word.starts:
            runs[-1].append(word)
        else:
            runs.append([word] if fits else [])
    told = [run for run in runs if any(len(word.text) > 1 and key(word.text) not in TITLES for word in run)]
    composed = unicodedata.normalize("NFC", line)
    spans = [composed[run[0].start : run[-1].start + len(run[-1].text)] for run in told]
    return [bare(" ".join(span.split())) for span in spans]


def _merged(counts: Counter[str], language: str) -> dict[str, int]:
    """Put the forms of a name together under the most frequent one, and a part of a name under the frequent whole."""
    merged: dict[str, int] = {}
    by_start: dict[str, list[str]] = defaultdict(list)
    for name, number in sorted(counts.items(), key=lambda item: (-item[1], len(item[0]), item[0])):
        alike = by_start[unaccented(key(name))[:2]]
        first = next((one for one in alike if same_name(name, one, language)), None)
        if first is None:
            alike.append(name)
        merged[first or name] = merged.get(first or name, 0) + number
    wholes = [name for name, number in merged.items() if " " in name and number >= _MIN_CALLS]
    for part in [name for name in merged if " " not in name]:
        whole = next((one for one in wholes if part in one.split()), None)
        if whole:
            merged[whole] += merged.pop(part)
    return merged
