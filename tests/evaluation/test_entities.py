import pytest
from tellings import telling

from evaluation.measures.entities import cast_of, entity_values, mentioned, naming_values

STORY = telling(
    opening_text="In the garden Ada meets Bo.",
    texts=["Ada sees Cy.", "Nobody is there.", "Then Cy runs to Ada.", "Cy laughs."],
    true_texts=["Ada sees Bo.", "Bo is there."],
)


def of(name, story=STORY, **given):
    return entity_values([story], **given)[name]["s"]


@pytest.mark.parametrize("given", [{}, {"cast": ["Ada", "Bo", "Cy"]}])
def test_names_are_followed_through_the_story(given):
    assert of("entities_named", **given) == [(1, 2), (2, 0), (3, 2), (4, 1)]
    assert of("entities_new", **given) == [(1, 1), (2, 0), (3, 0), (4, 0)]
    assert of("entities_mentioned_before", **given) == [(1, 0.5), (3, 1), (4, 1)]
    assert of("entities_kept", **given) == [(1, 0.5), (2, 0), (4, 0.5)]
    assert of("entities_of_opening", **given) == [(1, 1), (2, 0), (3, 1), (4, 0)]
    assert of("entities_reference", **given) == [(1, 0.5), (2, 0)]


def test_an_opening_that_names_nobody_asks_for_nobody():
    story = telling(opening_text="it is dark", texts=["we see Ada", "she waits"])
    assert of("entities_of_opening", story) == []
    assert of("entities_kept", story) == [(2, 0)]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["The man saw George. George ran."], {"george"}),
        (["I think I'm late, said I."], set()),
        (["The cat. The dog. “The end”, says Pip\N{RIGHT SINGLE QUOTATION MARK}s friend."], {"pip"}),
        (["We like Mark. Please mark it."], set()),
        (["Вчера Чебурашка встретил Гену."], {"чебурашка", "гену"}),
        (["der Bär sieht den Ärmelkanal"], {"bär", "ärmelkanal"}),
        (["da ist Jose\N{COMBINING ACUTE ACCENT}", "dort ist Jos\N{LATIN SMALL LETTER E WITH ACUTE}"], {"josé"}),
        (["小明去公园。小明笑了。"], set()),
        ([""], set()),
    ],
)
def test_names_are_found_by_their_capitals(texts, names):
    assert cast_of(texts) == names


def test_a_name_at_the_start_of_a_sentence_is_known_from_elsewhere():
    assert mentioned("Pip's hat!", cast_of(["there is Pip."])) == {"pip"}


def test_a_script_without_capitals_has_names_where_a_cast_is_given():
    story = telling(opening_text="小明和小红在公园。", texts=["小明笑了。", "下雨了。"])
    assert of("entities_named", story) == []
    assert of("entities_named", story, cast=["小明", "小红"]) == [(1, 1), (2, 0)]
    assert of("entities_of_opening", story, cast=["小明", "小红"]) == [(1, 1), (2, 0)]


def test_a_place_of_two_words_is_one_name():
    story = telling(opening_text="At the Old Mill.", texts=["the old mill turns", "the mill is old"])
    assert of("entities_of_opening", story, cast=["old mill"]) == [(1, 1), (2, 0)]


def test_texts_that_name_a_character_or_a_place_are_counted_apart():
    found = naming_values([telling(texts=["Ada waves", "by the sea"])], {"character": ["Ada"], "place": ["sea"]})
    assert found == {"text_names_character": {"s": [(1, 1), (2, 0)]}, "text_names_place": {"s": [(1, 0), (2, 1)]}}
