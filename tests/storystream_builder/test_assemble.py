"""What is lost between decoding and publishing is said, and nothing else is lost with it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_builds import small_config, source_of
from test_endpoint import Wire, endpoint_on
from test_narratives import narrator_on, reply, user_json

from story_model.asking.structured import Structured
from story_model.build_config import CastConfig, NarrativesConfig
from story_model.workspace import RunFolder
from storystream_builder.assemble import Assembly, assemble
from storystream_builder.captioning.captions import EndpointCaptioner, NarrationCaptioner
from storystream_builder.episodes import prepare_episode
from storystream_builder.listening.transcripts import Transcript
from storystream_builder.narrating.cast import Casting
from storystream_builder.narrating.narratives import NarrationNarrator, TextNarrator, VisionNarrator
from storystream_builder.rows import episode_row
from storystream_builder.voices import Voices


@pytest.fixture
def assembled(built: RunFolder, mixed_videos: Path):
    """A function that assembles the two mute episodes of five shots each, with a given captioner or narrator."""

    def run(captioner=None, narrator=None, names=("one.mp4", "two.mp4"), **sections) -> Assembly:
        config = small_config(**sections)
        outcomes = [prepare_episode(source_of(mixed_videos / name), built, config=config) for name in names]
        return assemble(
            outcomes,
            built.episodes_dir,
            config=config,
            voices=Voices(captioner or NarrationCaptioner(), narrator or NarrationNarrator()),
        )

    return run


def statuses(assembly: Assembly) -> dict[str, int]:
    return {name: number for name, number in assembly.counts.items() if name.startswith("frames ")}


def test_a_remainder_too_short_for_a_story_is_counted(assembled):
    assert statuses(assembled())["frames in no story"] == 2


def test_a_story_that_cannot_be_told_is_a_problem_and_the_others_go_on(assembled, tmp_path):
    wire = Wire(reply(1), reply(1), reply(1, 2, 3, 4))
    narrator = narrator_on(wire, tmp_path, attempts=2)
    assembly = assembled(narrator=narrator, captions={"concurrency": 1})
    assert sum(len(story.frames) for story in assembly.stories.stories) == 4
    assert statuses(assembly)["frames story failed"] == 4
    assert [problem.step for problem in assembly.problems] == ["narratives"]


def test_a_frame_that_is_refused_a_caption_is_a_problem_and_no_part_of_a_story(assembled, tmp_path):
    captioner = EndpointCaptioner(endpoint_on(Wire(400, "A fox."), tmp_path), max_tokens=9, concurrency=1)
    assembly = assembled(captioner=captioner)
    assert statuses(assembly)["frames no caption"] == 1
    assert [problem.step for problem in assembly.problems] == ["captions"]
    assert all(story.texts == ("A fox.",) * 4 for story in assembly.stories.stories)


def test_tokens_of_captions_and_stories_are_counted(assembled, tmp_path):
    captioner = EndpointCaptioner(endpoint_on(Wire("A fox."), tmp_path), max_tokens=9, concurrency=2)
    narrator = narrator_on(Wire(reply(1, 2, 3, 4)), tmp_path / "told")
    assembly = assembled(captioner=captioner, narrator=narrator)
    assert assembly.counts["completion tokens"] == 10 * (10 + 2)
    assert (assembly.counts["stories prompt tokens"], assembly.counts["stories completion tokens"]) == (200, 20)


def test_no_story_crosses_episodes_and_a_picture_is_told_in_one_story_only(assembled, tmp_path):
    wire = Wire(reply(1, 2, 3, 4))
    assembly = assembled(narrator=narrator_on(wire, tmp_path), captions={"concurrency": 1})
    stories = assembly.stories.stories
    assert [{frame.episode_id for frame in story.frames} for story in stories] == [{one.episode_id} for one in stories]
    told = [frame.frame_id for story in stories for frame in story.frames]
    assert len(told) == len(set(told)) == 8


def test_a_seeing_narrator_is_shown_the_pictures_of_its_story(assembled, tmp_path):
    wire = Wire(reply(1, 2, 3), reply(4), reply(1, 2, 3, 4), reply(1, 2, 3), reply(4), reply(1, 2, 3, 4))
    narrator = narrator_on(wire, tmp_path, VisionNarrator, window=3)
    assembly = assembled(narrator=narrator, captions={"concurrency": 1})
    assert len(assembly.stories.stories) == 2
    shown = json.dumps(wire.requests[0]["messages"]).count("data:image/jpeg;base64,/9j/")
    assert (shown, len(wire.requests)) == (3, 6)


def test_the_cast_goes_into_every_story_and_into_the_episodes_table(assembled, tmp_path):
    wire = Wire(reply(1, 2, 3, 4))
    casting = Casting(CastConfig(given={"George": "a small brown monkey"}))
    narrator = TextNarrator(Structured(endpoint_on(wire, tmp_path)), NarrativesConfig(), casting)
    assembly = assembled(narrator=narrator)
    assert all(user_json(one)["cast"] == [{"name": "George", "look": "a small brown monkey"}] for one in wire.requests)
    rows = [episode_row(episode, assembly, "s") for episode in assembly.episodes]
    assert [row["cast"] for row in rows] == [["George"], ["George"]]
    assert assembly.counts["cast given"] == 2


def test_an_endpoint_that_knows_no_cast_is_a_problem_and_the_stories_are_told(assembled, tmp_path):
    wire = Wire("Nobody.", "Nobody.", reply(1, 2, 3, 4))
    asked = Structured(endpoint_on(wire, tmp_path))
    casting = Casting(CastConfig(derive="endpoint"), asked)
    narrator = TextNarrator(asked, NarrativesConfig(), casting)
    assembly = assembled(narrator=narrator, captions={"concurrency": 1})
    assert [(problem.step, problem.code) for problem in assembly.problems] == [("cast", "no cast")] * 2
    assert len(assembly.stories.stories) == 2
    assert assembly.counts["stories completion tokens"] == 40


def test_the_language_of_the_lines_is_in_the_episodes_table(assembled):
    assembly = assembled()
    mute = assembly.episodes[0]
    spoken = replace(mute, outcome=replace(mute.outcome, transcript=Transcript(language="pt-BR")))
    assert [episode_row(one, assembly, "s")["language"] for one in (mute, spoken)] == [None, "pt-BR"]
