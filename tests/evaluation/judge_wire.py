"""A judge's server behind a fake wire, and stories to ask it about."""

import io
import json
import threading

import httpx2
import numpy as np
import openai
from PIL import Image

from evaluation.judging.panel import open_panel
from evaluation.judging.questions import Question
from evaluation.pictures import Pair
from story_model.config import Settings
from story_model.evaluate_config import JudgeConfig

URL = "http://judge.test/v1"
CONFIG = JudgeConfig(model="judge-1", price={"prompt_usd": 10, "completion_usd": 50}, concurrency=1)
USD = (100 * 10 + 20 * 50) / 1e6
"""What `reply` costs at that price."""


def pair(index, text="Pip waves.", colour=(200, 30, 30), *, pixel=None, compress_level=6):
    image = Image.new("RGB", (8, 8), colour)
    if pixel:
        image.putpixel((3, 3), pixel)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=compress_level)
    return Pair(index, text, buffer.getvalue(), np.zeros((64, 64, 3), np.uint8))


def story(*texts, colour=(200, 30, 30), **more):
    return (pair(0, "Once upon a time."), *(pair(n + 1, text, colour, **more) for n, text in enumerate(texts)))


def question(text="Pip waves.", dimension="style", repeat=0, **more):
    return Question("score", dimension, "s1", ("secret-system",), (story(text, **more),), repeat)


def comparison(first="Pip waves.", second="Pip sleeps.", dimension="style"):
    return Question("pair", dimension, "s1", ("secret-one", "secret-two"), (story(first), story(second)))


def opinion(score=7.5, rationale="Picture 1 keeps the line."):
    return json.dumps({"rationale": rationale, "score": score})


def body(content, finish="stop", refusal=None, tokens=(100, 20)):
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "judge-1",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]},
    }


def reply(content, finish="stop", refusal=None, tokens=(100, 20)):
    return httpx2.Response(200, json=body(content, finish, refusal, tokens))


def failure(status, message="broken", **more):
    return httpx2.Response(status, json={"error": {"message": message, **more}})


class Wire:
    """Answers questions in turn, the last answer for ever after; lists models; remembers what it was asked."""

    def __init__(self, *answers, models=("judge-1", "judge-2")):
        self.answers = list(answers) or [reply(opinion())]
        self.models = models
        self.asked = []
        self.headers = []
        self._lock = threading.Lock()

    def __call__(self, request):
        with self._lock:
            self.headers.append(request.headers)
            if request.method == "GET" and not request.url.path.endswith("/models"):
                return failure(404)
            if request.method == "GET":
                rows = [name if isinstance(name, dict) else {"id": name} for name in self.models]
                return httpx2.Response(200, json={"data": rows})
            self.asked.append(json.loads(request.content))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if not isinstance(answer, httpx2.Response):
                answer = answer(self.asked[-1])
            if isinstance(answer, Exception):
                raise answer
            return answer

    def connect(self, address, key):
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return openai.OpenAI(base_url=address, api_key=key, max_retries=0, http_client=http)

    def panel(self, folder, config=CONFIG, url=URL, **settings):
        given = Settings(_env_file=None, **{"api_base_url": url, **settings})
        return open_panel(config, given, folder / "run" / "judge", connect=self.connect)

    def judge(self, folder, *questions, config=CONFIG, **settings):
        return self.panel(folder, config, **settings).judge(questions)


def one(judged):
    assert len(judged.judgements) == 1
    return judged.judgements[0]


def statuses(judged):
    return [row.status for row in judged.judgements]
