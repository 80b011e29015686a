"""The strict check of a told story: what a passage may not be. Pure functions that list every fault in words.

The reasons go back to whoever told the story, so they say what to do.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from story_model.asking.endpoint import Answer
from story_model.asking.structured import is_refusal, read
from storystream_builder.narrating.languages import is_judged, language_of, other_language
from storystream_builder.narrating.names import Lexicon, has_telling_capitals, key, names_in, small_words

_BLOCK_BYTES = 300
"""A language is judged over passages of so much text together; each alone is too short."""
_ECHO_WORDS = 8
_MARKUP = re.compile(
    r"</?[A-Za-z!][^<>]*>|&(?:[a-z]{2,8}|#\d+);|\*\*|__|```|\[/?[A-Z_]+\]|\]\(|^\s*(?:#{1,6}\s|[-*•]\s|\d+[.)]\s|>\s)|[{}]|->"
)
_FILE = re.compile(r"(?i)[\w-]\.(?:jpe?g|png|webp|gif|bmp|tiff?|mp4|mkv|webm|avi|mov|srt|vtt|json|jsonl|txt)\b")
_FRAME = re.compile(
    r"(?i)\b(?:key)?(?:frame|image|picture|passage|caption|panel|scene)s?\s*(?:no\.?|number|nr\.?|#)?\s*\d+|"
    r"\bkeyframes?\b|\bin this (?:frame|image|picture|scene|shot|passage)\b|"
    r"\b(?:the|this) (?:frame|image|picture|caption|passage) (?:shows|depicts|says|describes)\b"
)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffd")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)
_UNSPACED_LETTERS = 2
"""Letters that count as a word in scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese)."""


@dataclass(frozen=True)
class Rules:
    """What a story is held to."""

    min_words: int
    max_words: int
    language: str
    lexicon: Lexicon | None
    """The words of the episode's captions, lines and cast; none: names are not looked at."""
    other_names: Mapping[str, str] = field(default_factory=dict)
    """A name that must not be used, and the one to use for it."""
    instructions: str = ""
    """What was asked, to know it again."""


class _Passage(BaseModel):
    model_config = ConfigDict(extra="forbid")
    frame: int
    text: str


class _Passages(BaseModel):
    model_config = ConfigDict(extra="forbid")
    passages: list[_Passage]


_ITEM = {
    "type": "object",
    "properties": {"frame": {"type": "integer"}, "text": {"type": "string"}},
    "required": ["frame", "text"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"passages": {"type": "array", "items": _ITEM}},
    "required": ["passages"],
    "additionalProperties": False,
}
"""The form in which a story is asked for."""


def passages(answer: Answer, numbers: Sequence[int]) -> tuple[str, ...]:
    """Read an endpoint's story: one text for each of the frames of these numbers, in their order.

    Raises:
        ValueError: the answer is cut short or refused, not of the agreed form, or not one passage a frame in order.
    """
    found = read(answer, _Passages).passages
    told = Counter(passage.frame for passage in found)
    if twice := sorted(number for number, times in told.items() if times > 1):
        raise ValueError(f"frames {twice} come more than once")
    if missing := sorted(set(numbers) - set(told)):
        raise ValueError(f"frames {missing} are missing")
    if unknown := sorted(set(told) - set(numbers)):
        raise ValueError(f"there are no frames {unknown}")
    if list(told) != list(numbers):
        raise ValueError("the frames are not in order")
    return tuple(" ".join(unicodedata.normalize("NFC", passage.text).split()) for passage in found)


def faults(texts: Sequence[str], numbers: Sequence[int], rules: Rules) -> list[str]:
    """List all that is wrong with the passages over the frames of these numbers; nothing where they can be taken."""
    if empty := [number for number, text in zip(numbers, texts, strict=True) if not text]:
        return [f"frames {empty} have no text"]
    echoes = _runs(rules.instructions)
    by_reason: dict[str, list[int]] = defaultdict(list)
    for number, text in zip(numbers, texts, strict=True):
        for reason in _faults_of(text, rules, echoes):
            by_reason[reason].append(number)
    found = [f"frames {where}: {reason}" for reason, where in by_reason.items()]
    found += _repeated(texts, numbers) + _misnamed(texts, numbers, rules)
    return found + foreign(texts, numbers, rules.language)


