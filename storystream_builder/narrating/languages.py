"""Which language a text is in, as far as its length allows to say."""

from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from storystream_builder.listening.transcripts import Transcript, short_code

DEFAULT = "en"
MIN_BYTES = 60
"""Shorter texts are not judged."""
_SURE = 0.9
_MAX_BYTES = 20_000
_NEAR = (
    frozenset({"no", "nb", "nn", "da"}),
    frozenset({"hr", "bs", "sr", "sh"}),
    frozenset({"id", "ms"}),
    frozenset({"zh", "yue", "wuu"}),
    frozenset({"ar", "arz", "ary"}),
    frozenset({"en", "pcm"}),
)
"""Languages that short texts do not tell apart."""


def checked_language(language: str | None, *, setting: str) -> str | None:
    """Write the language of a setting in its short form (`eng` is `en`); none stays none.

    Raises:
        ValueError: it is no language.
    """
    code = short_code(language)
    if language is not None and code is None:
        raise ValueError(f"{setting}={language!r} is no language code; write one such as en, ja or pt-BR")
    return code


def language_of(text: str) -> str | None:
    """Name a text's language (`en`); none where it is too short or too mixed to be sure."""
    data = text.encode(errors="replace")[:_MAX_BYTES]
    if len(data) < MIN_BYTES:
        return None
    ranked = _identifier().rank(data)
    likely = _alike(ranked[0][0])
    return ranked[0][0] if sum(share for one, share in ranked if one in likely) >= _SURE else None


def is_judged(language: str) -> bool:
    """Whether a text can be told to be in this language."""
    return any(one in _identifier().labels for one in _alike(language))


def other_language(text: str, expected: str) -> str | None:
    """Name the language that a text is surely in if that is not the expected one."""
    found = language_of(text)
    return None if found is None or found in _alike(expected) else found


def spoken_language(transcript: Transcript) -> str | None:
    """Name the language of an episode's lines: as their source says, else as they read; none where neither says."""
    return transcript.language or language_of(" ".join(line.text for line in transcript.lines))


def _alike(language: str) -> frozenset[str]:
    base = language.split("-")[0]
    return next((group for group in _NEAR if base in group), frozenset({base}))


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
