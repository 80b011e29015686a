"""What a told story may not be: each rule refuses what it should, says why, and leaves good prose alone."""

import json

import pytest

from story_model.asking.endpoint import Answer
from storystream_builder.narrating.names import lexicon_of
from storystream_builder.narrating.story_check import (
    Rules,
    faults,
    foreign,
    invented_names,
    num_words,
    passages,
    unjudged,
)

SEEN = [
    "George, a small monkey, sits on a wall.",
    "Mr. Quint waves to Anne-Marie.",
    "José sails to Lake Wanna-Sink-A-Little.",
]
GOOD = (
    "The little monkey climbed onto the old stone wall and looked out over the sea.",
    "Far below him George saw a white boat with a yellow sail that came nearer and nearer.",
    "“Hello down there!” he called, and Mr. Quint waved back with both of his arms.",
)


def rules(**changes) -> Rules:
    usual = {"min_words": 4, "max_words": 40, "language": "en", "lexicon": lexicon_of(SEEN)}
    return Rules(**usual | changes)


def reply(*numbers: int) -> str:
    return json.dumps({"passages": [{"frame": number, "text": f"It was morning {number}"} for number in numbers]})


def said(text: str, reason: str = "stop") -> Answer:
    return Answer(text, reason, 0, 0)


def found(*texts: str, **changes) -> str:
    return "; ".join(faults(texts, range(1, len(texts) + 1), rules(**changes)))


def invented(text: str, seen=SEEN, language: str = "en") -> list[str]:
    return list(invented_names([text], lexicon_of(seen), language))


@pytest.mark.parametrize(
    ("text", "reason", "why"),
    [
        (reply(1, 2), "stop", r"frames \[3\] are missing"),
        (reply(1, 2, 2, 3), "stop", r"frames \[2\] come more than once"),
        (reply(*range(1, 32)), "stop", r"there are no frames \[4, 5, .*31\]"),
        (reply(2, 1, 3), "stop", "not in order"),
        (reply(0, 1, 2), "stop", r"\[3\] are missing"),
        (reply(1, 2, 3), "length", "cut off"),
        (reply(1, 2, 3), "content_filter", "withheld"),
        ("", "stop", "empty"),
        ("null", "stop", "not the agreed JSON"),
        ("Once upon a time", "stop", "not the agreed JSON"),
        (reply(1, 2, 3)[:-5], "stop", "not the agreed JSON"),
        (json.dumps(reply(1, 2, 3)), "stop", "not the agreed JSON: .*dictionary"),
        ('{"passages": [{"frame": "1", "text": "x"}]}', "stop", r"valid integer at passages\.0\.frame"),
        ('{"passages": [{"frame": 1.0, "text": "x"}]}', "stop", "valid integer"),
        ('{"passages": [{"frame": true, "text": "x"}]}', "stop", "valid integer"),
        ('{"passages": [{"frame": NaN, "text": "x"}]}', "stop", "NaN is no number"),
        ('{"passages": [{"frame": 1, "text": null}]}', "stop", "valid string"),
        ('{"passages": [{"frame": 1, "text": "x", "mood": "y"}]}', "stop", r"Extra inputs.*mood"),
        ('{"passages": [], "title": "x"}', "stop", "Extra inputs"),
        ('{"passages": [{"frame": 2, "frame": 1, "text": "x"}]}', "stop", "a key comes twice"),
        ("[" * 100_000, "stop", "not the agreed JSON"),
        ("I'm sorry, but I can't help with that.", "stop", "a refusal: I'm sorry"),
    ],
)
def test_an_answer_that_is_not_one_passage_a_frame_is_refused_with_the_reason(text, reason, why):
    with pytest.raises(ValueError, match=why):
        passages(said(text, reason), range(1, 4))


def test_an_answer_that_the_server_calls_a_refusal_is_refused():
    with pytest.raises(ValueError, match="a refusal: No fighting"):
        passages(Answer(reply(1, 2), "refused", 0, 0, refusal="No fighting."), range(1, 3))