def unjudged(texts: Sequence[str], rules: Rules) -> list[str]:
    """List what the check cannot judge all through this story: its language, or its names."""
    found = []
    if not is_judged(rules.language) or not all(language_of(block) for _, block in _blocks(texts)):
        found.append("language")
    if rules.lexicon is not None and not has_telling_capitals(rules.language):
        found.append("names")
    return found


def num_words(text: str) -> int:
    """Count words; in scripts that leave no spaces, two letters count as one."""
    spaced = _UNSPACED.sub(" ", text).split()
    unspaced = len(_UNSPACED.findall(text))
    return sum(any(c.isalnum() for c in word) for word in spaced) - (-unspaced // _UNSPACED_LETTERS)


def invented_names(texts: Sequence[str], lexicon: Lexicon, language: str) -> dict[str, str | None]:
    """Find the names in a story that were seen nowhere, each with the name that is spelled nearly so, if there is one.

    In languages where capitals do not tell names, none is found.
    """
    if not has_telling_capitals(language):
        return {}
    small = small_words(texts)
    mentioned = dict.fromkeys(name for text in texts for name in names_in(text))
    return {
        name: lexicon.spelling_of(name)
        for name in mentioned
        if key(name) not in small and not lexicon.knows(name, language)
    }


def foreign(texts: Sequence[str], numbers: Sequence[int], language: str) -> list[str]:
    """List the stretches that are surely in another language than they should be."""
    if not is_judged(language):
        return []
    found = []
    for block, text in _blocks(texts):
        if other := other_language(text, language):
            where = f"{numbers[block[0]]}-{numbers[block[-1]]}"
            found.append(f"frames {where} are in the language {other!r}; write in {language!r}")
    return found


def _faults_of(text: str, rules: Rules, echoes: frozenset[tuple[str, ...]]) -> list[str]:
    words = num_words(text)
    checks = {
        f"fewer than {rules.min_words} words": words < rules.min_words,
        f"more than {rules.max_words} words": words > rules.max_words,
        "markup; write plain prose": _MARKUP.search(text),
        "a file's name": _FILE.search(text),
        "speaks of frames, pictures or captions; tell what happens": _FRAME.search(text),
        "a refusal or a word about yourself": is_refusal(text),
        "repeats the instructions": echoes & _runs(text),
        "characters that are no text": any(_is_no_text(c) for c in text),
    }
    return [reason for reason, is_wrong in checks.items() if is_wrong]


def _repeated(texts: Sequence[str], numbers: Sequence[int]) -> list[str]:
    where: dict[str, list[int]] = defaultdict(list)
    for number, text in zip(numbers, texts, strict=True):
        where[text.casefold()].append(number)
    return [f"frames {same} have the same text; each must fit its own" for same in where.values() if len(same) > 1]


def _misnamed(texts: Sequence[str], numbers: Sequence[int], rules: Rules) -> list[str]:
    if rules.lexicon is None:
        return []
    found = []
    named = [set(names_in(text)) for text in texts]
    for name, nearly in invented_names(texts, rules.lexicon, rules.language).items():
        where = [number for number, names in zip(numbers, named, strict=True) if name in names]
        mend = f"it is spelled {nearly!r}" if nearly else "nobody here is called so; use a known name or none"
        found.append(f"frames {where}: the name {name!r}: {mend}")
    for wrong, right in rules.other_names.items():
        where = [number for number, text in zip(numbers, texts, strict=True) if _says(text, wrong)]
        found += [f"frames {where}: the name {wrong!r}: call {right!r} so throughout"] if where else []
    return found


def _says(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return frozenset(tuple(words[i : i + _ECHO_WORDS]) for i in range(len(words) - _ECHO_WORDS + 1))


def _is_no_text(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn")


def _blocks(texts: Sequence[str]) -> list[tuple[range, str]]:
    """Gather neighbouring passages until there is enough to judge; what is left at the end joins the last."""
    ends: list[int] = []
    size = 0
    for index, text in enumerate(texts, start=1):
        size += len(text.encode(errors="replace"))
        if size >= _BLOCK_BYTES:
            ends.append(index)
            size = 0
    ends = [*ends[:-1], len(texts)]
    blocks = [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return [(block, " ".join(texts[block.start : block.stop])) for block in blocks]
