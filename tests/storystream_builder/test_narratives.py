"""Stories that an endpoint tells: what it is shown, what is taken, what it is told of its faults, what it costs."""

import base64
import json

import pytest
from test_endpoint import Wire, endpoint_on
from test_stories import frame

from story_model.asking.structured import Structured
from story_model.build_config import BuildConfig, NarrativesConfig, StoriesConfig
from story_model.config import Settings
from story_model.workspace import RunFolder
from storystream_builder.build import make_voices
from storystream_builder.narrating.cast import Cast, EpisodeText, Member
from storystream_builder.narrating.narratives import NarrationNarrator, Narrative, TextNarrator, VisionNarrator
from storystream_builder.narrating.telling import Background, Draft
from storystream_builder.stories import Story, group


def story(frames: int = 3, episode: str = "ea") -> Story:
    config = StoriesConfig(length=30, min_length=2, chunk_length=2)
    return group([frame(number, episode) for number in range(frames)], subset="s", config=config)[0][0]


def draft(
    frames: int = 3, spoken=None, lines=("Look, there is George!",), cast: Cast | None = None, language="en"
) -> Draft:
    told = story(frames)
    text = EpisodeText("ea", told.texts, tuple(lines), language)
    images = {one.frame_id: f"picture {n}".encode() for n, one in enumerate(told.frames, 1)}
    return Draft(told, tuple(spoken or [None] * frames), Background(text, cast or Cast(), lambda: images))


def reply(*numbers: int, text: str = "The fox went on to place") -> str:
    return json.dumps({"passages": [{"frame": number, "text": f"{text} {number}"} for number in numbers]})


def narrator_on(wire: Wire, tmp_path, kind=TextNarrator, **config) -> TextNarrator | VisionNarrator:
    return kind(Structured(endpoint_on(wire, tmp_path)), NarrativesConfig(**config))


def vision_on(wire: Wire, tmp_path, **config):
    return narrator_on(wire, tmp_path, VisionNarrator, **{"window": 2} | config)


def user_json(request: dict, message: int = 1):
    content = request["messages"][message]["content"]
    return json.loads(content if isinstance(content, str) else content[0]["text"])


def test_without_an_endpoint_the_captions_are_the_story():
    assert NarrationNarrator().narrate(draft()).story == story()


def test_a_whole_story_is_taken(tmp_path):
    result = narrator_on(Wire(reply(1, 2, 3)), tmp_path).narrate(draft())
    assert result.story.texts[2] == "The fox went on to place 3"
    assert (result.attempts, result.prompt_tokens, result.completion_tokens) == (1, 100, 10)


def test_the_endpoint_is_asked_for_the_agreed_form_with_all_that_is_known(tmp_path):
    wire = Wire(reply(1, 2, 3))
    cast = Cast(
        (Member("George", "a small monkey", "given"), Member("", "a man in yellow", "endpoint")), {"Zip": "George"}
    )
    narrator_on(wire, tmp_path, max_words=50).narrate(draft(spoken=["Hello", None, "caption 2"], cast=cast))
    told = user_json(wire.requests[0])
    assert wire.requests[0]["response_format"]["json_schema"]["strict"] is True
    assert told["frames"][0] == {"frame": 1, "shows": "caption 0", "spoken": "Hello"}
    assert told["frames"][2] == {"frame": 3, "shows": "caption 2"}
    assert told["cast"] == [{"name": "George", "look": "a small monkey"}, {"look": "a man in yellow"}]
    assert told["call"] == {"Zip": "George"}
    assert (told["language"], told["words in a passage"]) == ("en", {"least": 4, "most": 50})


def test_a_narrator_that_is_told_what_was_wrong_may_try_again(tmp_path):
    wire = Wire(reply(1, 2), reply(1, 2, 3, text="The fox met Zorblax at"), reply(1, 2, 3))
    result = narrator_on(wire, tmp_path).narrate(draft())
    assert result.story is not None
    assert (result.attempts, result.completion_tokens) == (3, 30)
    assert "[3] are missing" in wire.requests[1]["messages"][-1]["content"]
    assert "frames [1, 2, 3]: the name 'Zorblax'" in wire.requests[2]["messages"][-1]["content"]
    assert len(wire.requests[2]["messages"]) == 6


