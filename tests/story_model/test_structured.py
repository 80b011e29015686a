"""Answers of an agreed form: read strictly, and a refusal is known as one."""

import pytest
from pydantic import BaseModel, ConfigDict
from test_endpoint import Wire, endpoint_on

from story_model.asking.endpoint import Answer, QuestionRefused
from story_model.asking.structured import Declined, Structured, is_refusal, read

QUESTION = [{"role": "user", "content": "How many?"}]


class Count(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int


def said(text: str, reason: str = "stop") -> Answer:
    return Answer(text, reason, 0, 0)


@pytest.mark.parametrize(
    "text", ['{"number": 3}', ' {"number": 3}\n', '```json\n{"number": 3}\n```', '```\n{"number": 3}```']
)
def test_json_is_read_with_or_without_a_fence(text):
    assert read(said(text), Count).number == 3


@pytest.mark.parametrize(
    "text", ['Here it is: {"number": 3}', '{"number": 3} {"number": 4}', '{"number": "3"}', "3", "[3]"]
)
def test_json_of_another_form_is_not_guessed_at(text):
    with pytest.raises(ValueError, match="not the agreed JSON"):
        read(said(text), Count)


@pytest.mark.parametrize(
    "text",
    [
        "I\u2019m sorry, but I can\u2019t do it.",
        "I cannot assist with it.",
        "As a language model, no.",
        "申し訳ありませんが、できません。",
    ],
)
def test_a_refusal_is_known(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text", ["\"I'm sorry, I can't,\" she said.", "I cannot swim.", "He was sorry that he could not."]
)
def test_what_somebody_in_a_story_says_is_no_refusal(text):
    assert not is_refusal(text)


def test_the_schema_is_sent_as_strict(tmp_path):
    wire = Wire('{"number": 3}')
    Structured(endpoint_on(wire, tmp_path)).ask("e", QUESTION, schema={"type": "object"}, max_tokens=9)
    assert wire.requests[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    }


def test_a_refused_question_keeps_the_first_reason(tmp_path):
    with pytest.raises(QuestionRefused, match="status 400"):
        Structured(endpoint_on(Wire(400, 422), tmp_path)).ask("e", QUESTION, schema={}, max_tokens=9)


def test_options_and_key_are_those_of_the_endpoint(tmp_path):
    wire = Wire(400, '{"number": 3}')
    for text in ("How many?", "How many foxes?"):
        messages = [{"role": "user", "content": text}]
        Structured(endpoint_on(wire, tmp_path)).ask("e", messages, schema={}, max_tokens=9, temperature=0.3, key="k")
    assert [request["temperature"] for request in wire.requests] == [0.3, 0.3]


def test_a_refusal_is_told_from_an_answer_of_another_form():
    for answer in (said("I'm sorry, but I can't help."), Answer("", "stop", 0, 0, refusal="No.")):
        with pytest.raises(Declined):
            read(answer, Count)
    with pytest.raises(ValueError, match="not the agreed JSON") as caught:
        read(said("three"), Count)
    assert not isinstance(caught.value, Declined)
