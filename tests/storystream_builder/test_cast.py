"""Who is in an episode: given, called in its lines, or asked for; and never somebody whom nobody calls."""

import json

import pytest
from test_endpoint import Wire, endpoint_on

from story_model.asking.structured import Structured
from story_model.build_config import CastConfig
from storystream_builder.narrating.called_names import called_names
from storystream_builder.narrating.cast import Cast, Casting, EpisodeText, Member, names_to_replace

LINES = (
    "George, come here!",
    "Where is George?",
    "I saw George's kite. And Mr. Quint saw it too.",
    "Good morning, Mr. Quint.",
    "Thank you, Mr. Quint! It is Monday, in May.",
    "Well, look at the Moon, George!",
    "Well, look at the moon. Well, well.",
    "LOOK AT THE MOON, BETSY! BETSY! BETSY!",
)


def text(lines=LINES, captions=(), language: str = "en") -> EpisodeText:
    return EpisodeText("ea", tuple(captions), tuple(lines), language)


def reply(*members: tuple[str, str]) -> str:
    return json.dumps({"cast": [{"name": name, "look": look} for name, look in members]})


def asked(wire: Wire, tmp_path, attempts: int = 2, **config) -> Casting:
    return Casting(CastConfig(derive="endpoint", **config), Structured(endpoint_on(wire, tmp_path)), attempts=attempts)


def test_names_that_lines_keep_calling_are_the_cast():
    assert called_names(LINES, "en") == ["George", "Mr. Quint"]


def test_a_name_that_is_called_twice_is_not_yet_one_of_the_cast():
    assert called_names(["I saw Bill.", "Did you see Bill?"], "en") == []


def test_a_call_at_the_start_of_a_sentence_counts_for_a_name_that_is_one_elsewhere():
    assert called_names(["Bill! Look!", "Bill, look!", "There is Bill."], "en") == ["Bill"]
    assert called_names(["Look! Bill!", "Look, Bill!", "Look!"], "en") == []


def test_a_word_that_is_mostly_written_small_is_no_name():
    assert called_names(["Oh the Forest.", "In the Forest.", "A Forest!", *["the forest"] * 3], "en") == []


def test_shouting_calls_nobody():
    assert called_names(["GIVE ME A HAT, GEORGE!"] * 3, "en") == []


def test_the_forms_of_a_name_are_one_where_its_ending_changes():
    assert called_names(["Я вижу Машу.", "Где же Маша?", "Иди к Маше!", "Вот Маша."], "ru") == ["Маша"]


def test_a_part_of_a_name_is_the_whole():
    lines = ["I saw Mary Ann.", "Is Mary Ann here?", "Oh, Mary Ann!", "Oh, Mary!", "And Mary?", "So, Mary!"]
    assert called_names(lines, "en") == ["Mary Ann"]


@pytest.mark.parametrize(("language", "line"), [("de", "Da ist das Haus von Hans."), ("ja", "ジョージ、おいで。")])
def test_where_capitals_tell_no_names_no_cast_is_read_from_lines(language, line):
    assert called_names([line] * 5, language) == []


def test_that_capitals_tell_nothing_is_noted():
    cast = Casting(CastConfig()).of(text(["Da ist Hans."] * 5, language="de"))
    assert (cast.names, cast.notes) == ([], ("capitals tell no names in de",))


def test_names_are_read_in_the_language_of_the_lines_whatever_the_stories_are_in():
    told = EpisodeText("ea", (), LINES, "de", spoken="en")
    assert Casting(CastConfig()).of(told).names == ["George", "Mr. Quint"]


def test_reading_the_cast_twice_gives_the_same():
    assert Casting(CastConfig()).of(text()) == Casting(CastConfig()).of(text())


def test_who_is_given_comes_first_and_once():
    cast = Casting(CastConfig(given={"Mr. Quint": "a fisherman", "Curious George": "a monkey"})).of(text())
    assert cast.names == ["Mr. Quint", "Curious George"]
    assert [member.source for member in cast.members] == ["given", "given"]


def test_without_deriving_only_the_given_are_known():
    cast = Casting(CastConfig(given={"Ann": ""}, derive="none")).of(text())
    assert cast.members == (Member("Ann", "", "given"),)
    assert cast.for_prompt() == {"cast": [{"name": "Ann"}]}


def test_nobody_takes_no_room_in_a_prompt():
    assert Cast().for_prompt() == {}


