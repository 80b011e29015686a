"""What an OpenAI-compatible server replies, read with care: servers leave fields out, add their own, or send a page."""

from typing import Any

from pydantic import BaseModel, ValidationError

from story_model.asking.answers import MAX_TOKENS, Answer, encodable

CONTENT_FILTER = "content_filter"
LENGTH = "length"
NO_CHOICES = "no choices"
REFUSED = "refused"
_LONGEST_REASON = 300
_LONGEST_ANSWER = 1 << 20
"""In characters, far above any that was asked for; a ledger's line has to hold it, or it would be paid again."""


class QuestionRefused(Exception):  # noqa: N818 - says what happened
    """The endpoint will not answer this one question; others may be answered."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        """Take the reason in words, and as the server's code where it gave one."""
        super().__init__(reason)
        self.code = code


class OtherForm(QuestionRefused):
    """An answer came, perhaps for money, in a form that holds none: asking in another way might pay again."""


class _Message(BaseModel):
    content: str | list[Any] | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message = _Message()
    finish_reason: str | None = None


class _Reply(BaseModel):
    choices: list[_Choice] | None = None


def answer_of(body: object) -> Answer:
    """Take the answer out of a chat completion.

    A reply without choices is an answer where tokens were charged for it, so that these are not paid again.

    Raises:
        QuestionRefused: it holds none.
    """
    try:
        choices = _Reply.model_validate(body).choices
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OtherForm(f"a reply of another form: {where or 'body'}: {first['msg']}") from None
    prompt_tokens, completion_tokens = tokens_of(body)
    if not choices:
        if said := error_message(body):
            raise QuestionRefused(said)
        if not prompt_tokens + completion_tokens:
            raise OtherForm("an answer without choices")
        return Answer("", NO_CHOICES, prompt_tokens, completion_tokens)
    message, reason = choices[0].message, choices[0].finish_reason or "unknown"
    refusal = one_line(message.refusal or "")
    return Answer(
        text=encodable(_text(message.content)).strip()[:_LONGEST_ANSWER],
        finish_reason=REFUSED if refusal and reason == "stop" else one_line(reason),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        refusal=refusal,
    )


def tokens_of(body: object) -> tuple[int, int]:
    """Read what a reply cost: (prompt tokens, completion tokens); 0 where it does not say, or not with a number."""
    usage = body.get("usage") if isinstance(body, dict) else None
    found = [usage.get(name) if isinstance(usage, dict) else 0 for name in ("prompt_tokens", "completion_tokens")]
    asked, said = (number if type(number) is int and 0 <= number <= MAX_TOKENS else 0 for number in found)
    return asked, said


def error_message(body: object) -> str:
    """Read the message of an error out of a reply; empty where it holds none."""
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") or error.get("code") if isinstance(error, dict) else error
    return one_line(str(message)) if message else ""


def one_line(text: str) -> str:
    """Bring words of a server to one short line."""
    line = encodable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}…"


def _text(content: str | list[Any] | None) -> str:
    """Join the text of an answer; some servers send it in parts."""
    if not isinstance(content, list):
        return content or ""
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(part for part in parts if isinstance(part, str))
