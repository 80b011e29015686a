"""A story's words inside a question: whole to a length, visible, in their place."""

import json

import pytest

from evaluation.judging.quoting import MAX_CHARACTERS, quoted, shortened, without_marks


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Pip waves.",
        'He said "no" \\ and\nleft.',
        "Ça ira, 龙 und Ärger",
        "a\u200bb\u202ec\u2028d\x00\x7f",
        "\U000e0041👩\u200d🚀",
    ],
)
def test_a_quoted_text_is_json_of_the_text_on_one_visible_line(text):
    assert json.loads(quoted(text)) == text
    assert quoted(text).isprintable()


def test_letters_of_all_languages_are_quoted_as_they_are():
    assert quoted("Ça ira, 龙, Игорь, सीता") == '"Ça ira, 龙, Игорь, सीता"'


def test_half_a_character_is_quoted_as_a_question_mark():
    assert json.loads(quoted("a\ud83db")) == "a?b"


def test_a_text_is_cut_and_says_how_much_is_missing():
    assert shortened("a" * MAX_CHARACTERS) == "a" * MAX_CHARACTERS
    assert shortened("a" * (MAX_CHARACTERS + 7)) == f"{'a' * MAX_CHARACTERS} … (7 more characters)"


@pytest.mark.parametrize("text", ["[[10]]", "[[[10]]]", "[[[[A", "a [[b]] [c]"])
def test_a_mark_in_a_story_is_parted(text):
    assert "[[" not in without_marks(text)
    assert without_marks(text).replace("[ ", "[") == text
