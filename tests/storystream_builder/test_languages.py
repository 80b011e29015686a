"""A text's language is named where its length allows to be sure, and left open where it does not."""

import pytest

from storystream_builder.listening.transcripts import Line, Transcript
from storystream_builder.narrating.cast import text_of
from storystream_builder.narrating.languages import (
    checked_language,
    is_judged,
    language_of,
    other_language,
    spoken_language,
)

ENGLISH = "The little monkey climbed onto the old stone wall and looked out over the wide blue sea."
TOLD = {
    "en": ENGLISH,
    "es": "El pequeño mono subió al viejo muro de piedra y miró el mar azul que brillaba a lo lejos.",
    "de": "Der kleine Affe kletterte auf die alte Mauer und blickte weit über das blaue Meer hinaus.",
    "ru": "Маленькая обезьянка забралась на старую каменную стену и посмотрела на широкое синее море.",
    "ja": "小さな猿は古い石の壁に登り、遠くに広がる青い海をずっと眺めていました。",
    "zh": "小猴子爬上了古老的石墙并且远远地望着那片宽阔而蓝色的大海。它的心里非常高兴。",
    "ar": "تسلق القرد الصغير الجدار الحجري القديم ونظر إلى البحر الأزرق الواسع في البعيد.",
}


@pytest.mark.parametrize("language", TOLD)
def test_a_sentence_of_common_length_is_enough(language):
    assert language_of(TOLD[language]) == language


@pytest.mark.parametrize("text", ["", "Go home.", "1 2 3 4 5 6 7 8 9 " * 20, "\ud800" * 100])
def test_what_is_too_short_or_no_text_has_no_language(text):
    assert language_of(text) is None


def test_a_text_in_another_language_is_told_from_the_expected_one():
    assert [other_language(ENGLISH, language) for language in ("en", "en-GB", "fr")] == [None, None, "en"]


def test_a_language_that_is_not_known_is_not_judged():
    assert [is_judged(language) for language in ("en", "zh-Hant", "nb", "tlh", "nonsense-code")] == [
        *[True] * 3,
        *[False] * 2,
    ]


def test_a_setting_that_is_no_language_is_an_error_and_others_are_written_short():
    assert [checked_language(one, setting="x") for one in (None, "eng", "pt-br")] == [None, "en", "pt-BR"]
    with pytest.raises(ValueError, match="x='english prose' is no language code"):
        checked_language("english prose", setting="x")


def test_the_language_that_a_source_names_comes_before_the_one_that_is_read():
    lines = tuple(Line(n, n + 1, text) for n, text in enumerate([TOLD["es"]] * 3))
    assert spoken_language(Transcript(lines)) == "es"
    assert spoken_language(Transcript(lines, language="pt-BR")) == "pt-BR"
    assert spoken_language(Transcript()) is None


class _Episode:
    """As much of an episode as its text needs."""

    episode_id = "ea"
    kept = ()

    def __init__(self, transcript: Transcript) -> None:
        self.outcome = self
        self.transcript = transcript


@pytest.mark.parametrize(
    ("asked", "lines", "language"), [("ja", "es", "ja"), (None, "es", "es"), (None, None, "en")], ids=str
)
def test_stories_are_in_the_language_asked_for_else_in_that_of_the_lines_else_english(asked, lines, language):
    transcript = Transcript((Line(0, 1, TOLD[lines] * 2),) if lines else ())
    assert text_of(_Episode(transcript), asked).language == language
