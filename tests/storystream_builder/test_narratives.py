import json

import pytest
from test_endpoint import Wire, endpoint_on
from test_stories import CONFIG, frame

from storystream_builder.endpoint import Answer
from storystream_builder.narratives import EndpointNarrator, NarrationNarrator, passages
from storystream_builder.stories import Story, group


def story() -> Story:
    return group([frame(number) for number in range(3)], subset="s", config=CONFIG)[0][0]


def reply(*numbers: int, text: str = "passage") -> str:
    return json.dumps(
        {"passages": [{"frame": number, "text": f"{text} {number}" if text else " "} for number in numbers]}
    )


def narrator_on(wire: Wire, tmp_path, attempts: int = 3) -> EndpointNarrator:
    return EndpointNarrator(endpoint_on(wire, tmp_path), max_tokens=100, attempts=attempts)


@pytest.mark.parametrize(
    ("text", "reason", "why"),
    [
        (reply(1, 2), "stop", r"\[3\] are missing"),
        (reply(1, 2, 2, 3), "stop", r"\[2\] come more than once"),
        (reply(1, 2, 3, 4), "stop", r"no frames \[4\]"),
        (reply(2, 1, 3), "stop", "not in order"),
        (reply(1, 2, 3, text=""), "stop", "have no text"),
        (reply(1, 2, 3), "length", "cut off"),
        ("Once upon a time", "stop", "not the agreed JSON"),
        ('{"passages": [{"frame": "one", "text": "x"}]}', "stop", "not the agreed JSON"),
    ],
)
def test_half_a_story_is_no_story(text, reason, why):
    with pytest.raises(ValueError, match=why):
        passages(Answer(text, reason, 0, 0), 3)


def test_a_whole_story_is_taken():
    assert passages(Answer(reply(1, 2, 3), "stop", 0, 0), 3) == ("passage 1", "passage 2", "passage 3")


def test_a_narrator_that_is_told_what_was_wrong_may_try_again(tmp_path):
    wire = Wire(reply(1, 2), reply(1, 2, 3))
    result = narrator_on(wire, tmp_path).narrate(story(), [None] * 3)
    assert result.story is not None
    assert (result.attempts, result.completion_tokens) == (2, 20)
    assert "[3] are missing" in wire.requests[1]["messages"][-1]["content"]


def test_what_still_fails_is_a_failure_with_its_reason(tmp_path):
    result = narrator_on(Wire(reply(1)), tmp_path, attempts=2).narrate(story(), [None] * 3)
    assert result.story is None
    assert result.failure == "after 2 attempts: frames [2, 3] are missing"


def test_a_refusal_is_a_failure_with_its_reason(tmp_path):
    result = narrator_on(Wire(400), tmp_path).narrate(story(), [None] * 3)
    assert (result.story, result.failure) == (None, "refused: status 400")


def test_the_endpoint_is_asked_for_the_agreed_form(tmp_path):
    wire = Wire(reply(1, 2, 3))
    narrator_on(wire, tmp_path).narrate(story(), ["Hello", None, "caption 2"])
    frames = json.loads(wire.requests[0]["messages"][1]["content"])["frames"]
    assert wire.requests[0]["response_format"]["json_schema"]["strict"] is True
    assert frames[0] == {"frame": 1, "shows": "caption 0", "spoken": "Hello"}
    assert frames[2] == {"frame": 3, "shows": "caption 2"}


def test_without_an_endpoint_the_captions_are_the_story():
    assert NarrationNarrator().narrate(story(), [None] * 3).story == story()
