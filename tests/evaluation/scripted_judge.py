"""A judge without a network, who looks: its scores follow from the pixels and words that it is shown.

Style is how near the pictures' darkest line, amount of drawing and mean colour are to the opening's. Coherence is the
share of names in the texts whose colour is in the picture beside them. Engagement is how many pictures and words are
new. So a spoiled story falls by this measurement; labels, systems and ids are never read.

`ScriptedJudge` answers questions; `scripted_answer` answers a chat request, with data URLs in its messages.
"""

import ast
import base64
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from fabricated_run import COLOURS
from PIL import Image, ImageColor

from evaluation.judging.questions import Judgement, Question

SIDE = 160
NAMES = {**COLOURS, "red": "#ff0000", "green": "#00ff00", "blue": "#0000ff", "yellow": "#ffff00"}
"""Words that a picture can show, with the colour that shows them."""
Shown = Sequence[tuple[Image.Image, str]]
"""A story as it is seen: pictures with their texts, the opening first."""
_WORDS = re.compile(r"[A-Za-z]+")
_SAID = re.compile(r"Text \d+[^:]*: (.*)", re.DOTALL)
_LISTED = re.compile(r"Story text from Assistant \w: (\[.*\])\s*$", re.DOTALL)
_BEGIN = re.compile(r"^BEGIN (?:\w+ )*STORY", re.MULTILINE)
_ORDER = re.compile(r"(?:score|rate|answer|give)\D{0,40}\b(10|[1-9])\b", re.IGNORECASE)


def style(shown: Shown) -> float:
    """1 to 10: how near the pictures' line, amount of drawing and mean colour are to the opening's."""
    first, *others = [_look(picture) for picture, _ in shown]
    return _scale(1 - np.mean([min(1, np.abs(other - first).sum()) for other in others]))


def coherence(shown: Shown) -> float:
    """1 to 10: the share of names in the texts whose colour covers part of the picture; 1 where nothing is named."""
    seen = [
        _shows(picture, NAMES[word]) for picture, text in shown[1:] for word in _WORDS.findall(text) if word in NAMES
    ]
    return _scale(np.mean(seen) if seen else 0)


def engaging(shown: Shown) -> float:
    """1 to 10: the share of pictures that differ from all before and show something, and of words that are new."""
    pixels = [_pixels(picture) for picture, _ in shown]
    new = [
        pixels[i].std() > 8 and all(np.abs(pixels[i] - before).mean() > 4 for before in pixels[:i])
        for i in range(1, len(pixels))
    ]
    words = [word.lower() for _, text in shown for word in _WORDS.findall(text)]
    return _scale(0.8 * np.mean(new) + 0.2 * len(set(words)) / max(1, len(words)))


MEASURES = {"style": style, "engaging": engaging, "coherence": coherence}


@dataclass
class ScriptedJudge:
    """Answers all questions, always the same; each weakness of real judges is a switch."""

    name: str = "scripted"
    noise: float = 0.0
    """Points (standard deviation) by which an asking of a question differs from another one."""
    first_bonus: float = 0.0
    """Points that the story shown first has in advance."""
    gullible: bool = False
    """Gives the score that a text in the story orders."""
    shift: float = 0.0
    """Points that are added to every score: a judge that changed."""
    asked: list[Question] = field(default_factory=list)

    def __call__(self, questions: Sequence[Question]) -> list[Judgement]:
        self.asked += questions
        return [self._judgement(question) for question in questions]

    def _judgement(self, question):
        stories = [[(pair.image(SIDE), pair.text) for pair in story] for story in question.stories]
        scores = [self._score(question.dimension, shown, question.repeat) for shown in stories]
        return Judgement(
            judge=self.name,
            status="ok",
            score=scores[0] if len(scores) == 1 else None,
            choice=choose(*scores, first_bonus=self.first_bonus) if len(scores) == 2 else None,
            rationale="It was measured.",
            words=sum(len(text.split()) for shown in stories for _, text in shown),
            **{
                name: getattr(question, name)
                for name in ("purpose", "dimension", "story_id", "systems", "repeat", "label")
            },
        )

    def _score(self, dimension, shown, repeat):
        return score_of(dimension, shown, noise=self.noise, gullible=self.gullible, shift=self.shift, repeat=repeat)


