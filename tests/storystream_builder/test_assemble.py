"""What is lost between decoding and publishing is said, and nothing else is lost with it."""

from pathlib import Path

import pytest
from conftest import small_config, source_of
from test_endpoint import Wire, endpoint_on
from test_narratives import reply

from story_model.workspace import RunFolder
from storystream_builder.assemble import Assembly, assemble
from storystream_builder.captions import EndpointCaptioner, NarrationCaptioner
from storystream_builder.episodes import prepare_episode
from storystream_builder.narratives import EndpointNarrator, NarrationNarrator


@pytest.fixture
def assembled(built: RunFolder, mixed_videos: Path):
    """A function that assembles the two mute episodes of five shots each, with a given captioner or narrator."""

    def run(captioner=None, narrator=None, **sections) -> Assembly:
        config = small_config(**sections)
        outcomes = [
            prepare_episode(source_of(mixed_videos / name), built, config=config) for name in ("one.mp4", "two.mp4")
        ]
        return assemble(
            outcomes,
            built.episodes_dir,
            config=config,
            captioner=captioner or NarrationCaptioner(),
            narrator=narrator or NarrationNarrator(),
        )

    return run


def statuses(assembly: Assembly) -> dict[str, int]:
    return {name: number for name, number in assembly.counts.items() if name.startswith("frames ")}


def test_a_remainder_too_short_for_a_story_is_counted(assembled):
    assert statuses(assembled())["frames in no story"] == 2


def test_a_story_that_cannot_be_told_is_a_problem_and_the_others_go_on(assembled, tmp_path):
    wire = Wire(reply(1), reply(1), reply(1, 2, 3, 4))
    narrator = EndpointNarrator(endpoint_on(wire, tmp_path), max_tokens=9, attempts=2)
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
    narrator = EndpointNarrator(endpoint_on(Wire(reply(1, 2, 3, 4)), tmp_path), max_tokens=9, attempts=1)
    assembly = assembled(captioner=captioner, narrator=narrator)
    assert assembly.counts["completion tokens"] == 10 * (10 + 2)
