"""Bytes of an unknown encoding -> text, and a note on what was guessed.

Subtitle files of many countries are older than UTF-8's victory. Marks and valid UTF-8 are believed. What is left is
guessed by charset-normalizer from the bytes that are not ASCII, helped by the language where one is known. Where these
stand alone between ASCII letters it is Latin script, and the code page wins whose letters belong to one language: the
library confuses these pages, takes a few accents for Chinese, and a few kana for Korean.
"""

import re
from itertools import islice

import charset_normalizer
import langcodes

_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_BY_SCRIPT = {
    "Cyrl": ("cp1251", "koi8_r", "cp866"),
    "Grek": ("cp1253",),
    "Hebr": ("cp1255",),
    "Arab": ("cp1256",),
    "Thai": ("cp874",),
    "Jpan": ("cp932", "euc_jp"),
    "Kore": ("cp949",),
    "Hans": ("gb18030",),
    "Hant": ("big5hkscs", "gb18030"),
}
_LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "cp1258")
"""In the order in which they are preferred where they read alike."""
_ALL = tuple(dict.fromkeys([*(name for names in _BY_SCRIPT.values() for name in names), *_LATIN]))
_ALPHABETS = (  # noqa: SIM905
    "àâæçèéêëîïôùûüÿœ äöüß áéíñóúü àáâãçéêíóôõúü àèéìíîòóùú ëéïóöü åäöé æøåé áðéíóúýþæö àçèéíïòóúü ëç "
    "ąćęłńóśźż áčďéěíňóřšťúůýž áäčďéíĺľňóôŕšťúýž áéíóöőúüű čćđšž ăâîşţ ăâîșț āčēģīķļņšūž ąčęėįšųūž äõöüšž "
    "çğıiöşüâîû "  # noqa: RUF001 - the Turkish letter is meant
    "ăâđêôơưàáèéìíòóùúýảẻỉỏủỷãẽĩõũỹạẹịọụỵ"
).split()
"""Letters beyond a-z of one language each."""
_PUNCTUATION = "“”„‚‘’«»‹›…–—¿¡°€£§ª\xa0\xad♪·"  # noqa: RUF001 - they are meant
_FROM_HIGH_BYTE = re.compile(rb"[\x80-\xff][^\r\n]*")
_HIGH = re.compile(rb"[\x80-\xff]")
_LONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_CONTROLS = bytes([*range(9), *range(14, 32), 127])
_SAMPLE_BYTES = 1 << 16


def decode_text(data: bytes, *, language: str | None = None) -> tuple[str, list[str]]:
    """Turn bytes into text: (text, notes on what was guessed or lost).

    Raises:
        ValueError: it is no text, or in no known encoding.
    """
    text, notes = _marked(data) or _utf8(data) or _guessed(data, language) or ("", [])
    as_bytes = text.encode("utf-8", "replace")
    num_controls = len(as_bytes) - len(as_bytes.translate(None, _CONTROLS))
    if (data and not text) or num_controls > len(text) // 100:
        raise ValueError("the text's encoding is unknown, or it is no text; save it as UTF-8")
    return text, notes


def _marked(data: bytes) -> tuple[str, list[str]] | None:
    """Read what says its encoding itself."""
    if b"\x1b$B" in data or b"\x1b$@" in data:
        return _tolerant(data, "iso2022_jp")
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    return _tolerant(data, encoding) if encoding else None


def _utf8(data: bytes) -> tuple[str, list[str]] | None:
    return _tolerant(data, "utf-8")


def _guessed(data: bytes, language: str | None) -> tuple[str, list[str]] | None:
    sample = b"\n".join(match.group()[:2000] for match in islice(_FROM_HIGH_BYTE.finditer(data), 2000))[:_SAMPLE_BYTES]
    likely = _likely(language)
    encoding = _latin(sample) if _has_accents(sample) else _japanese(sample)
    encoding = encoding or (_best(sample, likely) if likely else None) or _best(sample, _ALL)
    if encoding is None or encoding in _LATIN:
        encoding = _latin(sample)
    read = _tolerant(data, encoding) if encoding else None
    if encoding is None or read is None:
        return None
    name = encoding.upper().replace("CP125", "Windows-125")
    return read[0], [f"the subtitles are not UTF-8; they were read as {name}, which is a guess", *read[1]]


def _tolerant(data: bytes, encoding: str) -> tuple[str, list[str]] | None:
    """Decode, and forgive a few broken bytes among many that prove the encoding; none where they do not."""
    text = data.decode(encoding, "replace")
    broken = text.count("\ufffd")
    if not broken:
        return text, []
    proofs = len(text) - broken if encoding.startswith(("utf-16", "utf-32")) else _num_beyond_ascii(text) - broken
    if broken * 10 > proofs:
        return None
    return text.replace("\ufffd", ""), [f"{broken} broken characters were left out of the subtitles"]


def _num_beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _likely(language: str | None) -> tuple[str, ...]:
    """List the old encodings of a language's script; none for Latin script, which decodes anything."""
    if language is None:
        return ()
    try:
        return _BY_SCRIPT.get(langcodes.get(language).maximize().script or "", ())
    except ValueError:
        return ()


def _has_accents(sample: bytes) -> bool:
    """Say whether most bytes beyond ASCII stand alone, as accented letters do."""
    return len(_LONE.findall(sample)) > 0.6 * len(_HIGH.findall(sample))


def _best(sample: bytes, encodings: tuple[str, ...]) -> str | None:
    found = charset_normalizer.from_bytes(sample, cp_isolation=list(encodings), enable_fallback=False).best()
    return found.encoding if found else None


def _latin(sample: bytes) -> str | None:
    """Choose the code page under which most letters belong to one language; none where hardly any do."""
    scores = {encoding: _alphabet_score(sample.decode(encoding, "replace")) for encoding in _LATIN}
    best = max(_LATIN, key=lambda encoding: scores[encoding])
    return best if scores[best] > 0.5 else None


def _japanese(sample: bytes) -> str | None:
    """Choose the encoding under which the text is full of kana; no other language's bytes make any number of them."""
    for encoding in ("cp932", "euc_jp"):
        text = sample.decode(encoding, "replace")
        kana = sum("\u3041" <= char <= "\u30fe" for char in text)
        if kana > 0.2 * len(text) and text.count("\ufffd") * 100 <= len(text):
            return encoding
    return None


def _alphabet_score(text: str) -> float:
    """Share of the characters beyond ASCII that one language explains; punctuation counts for all of them."""
    beyond = [char for char in text.lower() if char > "\x7f"]
    alike = sum(char in _PUNCTUATION for char in beyond)
    letters = [char for char in beyond if char.isalpha()]
    explained = max(sum(char in alphabet for char in letters) for alphabet in _ALPHABETS)
    return (alike + explained) / max(1, len(beyond))
