"""One judge: a model behind an OpenAI-compatible endpoint, each of whose answers is paid for once.

A question is named by all that decides its answer: address, model, parameters, every text, the pixels of the pictures,
their order, and which repeat it is. Answers, refusals and unusable ones too, are in the ledger before they are used; a
killed evaluation, another process or another machine with the same store goes on where this one stopped. What did not
come, or was not asked, is in no ledger and is asked by the next run.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from tqdm import tqdm

from evaluation.judging.bill import JudgeBill, Notice, lacking
from evaluation.judging.brake import Brake, Budget
from evaluation.judging.estimate import answer_tokens, cost, prompt_tokens, used
from evaluation.judging.form import Form, named, pictures_in, sent
from evaluation.judging.questions import Judgement, Question, Status
from evaluation.judging.reading import opinion_of
from story_model.asking import batches
from story_model.asking.answers import Answer, question_key
from story_model.asking.endpoint import Endpoint, EndpointDenied, QuestionRefused
from story_model.asking.replies import LENGTH
from story_model.asking.structured import Structured, in_schema
from story_model.price_config import PriceConfig

log = logging.getLogger(__name__)

_FILTERS = frozenset(("content_filter", "content_policy_violation"))
"""Codes of servers that refuse a question for what it shows."""


@dataclass(frozen=True)
class Put:
    """A question as it is put to one judge."""

    question: Question
    key: str
    words: int
    tokens: tuple[int, int]
    """Prompt and completion tokens, estimated."""


@dataclass(frozen=True)
class _Failure:
    status: Status
    reason: str


class EndpointJudge:
    """Answers questions about stories."""

    def __init__(
        self,
        endpoint: Endpoint,
        form: Form,
        *,
        name: str,
        address: str,
        price: PriceConfig,
        budget: Budget,
        concurrency: int = 4,
        way: batches.Batches,
        batch: bool = False,
    ) -> None:
        """Take the endpoint, the form of questions, the judge's name in reports, its address as it names questions,
        prices, the budget, how many questions are with the endpoint at once, its batches, and whether to use these.
        """
        self.name = name
        self.address = address
        self.price = price
        self.endpoint = endpoint
        self._form = form
        self._structured = Structured(endpoint)
        self._budget = budget
        self._concurrency = concurrency
        self._batches = way
        self.batch = batch
        """Whether questions go through the Batch API."""
        self._ledger = ledger_name(endpoint.model, address)

    def put(self, question: Question) -> Put:
        """Name a question and estimate what it costs; nothing is sent.

        Raises:
            ValueError: a picture is missing or cannot be decoded.
        """
        messages = self._form.messages(question)
        options, schema = self._form.options(), self._form.schema(question)
        asked = (self.address, self.endpoint.model, options, schema, named(messages))
        return Put(
            question=question,
            key=question_key("judge", *asked, question.repeat),
            words=sum(len(picture.pair.text.split()) for picture in pictures_in(messages)),
            tokens=(prompt_tokens(messages), answer_tokens(options["max_tokens"])),
        )

    def missing(self, questions: Iterable[Question]) -> dict[str, Put]:
        """Find the questions that no ledger answers, each once, by their key."""
        return self._missing([self.put(question) for question in questions])

    def judge(self, questions: Sequence[Question]) -> tuple[list[Judgement], JudgeBill, list[Notice]]:
        """Answer questions, from the ledger or by asking; of an answer that failed there is a status, never a score.

        With a budget, what is in flight when it runs out still costs: at most `concurrency` answers more than allowed.

        Raises:
            ValueError: a picture is missing or cannot be decoded; nothing was asked.
        """
        puts = [self.put(question) for question in questions]
        todo = self._missing(puts)
        brake = Brake(self._budget)
        failures = self._ask(todo, brake)
        fresh = {key for key in todo if self._found(key) is not None}
        rows, seen = [], set[str]()
        for put in puts:
            rows.append(self._judgement(put, failures.get(put.key), paid_before=put.key not in fresh - seen))
            seen.add(put.key)
        told = lacking(rows)
        if not self._structured.takes_schemas:
            told.append("the endpoint takes no answer schema; answers are read as strictly without")
        return rows, self._bill(rows, fresh), [Notice(judge=self.name, text=text) for text in told]

    def _missing(self, puts: Iterable[Put]) -> dict[str, Put]:
        found: dict[str, Put] = {}
        for put in puts:
            if put.key not in found and self._found(put.key) is None:
                found[put.key] = put
        return found

    def _found(self, key: str) -> tuple[Answer, bool] | None:
        """Look an answer up; also tell whether a batch gave it, at half the price."""
        for batch in (False, True):
            answer = self.endpoint.ledger(self._ledger_of(batch=batch)).get(key)
            if answer is not None:
                return answer, batch
        return None

    def _ledger_of(self, *, batch: bool) -> str:
        return f"{self._ledger}-batch" if batch else self._ledger

    def _ask(self, todo: Mapping[str, Put], brake: Brake) -> dict[str, _Failure]:
        """Have the questions answered into the ledgers; tell the failures by key."""
        if not todo:
            return {}
        if self.batch:
            return self._together(todo)
        # Handed in by a run that wanted batches: paid, and not to be paid again.
        coming = {key: put for key, put in todo.items() if key in self._batches.under_way()}
        failures = self._together(coming) if coming else {}
        return failures | self._singly({key: put for key, put in todo.items() if key not in coming}, brake)

    def _singly(self, todo: Mapping[str, Put], brake: Brake) -> dict[str, _Failure]:
        failures: dict[str, _Failure] = {}
        bar = tqdm(total=len(todo), desc=f"judge {self.name}", unit="answer", mininterval=2)
        with bar, ThreadPoolExecutor(self._concurrency) as pool, brake.held():
            coming = {pool.submit(self._ask_one, put, brake): key for key, put in todo.items()}
            for done in as_completed(coming):
                failure = done.result()
                if failure is not None:
                    failures[coming[done]] = failure
                bar.update()
        return failures

    def _ask_one(self, put: Put, brake: Brake) -> _Failure | None:
        if brake.reason:
            return _Failure("not_asked", brake.reason)
        with brake.held():
            return self._answered(put, brake)

    def _answered(self, put: Put, brake: Brake) -> _Failure | None:
        messages = sent(self._form.messages(put.question))
        options, schema = self._form.options(), self._form.schema(put.question)
        ledger = self._ledger_of(batch=False)
        try:
            if schema is None:
                answer = self.endpoint.ask(ledger, messages, key=put.key, **options)
            else:
                answer = self._structured.ask(ledger, messages, schema=schema, key=put.key, **options)
        except QuestionRefused as refused:
            return self._refused(refused, brake)
        except EndpointDenied as denied:
            brake.stop(str(denied))
            return _Failure("error", str(denied))
        except ValueError as error:
            brake.down(str(error))
            return _Failure("error", str(error))
        if answer.finish_reason == LENGTH:
            brake.cut()
        else:
            brake.answered()
        self._spend(answer, put, batch=False)
        return None

    def _refused(self, refused: QuestionRefused, brake: Brake) -> _Failure:
        reason = str(refused)
        if refused.code in _FILTERS:
            brake.answered()
            return _Failure("filtered", reason)
        log.warning("%s does not answer a question: %s", self.name, reason)
        brake.refused(reason)
        return _Failure("error", reason)

    def _together(self, todo: Mapping[str, Put]) -> dict[str, _Failure]:
        """Ask in batches; those that the budget has no room for, by estimate, are left out unless handed in before."""
        chosen = self._affordable(todo)
        full = f"a budget of {self._budget.limit_usd} USD has no room for it (evaluate.judge.budget_usd)"
        failures = {key: _Failure("not_asked", full) for key in todo.keys() - chosen.keys()}
        if not chosen:
            return failures
        try:
            reasons = self._batches.answer_all(lambda: self._lines(chosen.values()))
        except ValueError as error:
            log.warning("%s: %s", self.name, error)
            reasons = dict.fromkeys(chosen, str(error))
        for key, put in chosen.items():
            found = self._found(key)
            if found is not None:
                self._spend(found[0], put, batch=True)
            else:
                failures[key] = _Failure("error", reasons.get(key, "the batch left it unanswered"))
        return failures

    def _affordable(self, todo: Mapping[str, Put]) -> dict[str, Put]:
        left, handed_in = self._budget.left_usd, self._batches.under_way()
        chosen: dict[str, Put] = {}
        for key, put in todo.items():
            usd = cost(self.price, put.tokens, batch=True)
            if left is None or usd <= left or key in handed_in:
                chosen[key] = put
                left = None if left is None else max(0.0, left - usd)
        return chosen

    def _lines(self, puts: Iterable[Put]) -> Iterator[batches.Question]:
        for put in puts:
            schema = self._form.schema(put.question)
            options = self._form.options() | (in_schema(schema) if schema is not None else {})
            messages = sent(self._form.messages(put.question))
            yield batches.Question(self._ledger_of(batch=True), messages, options, put.key)

    def _spend(self, answer: Answer, put: Put, *, batch: bool) -> None:
        self._budget.spend(cost(self.price, used(answer) if any(used(answer)) else put.tokens, batch=batch))

    def _judgement(self, put: Put, failure: _Failure | None, *, paid_before: bool) -> Judgement:
        question, found = put.question, self._found(put.key)
        row = Judgement(
            judge=self.name,
            purpose=question.purpose,
            dimension=question.dimension,
            story_id=question.story_id,
            systems=question.systems,
            repeat=question.repeat,
            label=question.label,
            status=failure.status if failure is not None else "error",
            reason=failure.reason if failure is not None else "no answer came",
            words=put.words,
            key=put.key,
        )
        if found is None:
            return row
        answer, batch = found
        paid = {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "usd": cost(self.price, used(answer), batch=batch),
            "paid_before": paid_before,
        }
        return row.model_copy(update=opinion_of(self._form, question, answer) | paid)

    def _bill(self, rows: Sequence[Judgement], fresh: set[str]) -> JudgeBill:
        new = [row for row in rows if row.key in fresh and not row.paid_before]
        before = {row.key: row.usd for row in rows if row.key not in fresh}
        unanswered = {row.key for row in rows if self._found(row.key) is None}
        return JudgeBill(
            judge=self.name,
            batch=self.batch,
            questions=len(rows),
            from_ledger=sum(row.paid_before for row in rows),
            newly_paid=len(new),
            errors=sum(row.key in unanswered and row.status != "not_asked" for row in rows),
            not_asked=sum(row.status == "not_asked" for row in rows),
            prompt_tokens=sum(row.prompt_tokens for row in new),
            completion_tokens=sum(row.completion_tokens for row in new),
            usd=sum(row.usd for row in new),
            usd_before=sum(before.values()),
            without_usage=sum(row.prompt_tokens + row.completion_tokens == 0 for row in new),
        )


def ledger_name(model: str, address: str) -> str:
    """Name a judge's ledger: readable, and one of its own for each model at each address."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", model).strip(".-")[:60]
    return f"{readable}-{hashlib.sha256(f'{address} {model}'.encode()).hexdigest()[:12]}"
