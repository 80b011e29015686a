"""SEED-Story's published form: what is sent as published, and which marks are read out of prose."""

import pytest
from judge_wire import CONFIG, comparison, question, story

from evaluation.judging.form import pictures_in, sent, texts_in
from evaluation.judging.published_form import PublishedForm
from evaluation.judging.questions import DIMENSIONS, Question
from story_model.asking.answers import Answer
from story_model.asking.structured import Declined

SEVEN = Question("score", "engaging", "s1", ("secret",), (story(*(f"It's {n}." for n in range(1, 8))),))


@pytest.fixture
def form():
    return PublishedForm(CONFIG)


def read(form, asked, text):
    return form.read(asked, Answer(text, "stop", 1, 1))


def test_texts_come_first_then_pictures_then_what_is_asked(form):
    messages = form.messages(SEVEN)
    assert {message.role for message in messages} == {"user"}
    assert {len(message.parts) for message in messages} == {1}
    sentences = """["It's 1.", "It's 2.", "It's 3.", "It's 4.", "It's 5."]"""
    assert messages[0].parts == (f"Story text from Assistant A: {sentences}\n",)
    assert messages[1].parts == ("Images are encoded in base64.\n",)
    assert [picture.pair.index for picture in pictures_in(messages[2:-1])] == [1, 2, 3, 4, 5]
    assert "[[7]]" in messages[-1].parts[0]


def test_pictures_are_sent_as_jpeg(form):
    content = sent(form.messages(SEVEN))[2]["content"]
    assert content[0]["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")


def test_two_stories_are_assistants_a_and_b(form):
    messages = form.messages(comparison())
    texts = texts_in(messages)
    assert texts[:-1] == [
        "Story text from Assistant A: ['Pip waves.']\n",
        "Images from Assistant A are encoded in base64.\n",
        "Story text from Assistant B: ['Pip sleeps.']\n",
        "Images from Assistant B are encoded in base64.\n",
    ]
    assert "[[C]]" in texts[-1]
    assert not any("secret" in text for text in texts)


@pytest.mark.parametrize("ask", [question, comparison])
def test_each_dimension_asks_its_own_question(form, ask):
    asked = {texts_in(form.messages(ask(dimension=one)))[-1] for one in DIMENSIONS}
    assert len(asked) == 3
    assert not any("{" in text for text in asked)


def test_the_published_parameters_are_the_users_to_set():
    config = CONFIG.model_copy(update={"temperature": 0.3, "max_tokens": 4096})
    assert PublishedForm(config).options() == {"temperature": 0.3, "max_tokens": 4096}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Good. [[8]]", 8),
        ("[[8.5]]", 8.5),
        ("[[ 10 ]]", 10),
        ("[[7]] so I say [[7]]", 7),
        ("[[7]] and [[7.0]]", 7),
        ("I rate it [[score]]: [[1]]", 1),
    ],
)
def test_a_score_in_double_brackets_is_read(form, text, score):
    assert read(form, SEVEN, text).score == score


@pytest.mark.parametrize(
    "text",
    [
        "8",
        "[8]",
        "[[A]]",
        "[[11]]",
        "[[0]]",
        "[[-3]]",
        "[[7]] or [[8]]",
        "[[8/10]]",
        "[[NaN]]",
        "[[8,5]]",
        "[[999999]]",
    ],
)
def test_anything_else_is_no_score(form, text):
    with pytest.raises(ValueError, match=r"mark|score"):
        read(form, SEVEN, text)


@pytest.mark.parametrize(
    ("text", "choice"),
    [("[[A]]", "first"), ("It is B. [[B]]", "second"), ("[[C]]", "tie"), ("[[B]]. Final: [[B]]", "second")],
)
def test_a_verdict_is_read(form, text, choice):
    assert read(form, comparison(), text).choice == choice


@pytest.mark.parametrize(
    "text", ["A", "[A]", "[[D]]", "[[a]]", "Not [[A]] but [[B]]", "[[A]][[C]]", "[[7]]", "[[A B]]"]
)
def test_a_verdict_that_is_not_one_alone_does_not_count(form, text):
    with pytest.raises(ValueError, match="mark"):
        read(form, comparison(), text)


def test_a_refusal_is_no_wrong_form(form):
    with pytest.raises(Declined):
        read(form, SEVEN, "I'm sorry, but I can't assist with that.")


def test_prose_is_wanted_not_json(form):
    assert form.schema(SEVEN) is None
