import pytest

from evaluation.measures.texts import named, overlap, repeated_texts, repetition, words


def test_words_are_folded_and_keep_their_apostrophes():
    assert words("Pip's hat, PIP\N{RIGHT SINGLE QUOTATION MARK}s Hat!") == [
        "pip's",
        "hat",
        "pip\N{RIGHT SINGLE QUOTATION MARK}s",
        "hat",
    ]


def test_repetition_is_the_share_of_sequences_that_came_before():
    assert repetition(["a b c", "a b d"], 2) == pytest.approx(1 / 4)


def test_sequences_do_not_cross_texts():
    assert repetition(["a b", "a b"], 3) is None


def test_a_loop_is_all_repetition():
    loop = ["the same words again"] * 50
    assert repetition(loop, 4) == pytest.approx(0.98)


def test_a_text_told_before_is_found_whatever_its_case():
    assert repeated_texts(["Pip runs.", "Luna runs.", "pip RUNS"]) == [False, False, True]


def test_overlap_counts_each_word_once_for_each_time_it_is_shared():
    assert overlap("a a b", "a c") == pytest.approx(2 * 1 / 5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("PIP'S friend Luna waves", ["Pip", "Luna"]),
        ("Pipistrelles and lunatics", []),
        ("on a snowy day the old-mill turns", []),
        ("by the old mill", ["old mill"]),
    ],
)
def test_names_are_found_as_whole_words_only(text, found):
    assert named(text, ["Pip", "Luna", "old mill"]) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("小明笑了。", ["小", "明", "笑", "了"]),
        ("さくらは3歳", ["さ", "く", "ら", "は", "3", "歳"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ที่นี่", ["ที่", "นี่"]),
        (
            "caf\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT} noir",
            ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "noir"],
        ),
        ("STRASSE straße", ["strasse", "strasse"]),
    ],
)
def test_words_are_found_in_any_script(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("小明笑了", ["小明"]),
        ("Pip小明Pip", ["小明"]),
        ("明小笑了", []),
        ("Jose\N{COMBINING ACUTE ACCENT}'s", ["Jos\N{LATIN SMALL LETTER E WITH ACUTE}"]),
    ],
)
def test_names_are_found_in_any_script(text, found):
    assert named(text, ["小明", "Jos\N{LATIN SMALL LETTER E WITH ACUTE}", ""]) == found
