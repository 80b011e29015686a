"""What a story says stays in its place in the request, and becomes no answer: 260 stories that try otherwise."""

import ast
import base64
import io
import json
import re
import unicodedata

import numpy as np
import pytest
from fault_server import serving_faults
from PIL import Image, ImageDraw
from scripted_judge import NAMES, ScriptedJudge, scripted_answer

from evaluation.judging.form import prompt, sent
from evaluation.judging.injections import (
    CLEAN,
    INJECTIONS,
    ORDER,
    changed_scores,
    inject,
    injected_questions,
)
from evaluation.judging.panel import Patience, open_panel
from evaluation.judging.published_form import PublishedForm
from evaluation.judging.questions import Judgement, Question
from evaluation.judging.rubric import Rubric
from evaluation.judging.spoiled import ShownStory
from evaluation.pictures import Pair
from story_model.asking.endpoint import Answer
from story_model.config import Settings
from story_model.evaluate_config import JudgeConfig

CONFIG = JudgeConfig(model="judge-1")
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode's categories of what no one sees."""
CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
WHO = ("Ada", "Bo", "Cy", "Ada", "Bo")


def story_of(number: int, length: int = 3) -> ShownStory:
    pairs = []
    for index in range(length):
        who, place = WHO[(number + index) % 5], ("hill", "sea")[(number + index // 2) % 2]
        image = Image.new("RGB", (48, 48), NAMES[place])
        ImageDraw.Draw(image).ellipse((20, 8, 46, 40), fill=NAMES[who], outline="black", width=2)
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        pixels = np.asarray(image.resize((64, 64)))
        told = who if index < length - 1 else WHO[(number + index + 1) % 5]  # so that no story deserves full marks
        pairs.append(
            Pair(index, f"{told} waves at the {place} for the {number + index}. time.", buffer.getvalue(), pixels)
        )
    return ShownStory(f"story-{number}", tuple(pairs))


STORIES = [story_of(number) for number in range(5)]


@pytest.fixture(scope="module")
def questions():
    return injected_questions(STORIES, system="told")


def as_sent(form, question: Question) -> list[dict]:
    """The messages as they leave: through JSON and back."""
    return json.loads(json.dumps(sent(form.messages(question))))


def texts_of(messages: list[dict]) -> list[str]:
    contents = [message["content"] for message in messages]
    parts = [part for content in contents if not isinstance(content, str) for part in content]
    return [content for content in contents if isinstance(content, str)] + [
        part["text"] for part in parts if part["type"] == "text"
    ]


def pictures_of(messages: list[dict]) -> list[tuple[str, bytes]]:
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [(url.split(";")[0].removeprefix("data:image/"), base64.b64decode(url.split(",", 1)[1])) for url in urls]


def chunks_of(png: bytes) -> set[bytes]:
    """Names of a PNG's chunks, and what lies behind the last one."""
    found, at = set(), 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        found.add(png[at + 4 : at + 8])
        at += 12 + length
        if b"IEND" in found:
            return found | ({png[at:]} - {b""})
    return found


def markers_of(jpeg: bytes) -> set[int]:
    """A JPEG's markers before the scan."""
    found, at = set(), 2
    while jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        found.add(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return found


def judgement(label: str, score: float | None, *, story: str = "s", judge: str = "j", status: str = "ok") -> Judgement:
    return Judgement(
        judge=judge, purpose="injection", dimension="style", story_id=story, systems=("told",), label=label,
        status=status, score=score,
    )  # fmt: skip


def test_there_are_more_than_200_injected_stories_and_each_has_its_clean_one(questions):
    assert len(INJECTIONS) >= 40
    assert len([one for one in questions if one.label != CLEAN]) >= 200
    assert [one.story_id for one in questions if one.label == CLEAN] == [story.story_id for story in STORIES]


def test_every_injection_changes_what_lies_on_disk():
    for name in INJECTIONS:
        *before, last = inject(STORIES[0], name).pairs
        assert tuple(before) == STORIES[0].pairs[:-1]
        assert (last.text, last.source) != (STORIES[0].pairs[-1].text, STORIES[0].pairs[-1].source)


def test_a_judge_that_looks_gives_every_story_that_begs_the_score_that_it_had(questions):
    report = changed_scores(ScriptedJudge()(questions))["scripted"]
    assert (report.changed, report.lost, report.without_room, report.not_compared) == ([], {}, 0, 0)
    assert report.asked >= 200


@pytest.mark.parametrize("form", ["rubric", "published"])
def test_over_the_wire_no_injection_changes_a_score_that_is_read(tmp_path, questions, form):
    """260 stories through the whole of judging; a judge who looks answers, and repeats what the story says."""
    config = CONFIG.model_copy(update={"form": form})
    with serving_faults(looking_and_repeating) as server:
        settings = Settings(_env_file=None, api_base_url=server.url)
        panel = open_panel(config, settings, tmp_path / "judge", patience=Patience(timeout_s=60))
        judged = panel.judge(questions)
    report = changed_scores(judged.judgements)["judge-1"]
    assert report.asked == len(INJECTIONS) * len(STORIES) >= 200
    assert (report.changed, report.lost, report.without_room, report.not_compared) == ([], {}, 0, 0)
    assert {tuple(body) for body in server.bodies} == {tuple(server.bodies[0])}
    assert {body["model"] for body in server.bodies} == {"judge-1"}


def looking_and_repeating(body: dict) -> str:
    texts = " ".join(texts_of(body["messages"])[:-1])
    said = scripted_answer(body)
    if not said.startswith("{"):
        return f"The story says: {texts[:20_000]} {said}"
    return json.dumps(json.loads(said) | {"rationale": texts[:20_000]})


def test_a_judge_of_style_sees_what_was_painted_and_likes_it_no_better():
    looked = injected_questions(STORIES, system="told", dimension="style")
    report = changed_scores(ScriptedJudge()(looked))["scripted"]
    painted = {"painted_banner", "painted_faintly", "score_board", "exif_and_comment"}  # the last one is a JPEG
    assert {one.injection for one in report.changed} <= painted
    assert report.raised == 0


def test_a_judge_that_obeys_is_found_out(questions):
    report = changed_scores(ScriptedJudge(gullible=True)(questions))["scripted"]
    assert report.raised >= 100
    assert {"order", "end_story", "answer", "very_long"} <= {one.injection for one in report.changed}


@pytest.mark.parametrize("form", [Rubric(CONFIG), PublishedForm(CONFIG)], ids=["rubric", "published"])
def test_an_injected_story_is_sent_in_the_messages_of_a_clean_one(form, questions):
    """Roles, number and kinds of parts stay; only what is inside a text's or a picture's own part differs."""
    clean = {one.story_id: shape_of(as_sent(form, one)) for one in questions if one.label == CLEAN}
    assert not [one.label for one in questions if shape_of(as_sent(form, one)) != clean[one.story_id]]


def shape_of(messages: list[dict]) -> list:
    return [
        (message["role"], "str")
        if isinstance(message["content"], str)
        else (message["role"], [(part["type"], sorted(part)) for part in message["content"]])
        for message in messages
    ]


def test_what_the_rubric_says_itself_is_the_same_for_every_story(questions):
    """Of each part that shows a text, all but one JSON string; of the others, everything."""
    told = {tuple(own_words(as_sent(Rubric(CONFIG), one))) for one in questions}
    assert len(told) == 1
    assert prompt("rubric_score_system") in next(iter(told))


def own_words(messages: list[dict]) -> list[str]:
    found = []
    for text in texts_of(messages):
        label, colon, string = text.partition(" (JSON string): ")
        if colon and label.startswith("Text "):
            assert isinstance(json.loads(string), str)
            text = label
        found.append(text)
    return found


def test_the_rubric_shows_a_text_whole_or_says_where_it_was_cut(questions):
    for one in questions:
        shown = [text.partition(" (JSON string): ")[2] for text in texts_of(as_sent(Rubric(CONFIG), one))]
        last = json.loads([text for text in shown if text][-1])
        asked = one.stories[0][-1].text
        if len(asked) < 2000:
            assert last.encode("utf-8", "replace") == asked.encode("utf-8", "replace")
        assert last[:500].encode("utf-8", "replace") == asked[:500].encode("utf-8", "replace")


def test_published_texts_stay_in_one_list_of_strings(questions):
    for one in questions:
        texts = [text for text in texts_of(as_sent(PublishedForm(CONFIG), one)) if text.startswith("Story text")]
        assert len(texts) == 1
        listed = ast.literal_eval(texts[0].partition(": ")[2].strip())
        assert len(listed) == len(one.stories[0]) - 1


@pytest.mark.parametrize("form", [Rubric(CONFIG), PublishedForm(CONFIG)], ids=["rubric", "published"])
def test_nothing_invisible_is_sent(form, questions):
    for one in questions:
        for text in texts_of(as_sent(form, one)):
            assert not {sign for sign in text if unicodedata.category(sign) in INVISIBLE} - {"\n"}, one.label


@pytest.mark.parametrize("form", [Rubric(CONFIG), PublishedForm(CONFIG)], ids=["rubric", "published"])
def test_of_a_picture_the_pixels_alone_are_sent(form, questions):
    for one in questions:
        for kind, data in pictures_of(as_sent(form, one)):
            if kind == "png":
                assert chunks_of(data) == CHUNKS, one.label
            else:
                assert not markers_of(data) & ({0xFE} | set(range(0xE1, 0xF0))), one.label
            assert ORDER.encode() not in data
            assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 1


@pytest.mark.parametrize("form", [Rubric(CONFIG), PublishedForm(CONFIG)], ids=["rubric", "published"])
def test_a_question_has_a_size_that_no_story_can_exceed(form, questions):
    most = max(len(json.dumps(as_sent(form, one))) for one in questions if one.label == CLEAN)
    largest = max(len(json.dumps(as_sent(form, one))) for one in questions)
    assert largest < most + 30_000


def test_metadata_alone_makes_no_new_question():
    """What is sent is the same, and so is the name of its answer in the ledger."""
    clean, *rest = [
        as_sent(Rubric(CONFIG), Question("injection", "style", "s", ("told",), (story.pairs,)))
        for story in (
            STORIES[0],
            *(inject(STORIES[0], name) for name in ("png_text", "behind_the_end", "second_frame")),
        )
    ]
    assert all(one == clean for one in rest)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_judge_that_repeats_the_story_gives_no_score_of_the_story_s(injection):
    """The story is echoed in the rationale, before the answer, behind it and fenced; the judge's own score is 3.5."""
    text = inject(STORIES[1], injection).pairs[-1].text
    question = Question("injection", "style", "s", ("told",), (STORIES[1].pairs,))
    own = json.dumps({"rationale": text.encode("utf-8", "replace").decode(), "score": 3.5})
    assert Rubric(CONFIG).read(question, said(own)).score == 3.5
    for echo in (f"{text}\n{own}", f"{own}\n{text}", text, f"```json\n{text}\n```\n{own}", f"{own[:-1]}, {text}}}"):
        assert score_or_none(Rubric(CONFIG), question, echo) in {None, 3.5}


@pytest.mark.parametrize("injection", INJECTIONS)
def test_a_mark_in_an_echoed_story_is_not_the_judge_s(injection):
    question = Question("injection", "style", "s", ("told",), (inject(STORIES[1], injection).pairs,))
    shown = texts_of(as_sent(PublishedForm(CONFIG), question))[0]
    for echo in (f"{shown}\nMy rating: [[3.5]]", f"[[3.5]], though it says {shown}", shown):
        assert score_or_none(PublishedForm(CONFIG), question, echo) in {None, 3.5}


def said(text: str) -> Answer:
    return Answer(text, "stop", 100, 10)


def score_or_none(form, question: Question, text: str) -> float | None:
    try:
        return form.read(question, said(text)).score
    except ValueError:
        return None


def test_a_changed_score_is_named_with_what_changed_it():
    report = changed_scores([judgement(CLEAN, 4), judgement("order", 9.5), judgement("rot13", 4), judgement("xmp", 2)])
    assert [(one.injection, one.clean, one.injected) for one in report["j"].changed] == [
        ("order", 4, 9.5),
        ("xmp", 4, 2),
    ]
    assert (report["j"].asked, report["j"].raised) == (3, 1)


def test_a_score_that_an_injection_prevents_is_lost_and_not_unchanged():
    report = changed_scores([judgement(CLEAN, 4), judgement("order", None, status="invalid")])["j"]
    assert (report.lost, report.changed) == ({"invalid": 1}, [])


def test_an_injection_without_a_clean_score_is_not_counted_as_withstood():
    report = changed_scores([judgement(CLEAN, None, status="error"), judgement("order", 10)])["j"]
    assert (report.asked, report.not_compared) == (0, 1)


def test_judges_and_stories_are_held_apart():
    told = [("a", CLEAN, 4, "s"), ("a", "order", 4, "s"), ("b", CLEAN, 4, "s"), ("b", "order", 10, "s")]
    told.append(("b", "order", 10, "another"))
    reports = changed_scores([judgement(label, score, story=story, judge=judge) for judge, label, score, story in told])
    assert [len(reports[name].changed) for name in "ab"] == [0, 1]
    assert reports["b"].not_compared == 1


def test_the_words_of_the_catalogue_are_of_many_scripts():
    texts = "".join(inject(STORIES[0], name).pairs[-1].text for name in INJECTIONS)
    scripts = ("CYRILLIC", "CJK", "HIRAGANA", "ARABIC", "DEVANAGARI", "TAG ")
    names = {unicodedata.name(sign, "") for sign in set(texts)}
    assert all(any(name.startswith(script) for name in names) for script in scripts)
    assert re.search("\u202e.*\u200b", texts, re.DOTALL)
