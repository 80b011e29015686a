"""Questions whose answer has an agreed JSON form: asked with a schema where the server takes one, read strictly."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from story_model.asking.endpoint import Answer, Endpoint, QuestionRefused
from story_model.asking.replies import CONTENT_FILTER, LENGTH, OtherForm, one_line
from story_model.strict_json import read_json

Form = TypeVar("Form", bound=BaseModel)

_FENCED = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)
_REFUSAL = re.compile(
    r"(?i)\bi['\u2019]?m (?:so |very )?sorry,? (?:but )?(?:i |that |this )|"
    r"\bi (?:can(?:not|['\u2019]t)|won['\u2019]t|am unable to|am not able to) "
    r"(?:assist|help|comply|continue|write|create|provide|generate|produce|fulfil|do that|tell th|see the)|"
    r"\bas an? (?:ai|artificial|large language|language) |\bi apologi[sz]e,? but|content (?:policy|guidelines)|"
    r"lo siento,? (?:pero )?no puedo|je suis désolée?,? (?:mais )?je ne|es tut mir leid,? (?:aber )?ich|"
    r"mi dispiace,? (?:ma )?non posso|(?:извините|простите),? (?:но )?я не могу|"
    r"申し訳(?:ありません|ございません)|很?抱歉[\uff0c,]?我(?:不能|无法)"
)


class Declined(ValueError):  # noqa: N818 - says what happened
    """The model refuses in prose, where an answer of a form was asked for."""


class Structured:
    """An endpoint that is asked for JSON of a given schema, as long as it takes schemas."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the endpoint; whether it takes schemas is remembered."""
        self.model = endpoint.model
        self._endpoint = endpoint
        self.takes_schemas = True

    def ask(
        self,
        ledger: str,
        messages: list[dict[str, Any]],
        *,
        schema: dict[str, Any],
        **plain: Any,  # noqa: ANN401
    ) -> Answer:
        """Ask, with the options of `Endpoint.ask`; a server that refuses the schema is asked once more without it, and
        from then on if that served.

        Raises:
            QuestionRefused: the question is not answered, with or without a schema.
            ValueError: the endpoint cannot be used, or not now.
        """
        if not self.takes_schemas:
            return self._endpoint.ask(ledger, messages, **plain)
        try:
            return self._endpoint.ask(ledger, messages, **in_schema(schema), **plain)
        except OtherForm:
            raise  # the schema was taken
        except QuestionRefused as refused:
            try:
                answer = self._endpoint.ask(ledger, messages, **plain)
            except QuestionRefused:
                raise refused from None
        self.takes_schemas = False
        return answer


def in_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Make the option of a question whose answer must be JSON of a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    return {"response_format": form}


def read(answer: Answer, form: type[Form]) -> Form:
    """Read an answer; one code fence around the JSON is overlooked, nothing else is.

    Raises:
        ValueError: the answer is cut short, withheld, refused or not of the form.
    """
    if answer.refusal:
        raise Declined(f"a refusal: {answer.refusal}")
    if answer.finish_reason == LENGTH:
        raise ValueError("the answer was cut off at its length limit; be briefer")
    if answer.finish_reason == CONTENT_FILTER:
        raise ValueError("the answer was withheld by the endpoint's content filter")
    if not answer.text.strip():
        raise ValueError("the answer is empty")
    fenced = _FENCED.match(answer.text.strip())
    try:
        found = read_json(fenced[1] if fenced else answer.text)
        return form.model_validate(found, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not the agreed JSON: {first['msg']}{f' at {place}' if place else ''}") from None
    except ValueError as error:
        if is_refusal(answer.text):
            raise Declined(f"a refusal: {one_line(answer.text)}") from None
        raise ValueError(f"not the agreed JSON: {error}") from None


def is_refusal(text: str) -> bool:
    """Whether a text, where nobody in it speaks, declines to do what was asked or speaks of the model itself."""
    return _REFUSAL.search(re.sub(r"[\"“„«][^\"”“»]*[\"”“»]", " ", text)) is not None
