"""Names in running text: capitalised words that do not begin a sentence, in scripts that have capitals.

What cannot be told by capitals alone is left open rather than guessed: a word that begins a sentence, a word all in
capitals (shouting), and every noun of German and Luxembourgish.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"[^\W\d_](?:[\w\u0300-\u036f]|['\u2019\u02bc\u2010\u2011-](?=\w))*")
_STARTS = re.compile(
    r"[.!?…:;¡¿。\uff01\uff1f\n(\[]|\s['\"“„«»\u2039\u203a\u2018\u201a「『]|(?:^|\s)[—\u2013-]+(?=\s|$)"
)
"""Between two words: the second begins a sentence, or something spoken."""
_CALLED = re.compile(r"\s*[,!?…]")
_POSSESSIVE = re.compile(r"['\u2019\u02bc](?:s|S)?$")
_CONTRACTION = re.compile(r"(?i)(?:n['\u2019\u02bc]t|['\u2019\u02bc](?:m|re|ve|ll|d))$")
_ELIDED = re.compile(r"^[a-zà-ÿ]{1,3}['\u2019\u02bc](?=\w)")
_PARTS = re.compile(r"['\u2019\u02bc\u2010\u2011-]")

TITLES = _set(
    "mr mrs ms miss mx dr prof professor st saint sir madam lady lord king queen prince princess emperor captain capt "
    "major general colonel sergeant officer detective doctor nurse chef president judge uncle aunt auntie mother "
    "father mama mamma mum mummy mom mommy dad daddy papa grandma grandpa granny grandmother grandfather sister "
    "brother master mistress monsieur madame mademoiselle mme mlle señor señora señorita don doña signor signora "
    "senhor senhora mijnheer meneer mevrouw herr frau пан пани господин госпожа"
)
"""Said with a name or for one; they name nobody by themselves."""
NOT_NAMES = _set(
    "i ok okay tv monday tuesday wednesday thursday friday saturday sunday january february march april may june july "
    "august september october november december christmas easter halloween god heaven earth sun moon"
)
"""Capitalised in English and nobody's name."""
_NOUNS_TOO = _set("de lb gsw nds")
"""Languages that capitalise every noun."""
_INFLECTED = _set("ru uk be pl cs sk sl hr sr bs bg mk lt lv et fi hu tr az kk el la hy ro sq is eu")
"""Languages in which a name's ending changes with its place in the sentence."""
_SHORT = 3


@dataclass(frozen=True)
class Word:
    """A word where it stands."""

    text: str
    starts: bool
    """Whether it begins a sentence, or something spoken."""
    follows: bool
    """Whether only a space lies between it and the word before."""
    called: bool
    """Whether a comma, exclamation or question mark comes after it."""
    start: int = 0
    """Where it stands in the text, composed (NFC)."""

    @property
    def is_capital(self) -> bool:
        """Whether it begins with a capital and is not shouted."""
        return self.text[0].isupper() and not (len(self.text) > 1 and self.text.isupper())


def words_in(text: str) -> list[Word]:
    """Cut a text into words."""
    text = unicodedata.normalize("NFC", text)
    found: list[Word] = []
    end = 0
    for match in _WORD.finditer(text):
        gap = text[end : match.start()]
        abbreviated = bool(found) and gap.strip() == "." and _abbreviates(found[-1].text)
        starts = not found or (bool(_STARTS.search(gap)) and not abbreviated)
        follows = bool(found) and (gap.isspace() or abbreviated)
        found.append(Word(match[0], starts, follows, bool(_CALLED.match(text, match.end())), match.start()))
        end = match.end()
    return found


def bare(word: str) -> str:
    """Take a word without its possessive ending."""
    return _POSSESSIVE.sub("", word)


def key(word: str) -> str:
    """Give a word in the form in which it is looked up: spelled one way, in small letters."""
    return unicodedata.normalize("NFC", bare(word)).casefold()


def names_in(text: str) -> list[str]:
    """List the single words that stand for names wherever capitals say so; without possessive endings."""
    found = []
    for word in words_in(text):
        name = bare(_unelided(word.text))
        if not word.starts and name[0].isupper() and not name.isupper() and _may_name(name):
            found.append(name)
    return found


def has_telling_capitals(language: str) -> bool:
    """Whether capitals tell names from other words in a language."""
    return language.split("-")[0] not in _NOUNS_TOO


def same_name(one: str, other: str, language: str) -> bool:
    """Say whether two words are forms of one name; endings count where the language does not change them."""
    one, other = key(one), key(other)
    if one == other or one in (f"{other}s", f"{other}es") or other in (f"{one}s", f"{one}es"):
        return True
    if language.split("-")[0] not in _INFLECTED:
        return False
    one, other = unaccented(one), unaccented(other)
    shorter = min(len(one), len(other))
    needed = 2 if shorter <= _SHORT else max(_SHORT, shorter - 2)
    return abs(len(one) - len(other)) <= _SHORT and one[:needed] == other[:needed]


def unaccented(word: str) -> str:
    """Take a word's letters without their marks."""
    return "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")


@dataclass(frozen=True)
class Lexicon:
    """The words that were seen somewhere, and which of them were capitalised."""

    words: frozenset[str] = frozenset()
    capitals: frozenset[str] = frozenset()

    def knows(self, name: str, language: str) -> bool:
        """Whether a name was seen, whole or in all its capitalised parts, or in another form of it."""
        if self._knows_word(name, language):
            return True
        parts = [part for part in _PARTS.split(name) if part[:1].isupper()]
        return len(parts) > 0 and parts != [name] and all(self._knows_word(part, language) for part in parts)

    def spelling_of(self, name: str) -> str | None:
        """Find the name that differs from this one in its accents only."""
        return self._unaccented.get(unaccented(key(name)))

    def _knows_word(self, word: str, language: str) -> bool:
        folded = key(word)
        if folded in self.words or folded in TITLES or folded in NOT_NAMES:
            return True
        if folded.endswith("s") and folded.removesuffix("s") in self.words:
            return True
        if language.split("-")[0] not in _INFLECTED:
            return False
        return any(same_name(word, capital, language) for capital in self.capitals)

    @cached_property
    def _unaccented(self) -> dict[str, str]:
        return {unaccented(key(capital)): capital for capital in sorted(self.capitals)}


def lexicon_of(texts: Iterable[str]) -> Lexicon:
    """Gather the words of texts, and the parts of those that a hyphen or an apostrophe joins."""
    words: set[str] = set()
    capitals: set[str] = set()
    for text in texts:
        for word in words_in(text):
            whole = bare(word.text)
            for one in {whole, *_PARTS.split(whole)} - {""}:
                words.add(key(one))
                if one[0].isupper():
                    capitals.add(one)
    return Lexicon(frozenset(words), frozenset(capitals))


def small_words(texts: Sequence[str]) -> frozenset[str]:
    """Gather the words that texts write small somewhere."""
    return frozenset(key(word.text) for text in texts for word in words_in(text) if word.text[0].islower())


def _abbreviates(word: str) -> bool:
    return word.casefold() in TITLES or (len(word) == 1 and word.isupper())


def _unelided(word: str) -> str:
    """Take `Artagnan` of `d'Artagnan`."""
    after = _ELIDED.sub("", word)
    return after if after[0].isupper() else word


def _may_name(word: str) -> bool:
    folded = key(word)
    return folded not in NOT_NAMES and folded not in TITLES and not _CONTRACTION.search(word)
