"""Words and names in running text: where a sentence starts, what a capital says, which spellings are one name."""

import pytest

from storystream_builder.narrating.names import lexicon_of, names_in, same_name, words_in


def starting(text: str) -> list[str]:
    return [word.text for word in words_in(text) if word.starts]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("He ran. She ran! They ran? All ran… So ran we", ["He", "She", "They", "All", "So"]),
        ("He met Mr. Quint and Dr. J. Bell. They ran.", ["He", "They"]),
        ('He said, "Come here," and "Go" to Ann.', ["He", "Come", "Go"]),
        ("- Come here!\n- No", ["Come", "No"]),
        ("She - Ann - ran", ["She", "Ann", "ran"]),
        ("The well-known Anne-Marie ran", ["The"]),
    ],
)
def test_a_sentence_and_what_somebody_says_begin_anew(text, first):
    assert starting(text) == first


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("On Monday I saw Ann's cat", ["Ann"]),
        ("Then Moses' staff and Ann\u2019s cat", ["Moses", "Ann"]),
        ("He went to l'Étoile with O'Brien", ["Étoile", "O'Brien"]),
        ("It was LOUD, plan B, and Captain", []),
        ("Tom's here. Bob ran", []),
    ],
)
def test_names_are_capitalised_words_inside_sentences(text, names):
    assert names_in(text) == names


@pytest.mark.parametrize(
    ("one", "other", "language", "same"),
    [
        ("Ann", "ann's", "en", True),
        ("Brown", "Browns", "en", True),
        ("Anna", "Annie", "en", False),
        ("Маша", "Машей", "ru", True),
        ("Маша", "Марк", "ru", False),
        ("Пётр", "Петра", "ru", True),
        ("Pekka", "Pekan", "fi", True),
        ("Jos\u00e9", "Jose\u0301", "es", True),
        ("José", "Jose", "es", False),
    ],
)
def test_one_name_has_many_forms_only_where_its_language_changes_them(one, other, language, same):
    assert same_name(one, other, language) is same
    assert same_name(other, one, language) is same


def test_the_parts_of_a_joined_name_are_known_each():
    lexicon = lexicon_of(["There is Anne-Marie."])
    assert [lexicon.knows(name, "en") for name in ("Anne-Marie", "Marie", "Marie-Anne", "Anne-Bob")] == [True] * 3 + [
        False
    ]