def test_what_still_fails_is_a_failure_with_all_its_reasons_and_no_story(tmp_path):
    wire = Wire(reply(1), reply(3, 2, 1), ("", "length"))
    result = narrator_on(wire, tmp_path).narrate(draft())
    assert result == Narrative(
        None,
        "attempt 1: frames [2, 3] are missing; attempt 2: the frames are not in order; "
        "attempt 3: the answer was cut off at its length limit; be briefer",
        3,
        300,
        30,
    )


def test_the_same_wrong_answer_is_asked_for_anew_each_time(tmp_path):
    wire = Wire(reply(1))
    narrator_on(wire, tmp_path, attempts=3).narrate(draft())
    assert len(wire.requests) == 3


def test_every_attempt_is_paid_once_even_when_the_run_is_repeated(tmp_path):
    wire = Wire(reply(1), reply(1, 2, 3))
    first, again = (narrator_on(wire, tmp_path).narrate(draft()) for _ in range(2))
    assert first == again
    assert len(wire.requests) == 2


def test_a_refused_question_is_a_failure_with_its_reason(tmp_path):
    result = narrator_on(Wire(400), tmp_path).narrate(draft())
    assert (result.story, result.failure) == (None, "attempt 1: refused: status 400")


def test_a_server_that_takes_no_schema_is_asked_without_it_from_then_on(tmp_path):
    wire = Wire(400, reply(1, 2, 3))
    narrator = narrator_on(wire, tmp_path)
    assert narrator.narrate(draft()).story is not None
    assert narrator.narrate(draft(spoken=["Hello", None, None])).story is not None
    assert ["response_format" in request for request in wire.requests] == [True, False, False]


def test_a_question_that_is_refused_either_way_does_not_cost_the_next_its_schema(tmp_path):
    wire = Wire(400, 400, reply(1, 2, 3))
    narrator = narrator_on(wire, tmp_path)
    assert narrator.narrate(draft()).story is None
    assert narrator.narrate(draft(spoken=["Hello", None, None])).story is not None
    assert "response_format" in wire.requests[2]


@pytest.mark.parametrize(
    "answer",
    [
        reply(1, 2, 2, 3),
        reply(1, 3),
        reply(3, 2, 1),
        reply(*range(1, 32)),
        reply(1, 2, 3).replace('"frame": 2', '"frame": NaN'),
        reply(1, 2, 3).replace('"frame": 2', '"frame": 2, "mood": "glad"'),
        json.dumps(reply(1, 2, 3)),
        reply(1, 2, 3)[:-9],
        (reply(1, 2, 3), "length"),
        (reply(1, 2, 3), "content_filter"),
        reply(1, 2, 3, text="Am Abend ging der kleine Fuchs noch einmal zu dem alten Haus am See, Nummer"),
        reply(1, 2, 3, text="The fox met Zorblax at place"),
        reply(1, 2, 3, text="The fox met Géorge at place"),
        reply(1, 2, 3, text="I'm sorry, but I can't tell of place"),
        "I'm sorry, I can't help with that.",
        "",
    ],
)
def test_no_bad_answer_becomes_a_story(tmp_path, answer):
    result = narrator_on(Wire(answer, reply(1, 2, 3)), tmp_path).narrate(draft())
    assert result.attempts == 2
    assert result.story.texts == tuple(f"The fox went on to place {number}" for number in (1, 2, 3))


def test_names_of_the_whole_episode_may_be_used(tmp_path):
    wire = Wire(reply(1, 2, 3, text="The fox met George at"))
    assert narrator_on(wire, tmp_path).narrate(draft()).story is not None
    assert narrator_on(wire, tmp_path / "mute").narrate(draft(lines=())).story is None


def test_what_cannot_be_judged_is_said(tmp_path):
    narrator = narrator_on(Wire(reply(1, 2, 3)), tmp_path)
    assert narrator.narrate(draft()).unjudged == ()
    assert narrator.narrate(draft(language="tlh")).unjudged == ("language",)


