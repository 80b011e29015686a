"""Questions to an endpoint's Batch API: half the price, an answer within a day, each paid once.

Batches outlive the run that handed them in. What is under way is found again by the journal; where a kill came before
its id was written down, or the journal is another machine's, by the name that a batch carries as metadata. Answers go
to the ledgers of `answers.py`, under the same keys as if they had been asked one by one; what a batch leaves unanswered
is handed in again.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import openai
from openai.types import Batch
from tqdm import tqdm

from story_model.asking.batch_files import URL, RequestFile, Results, read_results, request_line
from story_model.asking.batch_journal import BatchJournal, HandedIn, alone
from story_model.asking.endpoint import Endpoint
from story_model.asking.replies import one_line

log = logging.getLogger(__name__)

__all__ = ["Batches", "Question"]

_MARK = "storystream"
_ENDED = frozenset(("completed", "failed", "expired", "cancelled"))
_DAY_S = 86400
_LONGEST_WAIT_S = 1.5 * _DAY_S
_LATER = "token_limit"
"""Of a batch that failed as a whole: too much is under way at once."""


@dataclass(frozen=True)
class Question:
    """A question, and the ledger that its answer belongs to."""

    ledger: str
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    key: str | None = None
    """Names it where messages and options do not; see `Endpoint.ask`."""


class Batches:
    """The batches of one run."""

    def __init__(
        self,
        endpoint: Endpoint,
        folder: Path,
        *,
        poll_s: float = 30.0,
        attempts: int = 3,
        max_requests: int = 50_000,
        max_bytes: int = 190_000_000,
        longest_wait_s: float = _LONGEST_WAIT_S,
        setting: str = "build.captions.batch",
    ) -> None:
        """Take the endpoint, the folder of the journal, seconds between two looks, the limits, and the setting that
        asks for batches.

        A question is handed in at most `attempts` times a run; a batch's file has at most `max_requests` lines and
        `max_bytes` bytes (OpenAI's limits are 50,000 and 200 MB).
        """
        self._endpoint = endpoint
        self._folder = folder
        self._poll_s = poll_s
        self._attempts = attempts
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._longest_wait_s = longest_wait_s
        self._setting = setting

    def under_way(self) -> set[str]:
        """List the keys of questions that were handed in and not fetched, as far as the journal knows."""
        return {key for sent in BatchJournal(self._folder / "batches.jsonl").open for key in sent.questions}

    def answer_all(self, questions: Callable[[], Iterable[Question]]) -> dict[str, str]:
        """Have questions answered into their ledgers; tell the reasons, by key, of those that are not.

        `questions` hands them out as often as it is called: they are too large to keep.

        Raises:
            ValueError: the endpoint cannot be used, or not now, or answers nothing; what it said so far is kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with alone(self._folder, self._longest_wait_s):
            return self._answer_all(questions)

    def _answer_all(self, questions: Callable[[], Iterable[Question]]) -> dict[str, str]:
        journal = BatchJournal(self._folder / "batches.jsonl")
        refused: dict[str, str] = {}
        wanted: dict[str, set[str]] = {}
        for _ in range(self._attempts):
            self._recover(journal)
            self._hand_in(questions(), journal, wanted, refused)
            self._wait(journal, refused)
            missing = self._missing(wanted, refused)
            if not missing:
                return refused
            log.warning("%d of %d questions were left unanswered by their batches", len(missing), len(wanted))
        if len(missing) == len(wanted):
            raise ValueError(f"none of {len(wanted)} questions got an answer in {self._attempts} batches; try without")
        return refused | dict.fromkeys(missing, f"no answer in {self._attempts} batches")

    def _recover(self, journal: BatchJournal) -> None:
        """Look for batches of which it is not known whether they were created."""
        for sent in journal.open:
            if sent.batch_id is not None:
                continue
            try:
                found = self._find(sent)
            except openai.APIError as error:
                self._give_up(error)
            if found is None:
                journal.done(sent.name)
            else:
                log.info("batch %s of an earlier run is found again", found)
                journal.created(sent.name, found)

    def _find(self, sent: HandedIn) -> str | None:
        """Look a batch up on the server by the name that we gave it."""
        for batch in self._endpoint.client.batches.list(limit=100):
            if isinstance(batch.metadata, dict) and batch.metadata.get(_MARK) == sent.name:
                return batch.id
            if isinstance(batch.created_at, int) and batch.created_at < sent.at - _DAY_S:
                return None
        return None

    def _hand_in(
        self, questions: Iterable[Question], journal: BatchJournal, wanted: dict[str, set[str]], refused: dict[str, str]
    ) -> None:
        """Create as few batches as possible of what is neither answered nor under way."""
        under_way = {key for sent in journal.open for key in sent.questions}
        path = self._folder / ".requests.jsonl"
        with RequestFile(path) as file:
            for question in questions:
                key = question.key or self._endpoint.key(question.messages, question.options)
                wanted.setdefault(key, set()).add(question.ledger)
                if key in under_way or key in refused or self._share(key, wanted[key]):
                    continue
                line = request_line(key, self._endpoint.request(question.messages, question.options))
                if len(line) > self._max_bytes:
                    refused[key] = f"a request of {len(line)} bytes is too large for a batch"
                    continue
                if len(file.questions) == self._max_requests or file.num_bytes + len(line) > self._max_bytes:
                    self._create(file, journal)
                file.add(key, question.ledger, line)
                under_way.add(key)
            if file.questions:
                self._create(file, journal)

    def _create(self, file: RequestFile, journal: BatchJournal) -> None:
        """Hand in a file of requests, unless that was done; its name is written down before, its id after."""
        name = journal.name_of(file.questions)
        journal.intend(name, file.questions)
        sent = journal.open[-1]
        try:
            batch_id = self._find(sent) or self._created(sent, file)
        except (openai.APIConnectionError, openai.InternalServerError) as error:
            self._give_up(error)
        except openai.APIStatusError as error:
            journal.done(name)
            if isinstance(error, openai.NotFoundError):
                raise ValueError(
                    f"the endpoint {self._endpoint.client.base_url} has no Batch API; set {self._setting}=false"
                ) from None
            self._give_up(error)
        journal.created(name, batch_id)
        log.info("batch %s: %d questions are handed in", batch_id, len(sent.questions))
        file.clear()

    def _created(self, sent: HandedIn, file: RequestFile) -> str:
        client = self._endpoint.client
        with file.path.open("rb") as requests:
            uploaded = client.files.create(file=(f"{sent.name}.jsonl", requests), purpose="batch")
        # Created without the client's retries: one that it does not see succeed would be paid twice.
        batches, mark = client.with_options(max_retries=0).batches, {_MARK: sent.name}
        try:
            return batches.create(input_file_id=uploaded.id, endpoint=URL, completion_window="24h", metadata=mark).id
        except (openai.APIConnectionError, openai.InternalServerError):
            found = self._find(sent)
            if found is None:
                raise
            return found

    def _wait(self, journal: BatchJournal, refused: dict[str, str]) -> None:
        """Wait for the open batches and take each one's answers as it ends."""
        total = sum(len(sent.questions) for sent in journal.open)
        finished, until = 0, time.monotonic() + self._longest_wait_s
        with tqdm(total=total, desc="batches", unit="answer", disable=not total) as bar:
            while journal.open:
                under_way = 0
                for sent in journal.open:
                    batch = self._look(sent, journal)
                    if batch.status in _ENDED:
                        finished += len(sent.questions)
                        self._collect(sent, batch, journal, refused)
                    else:
                        under_way += _num_ended(batch)
                bar.update(finished + under_way - bar.n)
                if journal.open:
                    self._sleep(until, journal)

    def _sleep(self, until: float, journal: BatchJournal) -> None:
        if time.monotonic() > until:
            ids = ", ".join(str(sent.batch_id) for sent in journal.open)
            raise ValueError(f"the batches {ids} do not end; run again later to go on waiting, none is asked again")
        time.sleep(self._poll_s)

    def _look(self, sent: HandedIn, journal: BatchJournal) -> Batch:
        try:
            return self._endpoint.within(lambda: self._endpoint.client.batches.retrieve(str(sent.batch_id)))
        except openai.NotFoundError:
            raise ValueError(
                f"the endpoint {self._endpoint.client.base_url} knows no batch {sent.batch_id}, which an earlier run "
                f"handed in; is this the same account? If that batch is lost, remove {journal.path}"
            ) from None
        except openai.APIError as error:
            self._give_up(error)

    def _collect(self, sent: HandedIn, batch: Batch, journal: BatchJournal, refused: dict[str, str]) -> None:
        """Store the answers of a batch that ended, however it did."""
        results = Results()
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                read_results(self._content(file_id), sent.questions, self._endpoint.adapt, results)
        for ledger, answers in results.by_ledger(sent.questions).items():
            self._endpoint.ledger(ledger).put_all(answers)
        refused |= results.refused
        journal.done(sent.name)
        log.info(
            "batch %s: %s, %d answers, %d refused", batch.id, batch.status, len(results.answers), len(results.refused)
        )
        if results.num_unreadable:
            log.warning("batch %s: %d lines of its results cannot be used", batch.id, results.num_unreadable)
        self._refuse_ending(batch, results)

    def _refuse_ending(self, batch: Batch, results: Results) -> None:
        """Raise where handing in again would be against the user's will, or of no use."""
        if results.denied:
            key = self._endpoint.settings[1]
            raise ValueError(f"batch {batch.id} was denied: {results.denied}; check {key} and the model's name")
        if batch.status == "cancelled":
            raise ValueError(f"batch {batch.id} was cancelled; run again to hand the rest of it in anew")
        errors = [f"{error.code}: {error.message}" for error in (batch.errors and batch.errors.data) or []]
        said = [one_line(self._endpoint.hide_key(words.encode()).decode()) for words in errors]
        if batch.status == "failed" and not any(_LATER in words for words in said):
            raise ValueError(f"batch {batch.id} failed: {'; '.join(said[:3]) or 'no reason is given'}")

    def _content(self, file_id: str) -> bytes:
        try:
            return self._endpoint.hide_key(self._endpoint.client.files.content(file_id).content)
        except openai.NotFoundError:
            log.warning("the endpoint keeps the results %s no longer; their questions are asked again", file_id)
            return b""
        except openai.APIError as error:
            self._give_up(error)

    def _missing(self, wanted: dict[str, set[str]], refused: dict[str, str]) -> list[str]:
        return [key for key, ledgers in wanted.items() if not self._share(key, ledgers) and key not in refused]

    def _share(self, key: str, ledgers: set[str]) -> bool:
        """Tell whether one of the ledgers has the answer; then all of them have it."""
        found = next((answer for name in ledgers if (answer := self._endpoint.ledger(name).get(key))), None)
        if found is not None and len(ledgers) > 1:
            for name in ledgers:
                self._endpoint.ledger(name).put(key, found)
        return found is not None

    def _give_up(self, error: openai.APIError) -> NoReturn:
        raise self._endpoint.unusable(error) from None


def _num_ended(batch: Batch) -> int:
    """Count the questions of a running batch that are through, as far as the server says."""
    counts = batch.request_counts
    found = (getattr(counts, "completed", 0), getattr(counts, "failed", 0))
    return sum(number for number in found if isinstance(number, int))