def test_a_whole_story_is_read():
    assert passages(said(reply(1, 2)), range(1, 3)) == ("It was morning 1", "It was morning 2")


def test_frames_of_a_later_window_keep_their_numbers():
    assert len(passages(said(reply(11, 12)), range(11, 13))) == 2


def test_a_code_fence_around_the_json_is_overlooked():
    assert len(passages(said(f"```json\n{reply(1, 2)}\n```"), range(1, 3))) == 2


def test_good_prose_has_no_fault():
    assert found(*GOOD) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Too short.", "fewer than 4 words"),
        ("word " * 41, "more than 40 words"),
        ("The monkey **jumped** over the wall.", "markup"),
        ("- The monkey jumped over the wall.", "markup"),
        ("The monkey <b>jumped</b> over the wall.", "markup"),
        ("[INST] The monkey jumped over the wall.", "markup"),
        ("The monkey jumped <img> over the wall.", "markup"),
        ('{"frame": 1} The monkey jumped over it.', "markup"),
        ("000258_keyframe_0-19-49-688.jpg->The monkey jumped over it.", "a file's name"),
        ("In frame 3 the monkey jumped over it.", "speaks of frames"),
        ("Picture #12: the monkey jumped over it.", "speaks of frames"),
        ("The image shows a monkey on a wall.", "speaks of frames"),
        ("I'm sorry, but I can't see the picture well.", "a refusal"),
        ("As an AI language model I tell of a monkey.", "a refusal"),
        ("Lo siento, no puedo ayudar con eso hoy.", "a refusal"),
        ("The monkey \u202ejumped over the wall.", "no text"),
        ("The monkey jumped \ud800 over the wall.", "no text"),
        ("The monkey jumped \x07 over the wall.", "no text"),
    ],
)
def test_a_passage_that_is_no_prose_is_refused(text, why):
    assert why in found(GOOD[0], " ".join(text.split(" ")))
    assert found(GOOD[0], text).startswith("frames [2]")


@pytest.mark.parametrize(
    "text",
    [
        "“I'm sorry, I can't help you,” said the monkey sadly.",
        "He shot 3 arrows and saw a picture of the sea.",
        "The dog was 12 years old -- and very, very happy.",
        "She sang * and danced in the old harbour.",
    ],
)
def test_prose_that_only_looks_like_a_fault_is_taken(text):
    assert found(text) == ""


def test_a_story_that_repeats_its_instructions_is_refused():
    prompt = "Write for every frame one passage of one to three sentences in the past tense."
    told = "He was told to write for every frame one passage of one to three sentences."
    assert "repeats the instructions" in found(told, instructions=prompt)


def test_the_same_text_over_two_frames_is_refused():
    assert found(GOOD[0], GOOD[1], GOOD[0]) == "frames [1, 3] have the same text; each must fit its own"


def test_an_empty_passage_is_refused():
    assert found(GOOD[0], "") == "frames [2] have no text"


def test_every_fault_is_told_at_once():
    told = found("The monkey saw Zorblax in frame 3.", "Too short.")
    assert all(why in told for why in ("speaks of frames", "fewer than 4", "'Zorblax'"))


@pytest.mark.parametrize(
    "text",
    [
        "The monkey met George\u2019s friend and Mr. Quint on the way.",
        "They saw Anne-Marie, and Marie saw them; the Georges laughed.",
        "He sailed to lake Wanna-Sink-A-Little with José's boat.",
        "On Monday, in May, I thought that I'm happy, and OK.",
        "She said, “Come here!” and he came. “Now,” he said, “Look.”",
        "He called: Stop! Then… Nothing came. It was LOUD.",
        "Then Captain came, and Grandma too, with the Monkey.",
        "The old Fox sang, for a fox sings at night.",
        "Jose\u0301 sailed home with Jos\u00e9.",
    ],
)
def test_words_that_are_no_invented_names_are_taken(text):
    assert invented(text) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The monkey met Zorblax by the sea.", ["Zorblax"]),
        ("It was Zorblax\u2019s boat, not Bilbo's.", ["Zorblax", "Bilbo"]),
        ("“Hello,” Zorblax said to him.", ["Zorblax"]),
        ("He met Mr. Zorblax and Mrs. J. Bilbo.", ["Zorblax", "Bilbo"]),
        ("He met Anne-Bilbo and d'Artagnan there.", ["Anne-Bilbo", "Artagnan"]),
        ("They sailed with Jose and Ångström.", ["Jose", "Ångström"]),
        ("Then Jorge laughed at George.", ["Jorge"]),
    ],
)
def test_names_that_were_seen_nowhere_are_found(text, names):
    assert invented(text) == names