def test_windows_are_shown_with_their_pictures_and_what_was_told_before(tmp_path):
    linked = reply(1, 2, 3, 4, 5, text="Then the fox came to place")
    wire = Wire(reply(1, 2), reply(3, 4), reply(5), linked)
    result = vision_on(wire, tmp_path).narrate(draft(5, spoken=[None, None, "Hello", None, None]))
    second = wire.requests[1]["messages"][1]["content"]
    assert [part["type"] for part in second] == ["text", "text", "image_url", "text", "image_url"]
    assert json.loads(second[1]["text"]) == {"frame": 3, "shows": "caption 2", "spoken": "Hello"}
    assert second[2]["image_url"]["url"] == "data:image/jpeg;base64," + base64.b64encode(b"picture 3").decode()
    assert [one["frame"] for one in user_json(wire.requests[1])["story so far"]] == [1, 2]
    assert [one["frame"] for one in user_json(wire.requests[2])["story so far"]] == [1, 2, 3, 4]
    assert result.story.texts[4] == "Then the fox came to place 5"


def test_linking_sees_every_window_and_no_picture(tmp_path):
    wire = Wire(reply(1, 2), reply(3), reply(1, 2, 3, text="Then the fox came to place"))
    result = vision_on(wire, tmp_path).narrate(draft(3))
    assert [one["text"][-1] for one in user_json(wire.requests[2])["passages"]] == ["1", "2", "3"]
    assert "image_url" not in json.dumps(wire.requests[2])
    assert (result.attempts, result.prompt_tokens, result.completion_tokens) == (3, 300, 30)


def test_a_story_of_one_window_needs_no_linking(tmp_path):
    wire = Wire(reply(1, 2, 3))
    assert vision_on(wire, tmp_path, window=10).narrate(draft(3)).story is not None
    assert len(wire.requests) == 1


def test_a_window_that_cannot_be_told_fails_the_story_and_says_which(tmp_path):
    wire = Wire(reply(1, 2), reply(3, 3), reply(1, 2))
    result = vision_on(wire, tmp_path, attempts=2).narrate(draft(5))
    assert result.story is None
    assert result.failure.startswith("window 2, frames 3-4: attempt 1: frames [3] come more than once; attempt 2: ")
    assert (len(wire.requests), result.attempts, result.completion_tokens) == (3, 3, 30)


def test_windows_that_cannot_be_linked_fail_the_story(tmp_path):
    wire = Wire(reply(1, 2), reply(3), reply(1, 2))
    result = vision_on(wire, tmp_path, attempts=1).narrate(draft(3))
    assert (result.story, result.failure) == (None, "linking the windows: attempt 1: frames [3] are missing")


def test_a_window_is_held_to_the_same_check(tmp_path):
    wire = Wire(reply(1, 2, text="The fox met Zorblax at"), reply(1, 2))
    result = vision_on(wire, tmp_path).narrate(draft(2))
    assert (result.story is not None, result.attempts) == (True, 2)


@pytest.mark.parametrize("kind", [TextNarrator, VisionNarrator])
def test_an_endpoint_that_is_down_ends_the_run(tmp_path, kind):
    with pytest.raises(ValueError, match="what it said so far is kept"):
        narrator_on(Wire(503), tmp_path, kind).narrate(draft())


def test_both_ways_of_telling_have_their_own_prompts(tmp_path):
    text, vision = narrator_on(Wire(""), tmp_path), vision_on(Wire(""), tmp_path)
    assert text.prompt_sha256 != vision.prompt_sha256


def made(tmp_path, **narratives):
    settings = Settings(_env_file=None, api_base_url="http://x/v1")
    config = BuildConfig.model_validate({"narratives": {"model": "seer"} | narratives})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("story_model.asking.endpoint.Endpoint.preflight", lambda _: None)
        return make_voices(RunFolder(tmp_path), config, settings).narrator


def test_the_narrator_that_is_configured_is_made(tmp_path):
    kinds = {"narration": NarrationNarrator, "text": TextNarrator, "vision": VisionNarrator}
    assert {name: type(made(tmp_path, narrator=name)) for name in kinds} == kinds


def test_asking_for_the_cast_changes_the_prompts(tmp_path):
    asking = made(tmp_path, narrator="text", cast={"derive": "endpoint"})
    assert asking.prompt_sha256 != made(tmp_path, narrator="text").prompt_sha256


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cast": {"derive": "endpoint"}}, "the narrator `narration` has none"),
        ({"narrator": "text", "model": None}, "set build.narratives.model"),
        ({"language": "prose"}, "build.narratives.language='prose' is no language code"),
    ],
)
def test_a_narrator_that_cannot_be_made_says_what_to_set(tmp_path, wrong, why):
    with pytest.raises(ValueError, match=why):
        made(tmp_path, **wrong)
