"""What can be said of words without a judge: repetition, variety, names, overlap. In any script.

Scripts that put no spaces between words (Han, kana, Thai, Lao, Khmer, Burmese) count each character as a word, as
BLEU does for Chinese; combining marks belong to their letter.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_SPACELESS = (
    "\N{THAI CHARACTER KO KAI}-\N{LAO LETTER KHMU NYO}"
    "\N{MYANMAR LETTER KA}-\N{MYANMAR SYMBOL SHAN EXCLAMATION}"
    "\N{KHMER LETTER KA}-\N{KHMER SIGN ATTHACAN}"
    "\N{HIRAGANA LETTER SMALL A}-\N{KATAKANA DIGRAPH KOTO}"
    "\N{CJK UNIFIED IDEOGRAPH-3400}-\N{CJK UNIFIED IDEOGRAPH-9FFF}"
    "\N{CJK COMPATIBILITY IDEOGRAPH-F900}-\N{CJK COMPATIBILITY IDEOGRAPH-FAD9}"
    "\N{CJK UNIFIED IDEOGRAPH-20000}-\N{CJK UNIFIED IDEOGRAPH-3134A}"
)
_MARK = "\N{COMBINING GRAVE ACCENT}"
"""Stands for every combining mark while words are looked for."""
_LETTER = rf"(?:(?![{_SPACELESS}])\w|{_MARK})"
_WORD = re.compile(rf"(?=\w)[{_SPACELESS}]{_MARK}*|{_LETTER}+(?:['\N{{RIGHT SINGLE QUOTATION MARK}}]{_LETTER}+)*")


def words(text: str) -> list[str]:
    """Split into case-folded words."""
    return [word.casefold() for word in words_as_written(text)]


def words_as_written(text: str) -> list[str]:
    """Split into words, letters composed (NFC)."""
    composed, shadow = _composed(text)
    return [composed[found.start() : found.end()] for found in _WORD.finditer(shadow)]


def repetition(texts: Sequence[str], n: int) -> float | None:
    """Measure rep-n of one story: the share of its n-grams that occurred before in it (0 all new, towards 1 a loop);
    distinct-n is 1 minus it.

    N-grams do not cross from one text to the next. None where no text has n words.
    """
    grams = ngrams(texts, n)
    return 1 - len(set(grams)) / len(grams) if grams else None


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
    return overlap_of(Counter(words(text)), Counter(words(reference)))


def overlap_of(one: Counter[str], other: Counter[str]) -> float:
    """Measure the F1 of two bags of words. 1 where both are empty."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def named(text: str, names: Sequence[str]) -> list[str]:
    """List the names that occur in a text as whole words, whatever their case."""
    composed, shadow = _composed(text)
    return [name for name in names if _occurs(name, composed, shadow)]


def ngrams(texts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """List the runs of n words of each text."""
    split = [words(text) for text in texts]
    return [tuple(text[start : start + n]) for text in split for start in range(len(text) - n + 1)]


def without_possessive(word: str) -> str:
    """Cut a word before its first apostrophe."""
    return re.split(r"['\N{RIGHT SINGLE QUOTATION MARK}]", word, maxsplit=1)[0]


def _occurs(name: str, composed: str, shadow: str) -> bool:
    """Look for a name that no letter touches; characters of a script without spaces touch nothing."""
    parts = unicodedata.normalize("NFC", name).split()
    if not parts:
        return False
    for found in re.finditer(r"\s+".join(re.escape(part) for part in parts), composed, re.IGNORECASE):
        start, end = found.span()
        before, after = shadow[max(start - 1, 0) : start], shadow[end : end + 1]
        if not (_is_letter(shadow[start]) and _is_letter(before)) and not (
            _is_letter(shadow[end - 1]) and _is_letter(after)
        ):
            return True
    return False


def _is_letter(one: str) -> bool:
    return re.fullmatch(_LETTER, one) is not None


def _composed(text: str) -> tuple[str, str]:
    """Compose letters, and write the same text with one mark for all marks, character by character."""
    composed = unicodedata.normalize("NFC", text)
    if composed.isascii():
        return composed, composed
    return composed, "".join(_MARK if unicodedata.category(one)[0] == "M" else one for one in composed)
