"""What can be said of a told story's words without a judge: repetition, variety, length, names, overlap."""

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:['\N{RIGHT SINGLE QUOTATION MARK}]\w+)*")


def words(text: str) -> list[str]:
    """Split into case-folded words."""
    return [word.casefold() for word in _WORD.findall(text)]


def repetition(texts: Sequence[str], n: int) -> float | None:
    """Measure rep-n of one story: the share of its n-grams that occurred before in it (0 all new, towards 1 a loop).

    N-grams do not cross from one text to the next. None where no text has n words.
    """
    grams = _ngrams(texts, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Measure distinct-n over many texts: different n-grams over all n-grams. None where no text has n words."""
    grams = _ngrams(texts, n)
    return len(set(grams)) / len(grams) if grams else None


def repeated_texts(texts: Sequence[str]) -> list[bool]:
    """Tell for each text of a story whether the same words were told before."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for text in texts:
        key = tuple(words(text))
        found.append(key in seen)
        seen.add(key)
    return found


def overlap(text: str, reference: str) -> float:
    """Measure the F1 of the two bags of words: 2 x shared words / all words. 1 where both are empty."""
    left, right = Counter(words(text)), Counter(words(reference))
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 1.0


def named(text: str, names: Sequence[str]) -> list[str]:
    """List the names that occur in a text as whole words, whatever their case."""
    return [name for name in names if re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE)]


def _ngrams(texts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    split = [words(text) for text in texts]
    return [tuple(text[start : start + n]) for text in split for start in range(len(text) - n + 1)]
