"""Captions over a decoded episode: spoken, measured, or asked of a fake endpoint."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn_videos import draw_video, scenes
from paid_server import ANSWERED, endpoint_at, serving
from PIL import Image
from small_builds import small_config
from test_endpoint import Wire, body, endpoint_on

from story_model.asking.batches import Batches
from story_model.asking.endpoint import Endpoint
from story_model.config import Settings
from story_model.workspace import RunFolder
from storystream_builder.build import build_dataset, make_voices
from storystream_builder.captioning.batch_captioner import BatchCaptioner
from storystream_builder.captioning.captions import (
    CaptionedEpisode,
    EndpointCaptioner,
    NarrationCaptioner,
    count_captions,
    drop_silent,
)
from storystream_builder.captioning.looks import describe, dominant_colours
from storystream_builder.decoding.decode import decode_episode
from storystream_builder.decoding.pictures import jpeg
from storystream_builder.episodes import EpisodeOutcome
from storystream_builder.frames import Episode
from storystream_builder.listening.transcripts import Line, Transcript


@pytest.fixture(scope="module")
def silent(tmp_path_factory) -> Episode:
    """Three shots of a second each, without subtitles."""
    from small_builds import chosen, decode_key, source_of

    from storystream_builder.records import DecodeJob

    folder = tmp_path_factory.mktemp("episode")
    video = draw_video(folder / "x.mp4", scenes(1, 2, 3))
    decode_episode(video, folder, DecodeJob(key=decode_key(), threads=1, max_memory_gb=4))
    return chosen(EpisodeOutcome(source_of(video), "e0", "0"), folder)


@pytest.fixture
def spoken(silent) -> Episode:
    """The same, with lines over the second and third shot."""
    lines = (Line(1000, 2000, "Pip sleeps."), Line(2000, 3000, "Momo eats."))
    return replace(silent, outcome=replace(silent.outcome, transcript=Transcript(lines)))


def captioner_on(wire: Wire, ledger_dir: Path, concurrency: int = 1) -> EndpointCaptioner:
    endpoint: Endpoint = endpoint_on(wire, ledger_dir)
    return EndpointCaptioner(endpoint, max_tokens=50, concurrency=concurrency)


def caption_one(captioner, episode: Episode) -> CaptionedEpisode:
    (result,) = captioner.caption([episode])
    return result


def captions(episode: Episode) -> list[tuple[str | None, str | None]]:
    return [(frame.caption, frame.caption_status) for frame in episode.kept]


def test_frames_are_captioned_with_the_line_spoken_over_them(spoken):
    result = caption_one(NarrationCaptioner(), drop_silent(spoken))
    assert captions(result.episode) == [("Pip sleeps.", "narrated"), ("Momo eats.", "narrated")]


def test_in_an_episode_with_lines_silent_shots_are_dropped(spoken):
    dropped = [frame.shot.shot_id for frame in drop_silent(spoken).frames if frame.status == "no narration"]
    assert dropped == [0]


def test_in_an_episode_without_lines_nothing_is_dropped(silent):
    assert drop_silent(silent) == silent


def test_where_nothing_is_spoken_the_frame_is_measured(silent):
    texts = captions(caption_one(NarrationCaptioner(), silent).episode)
    assert {status for _, status in texts} == {"measured"}
    assert all("into the episode" in str(text) for text, _ in texts)


def test_the_endpoint_sees_the_frame_and_hears_the_line(spoken, tmp_path):
    wire = Wire("A fox in a bed.")
    result = caption_one(captioner_on(wire, tmp_path), drop_silent(spoken))
    picture, words = wire.requests[0]["messages"][1]["content"]
    sent = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    assert sent == spoken.images()[result.episode.kept[0].frame_id]
    assert words["text"] == "Spoken line: Pip sleeps."
    assert captions(result.episode) == [("A fox in a bed.", "seen")] * 2


def test_tokens_are_counted_frame_by_frame(silent, tmp_path):
    result = caption_one(captioner_on(Wire("A fox."), tmp_path), silent)
    assert {(frame.prompt_tokens, frame.completion_tokens) for frame in result.episode.kept} == {(100, 10)}
    counts = count_captions(result)
    assert (counts["captions prompt tokens"], counts["captions completion tokens"]) == (300, 30)


def test_the_price_of_captions_is_that_of_their_tokens_failed_ones_too(silent, tmp_path):
    captioner = EndpointCaptioner(
        endpoint_on(Wire("", "A fox."), tmp_path), max_tokens=50, concurrency=1, price=(2.5, 10.0)
    )
    result = caption_one(captioner, silent)
    assert len(result.episode.kept) == 2
    assert result.micro_dollars == 300 * 2.5 + 30 * 10.0


def test_what_costs_nothing_has_no_tokens(silent):
    result = caption_one(NarrationCaptioner(), silent)
    assert {frame.prompt_tokens for frame in result.episode.frames} == {None}
    assert result.micro_dollars == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": "A fo", "finish_reason": "content_filter"}, "refused: content filter"),
        ({"content": None, "refusal": "I will not."}, "refused: I will not."),
        ({"content": "", "finish_reason": "length"}, "build.captions.max_tokens is too low"),
    ],
)
def test_an_answer_that_is_no_caption_is_paid_and_told(silent, tmp_path, message, reason):
    choice = {"message": message, "finish_reason": message.get("finish_reason", "stop")}
    usage = {"prompt_tokens": 100, "completion_tokens": 3}
    result = caption_one(captioner_on(Wire(body(choices=[choice], usage=usage), "A fox."), tmp_path), silent)
    lost = [frame for frame in result.episode.frames if frame.caption_status == "failed"]
    assert [reason in frame.status for frame in lost] == [True]
    assert (lost[0].prompt_tokens, lost[0].completion_tokens) == (100, 3)


def test_episodes_come_back_in_their_order_with_what_is_theirs(silent, spoken, tmp_path):
    others = [
        replace(one, record=one.record.model_copy(update={"episode_id": f"e{n}"}))
        for n, one in enumerate((silent, spoken, drop_silent(spoken)))
    ]
    results = list(captioner_on(Wire("A fox."), tmp_path, concurrency=3).caption(others))
    assert [result.episode.episode_id for result in results] == ["e0", "e1", "e2"]
    assert [len(result.episode.kept) for result in results] == [3, 3, 2]


def test_after_a_denial_no_more_questions_go_out(silent, tmp_path):
    wire = Wire(401)
    with pytest.raises(ValueError, match="STORY_API_KEY"):
        list(captioner_on(wire, tmp_path).caption([silent] * 50))
    assert len(wire.requests) == 1


@pytest.fixture
def server():
    with serving() as paid:
        yield paid


def batch_captioner_on(server, folder: Path, **price) -> BatchCaptioner:
    endpoint = endpoint_at(server.url, folder)
    return BatchCaptioner(endpoint, Batches(endpoint, folder / "batches", poll_s=0), max_tokens=50, **price)


def test_a_batch_captions_all_episodes_as_single_questions_would(server, silent, spoken, tmp_path):
    singly = EndpointCaptioner(endpoint_at(server.url, tmp_path / "a"), max_tokens=50, concurrency=1)
    wanted = [captions(one.episode) for one in singly.caption([silent, spoken])]
    found = [captions(one.episode) for one in batch_captioner_on(server, tmp_path / "b").caption([silent, spoken])]
    assert found == wanted
    assert len(server.batches) == 1


def test_a_batch_costs_half(server, silent, tmp_path):
    result = caption_one(batch_captioner_on(server, tmp_path, price=(2.0, 10.0)), silent)
    assert result.micro_dollars == (300 * 2.0 + 30 * 10.0) / 2


def test_what_single_questions_paid_no_batch_pays_again(server, silent, spoken, tmp_path):
    first = EndpointCaptioner(endpoint_at(server.url, tmp_path), max_tokens=50, concurrency=2)
    caption_one(first, silent)
    list(batch_captioner_on(server, tmp_path).caption([silent, spoken]))
    (batch,) = server.batches.values()
    assert batch["num"] == 2  # those with a line; the third's question is the same
    assert sum(server.paid.values()) == 5


def test_a_frame_that_a_batch_refuses_is_dropped_and_the_others_go_on(server, silent, tmp_path):
    fates = iter([400])
    server.fate = lambda request, times: next(fates, ANSWERED)
    result = caption_one(batch_captioner_on(server, tmp_path), silent)
    assert [problem.reason.split(": ", 1)[1] for problem in result.problems] == ["no caption: status 400"]


def made(captions: dict, folder: Path, settings: Settings | None = None):
    nowhere = Settings(_env_file=None, api_base_url=None, device="cpu")
    return make_voices(RunFolder(folder), small_config(captions=captions), settings or nowhere).captioner


def test_a_sidecar_is_chosen_by_configuration(silent, tmp_path):
    rows = [f'{{"frame_id": "{frame.frame_id}", "caption": "A fox."}}' for frame in silent.kept]
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    result = caption_one(made({"captioner": "sidecar", "sidecar": str(tmp_path / "x.jsonl")}, tmp_path), silent)
    assert captions(result.episode) == [("A fox.", "sidecar")] * 3


def test_a_local_network_is_chosen_by_configuration(tmp_path):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").write_text("{}")
    assert made({"captioner": "local", "model": str(tmp_path / "toy")}, tmp_path).name.startswith("toy@")


@pytest.mark.parametrize(("batch", "kind"), [(False, EndpointCaptioner), (True, BatchCaptioner)])
def test_an_endpoint_is_chosen_by_configuration(server, tmp_path, batch, kind):
    settings = Settings(_env_file=None, api_base_url=server.url)
    captioner = made({"captioner": "openai", "model": "seer", "batch": batch}, tmp_path, settings)
    assert isinstance(captioner, kind)


def test_a_wrong_key_is_told_when_the_captioner_is_made(server, tmp_path):
    server.models = 401
    settings = Settings(_env_file=None, api_base_url=server.url)
    with pytest.raises(ValueError, match="STORY_API_KEY"):
        made({"captioner": "openai", "model": "seer"}, tmp_path, settings)


@pytest.mark.parametrize(
    ("captioner", "setting"),
    [("sidecar", "build.captions.sidecar"), ("local", "build.captions.model"), ("openai", "STORY_API_BASE_URL")],
)
def test_what_a_captioner_lacks_is_named(tmp_path, captioner, setting):
    with pytest.raises(ValueError, match=setting):
        made({"captioner": captioner}, tmp_path)


def test_a_frame_that_is_refused_is_dropped_and_the_others_go_on(silent, tmp_path):
    result = caption_one(captioner_on(Wire(400, "A fox."), tmp_path), silent)
    assert len(result.episode.kept) == 2
    assert result.problems[0].reason.endswith("no caption: status 400")


def test_an_empty_answer_is_no_caption(silent, tmp_path):
    result = caption_one(captioner_on(Wire("", "A fox."), tmp_path), silent)
    assert len(result.episode.kept) == 2
    assert "empty answer" in result.problems[0].reason


def test_a_caption_that_was_cut_off_is_marked(silent, tmp_path):
    result = caption_one(captioner_on(Wire(("A fox in", "length")), tmp_path), silent)
    assert {status for _, status in captions(result.episode)} == {"truncated"}


def test_after_a_breakdown_only_what_was_not_paid_is_asked(silent, tmp_path):
    with pytest.raises(ValueError, match="run again later"):
        caption_one(captioner_on(Wire("A fox.", "An owl.", 503), tmp_path), silent)
    wire = Wire("A frog.")
    texts = captions(caption_one(captioner_on(wire, tmp_path), silent).episode)
    assert [text for text, _ in texts] == ["A fox.", "An owl.", "A frog."]
    assert len(wire.requests) == 1


def test_questions_asked_at_once_are_answered_in_their_place(silent, tmp_path):
    class Echo(Wire):
        def __call__(self, request):
            digest = str(hash(request.content))
            self.replies = [digest]
            return super().__call__(request)

    one_by_one = captions(caption_one(captioner_on(Echo("x"), tmp_path / "a", concurrency=1), silent).episode)
    at_once = captions(caption_one(captioner_on(Echo("x"), tmp_path / "b", concurrency=3), silent).episode)
    assert len({text for text, _ in one_by_one}) == len(one_by_one)
    assert sorted(one_by_one) == sorted(at_once)


def test_a_dataset_by_one_batch_says_of_each_frame_who_what_and_for_how_much(server, tmp_path):
    (tmp_path / "videos").mkdir()
    draw_video(tmp_path / "videos" / "one.mp4", scenes(1, 2, 3, 4))
    draw_video(tmp_path / "videos" / "two.mp4", scenes(11, 12, 13, 14))
    told = {"captioner": "openai", "model": "seer", "batch": True, "price": {"prompt_usd": 2.0, "completion_usd": 10.0}}
    where = {
        "config": small_config(captions=told),
        "settings": Settings(_env_file=None, api_base_url=server.url),
    }
    folder = RunFolder(tmp_path / "run")
    counts = build_dataset(tmp_path / "videos", folder, **where).counts
    frames = pq.read_table(folder.dataset_dir / "frames").to_pylist()
    seen = [frame for frame in frames if frame["caption_status"] == "seen"]
    assert {(one["caption_model"], one["prompt_tokens"], one["completion_tokens"]) for one in seen} == {
        ("seer", 100, 10)
    }
    assert {len(one["prompt_sha256"]) for one in seen} == {64}
    assert counts["captions prompt tokens"] == 100 * len(seen) == 100 * sum(server.paid.values())
    assert counts["captions micro-dollars"] == len(seen) * (100 * 2.0 + 10 * 10.0) / 2
    assert len(server.batches) == 1
    server.models = 401  # a finished dataset needs no endpoint
    assert build_dataset(tmp_path / "videos", folder, **where).reused


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((128, 128, 128), "grey"),
        ((220, 30, 30), "red"),
        ((240, 140, 20), "orange"),
        ((110, 60, 20), "brown"),
        ((240, 230, 40), "yellow"),
        ((40, 160, 60), "green"),
        ((30, 170, 170), "teal"),
        ((40, 80, 220), "blue"),
        ((130, 50, 200), "purple"),
        ((230, 60, 160), "pink"),
    ],
)
def test_colours_have_their_names(rgb, name):
    flat = Image.fromarray(np.full((64, 64, 3), rgb, np.uint8))
    assert dominant_colours(jpeg(flat, 95)) == [name]


def test_the_largest_colour_comes_first():
    pixels = np.full((64, 64, 3), (40, 80, 220), np.uint8)
    pixels[:20] = (220, 30, 30)
    assert dominant_colours(jpeg(Image.fromarray(pixels), 95)) == ["blue", "red"]


def test_a_measured_caption_reads_as_a_sentence():
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (40, 80, 220)).save(picture, "JPEG")
    text = describe(picture.getvalue(), luma=80.0, motion=30.0, at_ms=125_000)
    assert text == "A dim picture, mostly blue, with little movement, 2:05 into the episode."