def score_of(
    dimension: str, shown: Shown, *, noise: float = 0, gullible: bool = False, shift: float = 0, repeat: int = 0
) -> float:
    """Score a story in half points; the noise is a function of what is shown and of `repeat`."""
    ordered = [int(found[1]) for _, text in shown if (found := _ORDER.search(text))]
    if gullible and ordered:
        return float(ordered[0])
    score = MEASURES[dimension](shown) + shift
    if noise:
        seen = b"".join(picture.tobytes() + text.encode() for picture, text in shown)
        rng = np.random.default_rng([zlib.crc32(seen), repeat, len(dimension)])
        score += rng.normal(0, noise)
    return float(np.clip(round(score * 2) / 2, 1, 10))


def choose(first: float, second: float, *, first_bonus: float = 0) -> str:
    """Choose the better one of two scores."""
    difference = first + first_bonus - second
    return "tie" if difference == 0 else "first" if difference > 0 else "second"


def scripted_answer(request: Mapping, *, gullible: bool = False, first_bonus: float = 0.0) -> str:
    """Answer a chat request in the form that it asks for: the content of the reply.

    That is JSON with a score, or a choice where two stories are shown; the published form's mark in double brackets.
    """
    dimension, stories, is_published = read_request(request)
    scores = [score_of(dimension, shown, gullible=gullible) for shown in stories]
    choice = choose(*scores, first_bonus=first_bonus) if len(scores) == 2 else None
    if is_published:
        mark = scores[0] if choice is None else {"first": "A", "second": "B", "tie": "C"}[choice]
        return f"It was measured. [[{mark}]]"
    said = {"score": scores[0]} if choice is None else {"choice": choice}
    return json.dumps({"rationale": "It was measured.", **said})


def read_request(request: Mapping) -> tuple[str, list[Shown], bool]:
    """Read from a chat request's messages which dimension is asked for, the stories as they are seen, and whether the
    form is the published one.

    A story begins at a line with BEGIN and STORY; a part "Text 3 ...: <JSON string>" goes with the picture before it.
    In the published form a story begins with its list of texts and has no opening: its first picture stands for it.
    """
    instructions, stories, listed = "", [], []
    for part in _parts(request):
        if part["type"] == "image_url":
            stories[-1].append([_decoded(part["image_url"]["url"]), listed.pop(0) if listed else ""])
        elif found := _SAID.match(part["text"]):
            stories[-1][-1][1] = _plain(found[1])
        elif found := _LISTED.match(part["text"]):
            listed = ast.literal_eval(found[1])
            stories.append([])
        else:
            instructions += f"{part['text']}\n"
            stories += [[] for _ in _BEGIN.findall(part["text"])]
    is_published = "[[" in instructions
    opened = [[story[0], *story] if is_published else story for story in stories if story]
    return _dimension(instructions), [[(picture, text) for picture, text in story] for story in opened], is_published


def _parts(request):
    for message in request["messages"]:
        if message["role"] == "user":
            content = message["content"]
            yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _dimension(instructions):
    found = re.search(r"(style)|(engag|attention)|(coheren|belong together)", instructions)
    assert found is not None, "the request asks about no dimension"
    return ("style", "engaging", "coherence")[found.lastindex - 1]


def _plain(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _decoded(url):
    data = base64.b64decode(url.partition("base64,")[2])
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _pixels(picture):
    return np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float64)


def _look(picture):
    """The darkest line, how much is drawn, and, with little weight, the mean colour, which changes with the place."""
    pixels = np.asarray(picture, dtype=np.float64)
    light = pixels.mean(axis=2)
    return np.array([light.min() / 50, np.abs(np.diff(light, axis=1)).mean() / 20, *pixels.mean(axis=(0, 1)) / 1500])


def _shows(picture, colour):
    pixels = np.asarray(picture.resize((64, 64), Image.Resampling.NEAREST), dtype=np.float64)
    near = np.abs(pixels - ImageColor.getrgb(colour)).max(axis=2) < 40
    return near.mean() > 0.02


def _scale(share):
    return 1 + 9 * float(np.clip(share, 0, 1))