def test_a_name_with_other_accents_is_told_its_spelling():
    assert "the name 'Jose': it is spelled 'José'" in found("They sailed home with Jose at night.")


def test_invented_names_can_be_allowed():
    assert found("The monkey met Zorblax by the sea.", lexicon=None) == ""


@pytest.mark.parametrize(
    ("text", "language", "names"),
    [
        ("Вечером Машу увидел Иван, потом рядом над Иваном пришла Ольга.", "ru", ["Ольга"]),
        ("Wieczorem spotkała Marka i Zbyszka nad rzeką.", "pl", ["Zbyszka"]),
        ("Αργά το βράδυ πήγε σπίτι μόνος του, είδε Γιώργος τον Πέτρο.", "el", ["Πέτρο"]),
    ],
)
def test_names_are_known_in_their_other_forms_where_a_language_changes_them(text, language, names):
    seen = ["Маша и Иван", "Marek czyta", "Εδώ κάθεται Γιώργος"]
    assert invented(text, seen, language) == names


def test_where_capitals_tell_no_names_that_is_said_and_none_is_refused():
    german = "Am Abend sah der kleine Hund das Haus und die Katze am Fenster."
    assert invented(german, language="de") == []
    assert "names" in unjudged([german], rules(language="de"))
    assert invented("猿はジョージと木に登った。", language="ja") == []


def test_a_name_that_stands_for_another_is_refused():
    told = found("The small monkey Zip ran home at once.", lexicon=lexicon_of(["Zip"]), other_names={"Zip": "George"})
    assert told == "frames [1]: the name 'Zip': call 'George' so throughout"


FRENCH = (
    "Le petit singe grimpa sur le vieux mur de pierre et regarda la mer qui brillait au loin.",
    "Au loin il vit un bateau blanc avec une voile jaune qui venait toujours plus près de lui.",
    "Il appela ses amis, et tous ensemble ils descendirent vers la plage en riant très fort.",
    "Quand ils arrivèrent enfin, le bateau était déjà parti et la plage était toute vide.",
)


def test_a_story_in_another_language_is_refused():
    assert "frames 1-4 are in the language 'fr'; write in 'en'" in found(*FRENCH)


def test_a_story_that_changes_its_language_is_refused_where_it_does():
    told = foreign((*GOOD, *GOOD, *FRENCH), range(1, 11), "en")
    assert len(told) == 1
    assert "'fr'" in told[0]


def test_a_story_in_the_language_asked_for_is_taken():
    assert foreign(FRENCH, range(1, 5), "fr") == []
    assert foreign(FRENCH, range(1, 5), "fr-CA") == []


def test_near_languages_are_not_told_apart():
    norwegian = ["Den lille apen klatret opp på den gamle muren og så utover det blå havet."] * 4
    assert foreign(norwegian, range(1, 5), "nb") == []
    assert foreign(norwegian, range(1, 5), "da") == []


@pytest.mark.parametrize(("language", "text"), [("en", "Go home now."), ("tlh", GOOD[0] * 9)])
def test_a_language_that_cannot_be_judged_is_said(language, text):
    assert foreign([text], [1], language) == []
    assert "language" in unjudged([text], rules(language=language))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Don't  go home - now!", 4),
        ("猿が木に登った", 4),
        ("ลิงปีนต้นไม้", 6),
        ("बंदर पेड़ पर चढ़ गया", 5),
        ("", 0),
        ("— …", 0),
    ],
)
def test_words_are_counted_in_any_script(text, number):
    assert num_words(text) == number