def test_an_endpoint_may_name_whom_the_lines_or_the_configuration_name(tmp_path):
    wire = Wire(
        reply(("George", "a small monkey"), ("Bingo", "a tall man in yellow"), ("Ann", "a girl"), ("Mr. Quint", ""))
    )
    cast = asked(wire, tmp_path, given={"Ann": ""}).of(text(captions=["A monkey runs."]))
    assert cast.names == ["Ann", "George", "Mr. Quint"]
    assert cast.members[0].look == "a girl"
    assert cast.members[3] == Member("", "a tall man in yellow", "endpoint")
    assert (cast.prompt_tokens, cast.completion_tokens) == (100, 10)


@pytest.mark.parametrize(
    ("name", "is_taken"),
    [
        ("george", False),
        ("George Bingo", False),
        ("Mr.", False),
        ("...", False),
        ("Well", False),
        ("Captain Quint", True),
    ],
)
def test_a_name_of_the_endpoint_is_taken_only_if_the_lines_hold_all_of_it(tmp_path, name, is_taken):
    cast = asked(Wire(reply((name, "somebody"))), tmp_path).of(text())
    assert cast.names == ([name] if is_taken else [])


def test_a_name_in_a_script_without_capitals_is_taken_if_the_lines_hold_it(tmp_path):
    wire = Wire(reply(("ジョージ", "小さな猿"), ("ピンゴ", "背の高い男")))
    assert asked(wire, tmp_path).of(text(["ジョージ、おいで。"], language="ja")).names == ["ジョージ"]


def test_the_endpoint_is_told_what_is_known_and_asked_once_an_episode(tmp_path):
    wire = Wire(reply())
    for _ in range(2):
        asked(wire, tmp_path, given={"Ann": "a girl"}).of(text(captions=["A monkey runs."]))
    told = json.loads(wire.requests[0]["messages"][1]["content"])
    assert (told["descriptions"], told["lines"][0]) == (["A monkey runs."], LINES[0])
    assert told["known"] == [{"name": "Ann", "look": "a girl"}]
    assert len(wire.requests) == 1


def test_an_answer_of_another_form_is_asked_for_again_with_the_reason(tmp_path):
    wire = Wire('{"cast": [{"name": "George"}]}', reply(("George", "a monkey")))
    assert asked(wire, tmp_path).of(text()).names == ["George"]
    assert "Field required" in wire.requests[1]["messages"][-1]["content"]


def test_an_endpoint_that_finds_no_cast_is_a_failure_and_the_given_stay(tmp_path):
    cast = asked(Wire("Nobody."), tmp_path, given={"Ann": ""}).of(text())
    assert cast.names == ["Ann"]
    assert cast.failure.count("not the agreed JSON") == 2
    assert cast.completion_tokens == 20
    assert asked(Wire(400), tmp_path / "refused").of(text()).failure == "refused: status 400"


def test_what_is_too_long_to_ask_with_is_noted(tmp_path):
    cast = asked(Wire(reply()), tmp_path).of(text(["word " * 5_000] * 3))
    assert cast.notes == ("2 captions and lines were too many to ask for the cast with",)


LOOKS = (
    "Zip, a small brown monkey, sits on a wall.",
    "A small brown monkey named Bobo climbs a tree.",
    "The small brown monkey called Zip sleeps.",
)


def test_a_look_that_captions_name_twice_has_the_name_of_the_cast():
    assert names_to_replace(text(captions=LOOKS), [Member("George", "a small brown monkey", "given")]) == {
        "Bobo": "George",
        "Zip": "George",
    }


def test_a_look_that_nobody_of_the_cast_has_keeps_its_most_frequent_name():
    assert names_to_replace(text(captions=LOOKS), []) == {"Bobo": "Zip"}


def test_a_name_that_is_spoken_is_never_replaced():
    lines = [*LINES, "Come, Bobo, come!"]
    assert names_to_replace(text(lines, captions=LOOKS), [Member("George", "a small brown monkey", "given")]) == {
        "Zip": "George"
    }


def test_two_of_the_cast_who_look_the_same_are_two():
    members = [Member("Zip", "", "given"), Member("Bobo", "", "given")]
    assert names_to_replace(text(captions=LOOKS), members) == {}


def test_a_look_of_few_words_tells_nobody_apart():
    captions = ["Tom, a young boy, runs.", "Ben, a young boy, sleeps."]
    assert names_to_replace(text(captions=captions), []) == {}
