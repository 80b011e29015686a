"""The judges of an evaluation: who they are, whether they are there, and what they answer to the same questions.

Which key goes to which address is decided here: a key is sent to the one address that it was given for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import openai

from evaluation.judging.bill import Judged, Notice
from evaluation.judging.brake import Budget
from evaluation.judging.endpoint_judge import EndpointJudge, ledger_name
from evaluation.judging.form import Form
from evaluation.judging.published_form import PublishedForm
from evaluation.judging.questions import Question
from evaluation.judging.retirement import retirement
from evaluation.judging.rubric import Rubric
from story_model.asking.batches import Batches
from story_model.asking.clients import open_client
from story_model.asking.endpoint import Endpoint
from story_model.config import Settings
from story_model.evaluate_config import JudgeConfig, JudgeModelConfig
from story_model.store import open_store

Connect = Callable[[str, str], openai.OpenAI]
"""Makes a client of an address and a key."""

_NO_KEY = "none"
"""For servers that ask for none; the client insists on one."""
_SETTINGS = ("STORY_JUDGE_BASE_URL or evaluate.judge.address", "STORY_JUDGE_API_KEY or STORY_JUDGE_KEYS")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Patience:
    """How long a judge is waited for; one that thinks needs a minute or two."""

    timeout_s: float = 180.0
    """Until something comes."""
    retries: int = 4
    wall_s: float = 400.0
    """For one question, with all retries; three questions that end so end the asking."""
    poll_s: float = 30.0
    """Between two looks at a batch."""


_PATIENCE = Patience()


class Panel:
    """Judges who are asked the same."""

    def __init__(self, judges: Sequence[EndpointJudge], notices: Sequence[Notice] = ()) -> None:
        """Take the judges, the first of whom is asked first, and what is known of them already."""
        self.judges = tuple(judges)
        self._notices = list(notices)
        self._there = set[str]()

    def preflight(self, questions: Sequence[Question] | None = None, *, now: datetime | None = None) -> list[Notice]:
        """See that every judge is there, before anything is paid; tell what a reader of the scores must know.

        With `questions`, a judge whose ledger answers them all is left alone: it may be gone. One that was seen is not
        looked for again: what fails later is a status, and no reason to lose what was measured meanwhile.

        Raises:
            ValueError: address, key or model of a judge are wrong, it does not answer, or it is retired.
        """
        told: list[Notice] = []
        for judge in self.judges:
            if judge.name in self._there or (questions is not None and not judge.missing(questions)):
                continue
            retired, text = _retirement(judge, now or datetime.now(UTC))
            if retired:
                raise ValueError(f"judge {judge.name} {text}; name another model in evaluate.judge.model")
            judge.endpoint.preflight()
            self._there.add(judge.name)
            if text:
                told.append(Notice(judge=judge.name, text=text))
        self._notices += [notice for notice in told if notice not in self._notices]
        return list(self._notices)

    def judge(self, questions: Sequence[Question]) -> Judged:
        """Have every judge answer every question, one judge after the other, in the order given.

        Where a budget ends the asking, earlier judges and earlier questions have their answers.

        Raises:
            ValueError: a picture is missing or cannot be decoded.
        """
        done = [judge.judge(questions) for judge in self.judges]
        return Judged(
            judgements=[row for rows, _, _ in done for row in rows],
            bill=[bill for _, bill, _ in done],
            notices=[*self._notices, *(notice for _, _, notices in done for notice in notices)],
        )


def open_panel(
    config: JudgeConfig,
    settings: Settings,
    judge_dir: Path,
    *,
    offline: bool = False,
    connect: Connect | None = None,
    patience: Patience = _PATIENCE,
) -> Panel | str:
    """Open the configured judges, asking nobody anything; where there is none, return the reason.

    `offline`: look into no store, so that a dry run needs no network. `connect` makes the clients in our place.

    Raises:
        ValueError: an address is none or holds a secret, a judge is named twice, a budget cannot be kept because no
            price is known, or a key has no address.
    """
    models = _models(config)
    if not models:
        return "no model is configured (evaluate.judge.model)"
    default = settings.judge_base_url or settings.api_base_url
    if not default and not all(one.address for one in models):
        return "no endpoint is configured (STORY_JUDGE_BASE_URL or STORY_API_BASE_URL)"
    places = [normalised(one.address or str(default)) for one in models]
    names = _names(models, places)
    _check_budget(config, models)
    _check_key(settings)
    store = None if offline else open_store(settings.store, judge_dir.parent.parent)
    budget, form = Budget(config.budget_usd), make_form(config)
    judges = []
    for one, place, name in zip(models, places, names, strict=True):
        address, key = one.address or str(default), key_for(place, settings)
        if connect is not None:
            client = connect(address, key)
        else:
            client = open_client(address, key, retries=patience.retries, timeout_s=patience.timeout_s)
        endpoint = Endpoint(client, one.model, judge_dir, wall_s=patience.wall_s, store=store, settings=_SETTINGS)
        folder = judge_dir / f"{ledger_name(one.model, place)}-batches"
        judges.append(
            EndpointJudge(
                endpoint,
                form,
                name=name,
                address=place,
                price=one.price,
                budget=budget,
                concurrency=config.concurrency,
                way=Batches(endpoint, folder, poll_s=patience.poll_s, setting="evaluate.judge.batch"),
                batch=config.batch,
            )
        )
    return Panel(judges, _unpriced(config, judges))


def make_form(config: JudgeConfig) -> Form:
    """Make the configured form of questions."""
    return PublishedForm(config) if config.form == "published" else Rubric(config)


def key_for(address: str, settings: Settings) -> str:
    """Choose the key that was given for an address; one that was given for another is never sent there."""
    for other, key in settings.judge_keys.items():
        if normalised(other) == address:
            return key.get_secret_value() or _NO_KEY
    given = ((settings.judge_base_url, settings.judge_api_key), (settings.api_base_url, settings.api_key))
    for url, key in given:
        if url and key.get_secret_value() and normalised(url) == address:
            return key.get_secret_value()
    return _NO_KEY


def normalised(address: str) -> str:
    """Bring the addresses of one endpoint to one form.

    Raises:
        ValueError: it is no web address, or holds what may be a secret.
    """
    parts, port = _split(address)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(
            f"{parts.scheme or 'what is configured'}:... is no judge's address; give one like https://host/v1"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(
            f"the judge's address at {host} holds more than host and path; put its key into STORY_JUDGE_API_KEY or "
            "STORY_JUDGE_KEYS"
        )
    shown = f":{port}" if port not in (None, _PORTS[parts.scheme]) else ""
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def _split(address: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(address.strip())
        return parts, parts.port
    except ValueError:
        raise ValueError("a judge's address cannot be read; give one like https://host/v1") from None


def _models(config: JudgeConfig) -> list[JudgeModelConfig]:
    own = [JudgeModelConfig(model=config.model, address=config.address, price=config.price)] if config.model else []
    return [*own, *config.panel]


def _names(models: Sequence[JudgeModelConfig], places: Sequence[str]) -> list[str]:
    """Name judges by their model, and by their address where there are several of the name."""
    often = Counter(one.model for one in models)
    both = list(zip(models, places, strict=True))
    names = [one.model if often[one.model] == 1 else f"{one.model} at {place}" for one, place in both]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"judge {twice[0]} is named twice; ask again by evaluate.judge.repeats")
    return names


def _check_budget(config: JudgeConfig, models: Sequence[JudgeModelConfig]) -> None:
    if config.budget_usd is not None and not any(_priced(one) for one in models):
        raise ValueError(
            "evaluate.judge.budget_usd cannot be kept without a price; set evaluate.judge.price (US dollars for a "
            "million tokens)"
        )


def _check_key(settings: Settings) -> None:
    if settings.judge_api_key.get_secret_value() and not settings.judge_base_url:
        raise ValueError(
            "STORY_JUDGE_API_KEY is sent to STORY_JUDGE_BASE_URL alone, which is not set; set it, or give the key with "
            'its address in STORY_JUDGE_KEYS: {"https://host/v1": "key"}'
        )


def _priced(model: JudgeModelConfig) -> bool:
    return model.price.prompt_usd + model.price.completion_usd > 0


def _unpriced(config: JudgeConfig, judges: Sequence[EndpointJudge]) -> list[Notice]:
    """Name the judges whose answers the budget cannot see."""
    free = [one for one in judges if one.price.prompt_usd + one.price.completion_usd == 0]
    text = "has no price, so that the budget does not hold its answers"
    return [Notice(judge=one.name, text=text) for one in free] if config.budget_usd is not None else []


def _retirement(judge: EndpointJudge, now: datetime) -> tuple[bool, str]:
    rows = judge.endpoint.models() or []
    own = next((row for row in rows if row["id"] == judge.endpoint.model), {})
    return retirement(own, now)
