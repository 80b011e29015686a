"""Claim: a judging that is killed at any moment, before a server that fails as servers do, loses and invents nothing.

A local server answers questions about tiny stories and fails by seeded chance in all the ways of
`tests/fault_server.py`: refuses for now, breaks off, hangs, drips, cuts, sends pages, or lets the model itself talk
nonsense. The process that asks gets `SIGKILL` at random moments and is started again on the same folder, until every
question has a judgement. Then the judgements are held against what the server says that it said and was paid for.

A server that knows a question again by its `Idempotency-Key` must be paid once for each. For one that does not, an
answer that was lost on its way, or that a kill kept from the ledger, is paid again: counted, and not to be helped.
"""

import argparse
import functools
import io
import json
import multiprocessing
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from evaluation.judging.panel import open_panel
from evaluation.judging.questions import DIMENSIONS, Judgement, Question
from evaluation.pictures import Pair
from story_model.config import PROJECT_DIR, Settings
from story_model.evaluate_config import JudgeConfig
from story_model.price_config import PriceConfig

sys.path.append(str(PROJECT_DIR / "tests"))
from fault_server import FAULTS, IMPATIENT, FaultServer, quick_retries, serving_faults

CONFIG = JudgeConfig(model="seer", price=PriceConfig(prompt_usd=1.0, completion_usd=10.0), concurrency=4)
USD = 0.0002
"""Of each answer: the server counts 100 tokens and 10."""
_UNDONE = ("error", "not_asked")
_MOST_RUNS_LEFT_ALONE = 60


@dataclass
class Outcome:
    """What the judgements are worth beside the server's own account."""

    questions: int
    faults: float
    knows_keys: bool
    statuses: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    runs_left_alone: int = 0
    """Ended by themselves; each asks what the one before was not answered."""
    requests: int = 0
    met: dict[str, int] = field(default_factory=dict)
    """How often each fault was met."""
    paid: int = 0
    paid_twice: int = 0
    asked_again_unpaid: int = 0
    invented_scores: int = 0
    """Scores that the server did not give to that question."""
    lost_scores: int = 0
    """Valid answers that were paid for and became no score."""
    unaccounted: int = 0
    """Questions without a judgement, or with one that still waits for an answer."""
    bill_differs_usd: float = 0.0
    """From what one answer to each question costs."""
    failed_runs: list[str] = field(default_factory=list)
    seconds: float = 0.0


def questions_of(number: int) -> list[Question]:
    """Make questions about tiny stories; each says its number in its last text."""
    return [
        Question("score", DIMENSIONS[n % 3], f"story-{n}", ("told",), (tuple(_pair(n, index) for index in range(2)),))
        for n in range(number)
    ]


def _pair(number: int, index: int) -> Pair:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 251, number // 251, 80 * index)).save(buffer, format="PNG")
    return Pair(index, f"This is number {number}." if index else "Pip waves.", buffer.getvalue(), None)


def number_in(body: dict[str, Any]) -> str:
    """Find a question's number in what was sent."""
    texts = [part.get("text", "") for part in body["messages"][-1]["content"]]
    found = re.search(r"This is number (\d+)\.", " ".join(texts))
    assert found is not None
    return found[1]


def opinion(body: dict[str, Any], *, seed: int = 0) -> str:
    """Give a score that no one can guess but who asked."""
    score = random.Random(f"{seed} {number_in(body)}").randrange(2, 21) / 2
    return json.dumps({"rationale": f"So it is with number {number_in(body)}.", "score": score})


def worth(text: str | None) -> float | None:
    """Read a score as strictly as agreed, in other words than the project's."""
    found = re.fullmatch(r'\{"rationale": "[^"]+", "score": (\d+(?:\.[05])?)\}', text or "")
    return float(found[1]) if found and 1 <= float(found[1]) <= 10 else None


def ask(url: str, folder: Path, number: int) -> None:
    """Judge everything, and write the judgements down at the very end."""
    tqdm.set_lock(threading.RLock())  # the usual one is a semaphore of the system's, which a kill would leave behind
    settings = Settings(_env_file=None, api_base_url=url, api_key="a-key-of-some-length")  # type: ignore[call-arg,arg-type]
    with quick_retries():
        panel = open_panel(CONFIG, settings, folder / "judge", patience=IMPATIENT)
        assert not isinstance(panel, str), panel
        rows = panel.judge(questions_of(number)).judgements
    done = folder / ".judgements.json"
    done.write_text(json.dumps([row.model_dump(mode="json") for row in rows]))
    done.rename(folder / "judgements.json")


def measure(questions: int, *, kills: int, faults: float, knows_keys: bool, folder: Path, seed: int = 0) -> Outcome:
    """Ask, kill, start again until nothing is left, and hold the judgements against the server's account."""
    started = time.perf_counter()
    outcome = Outcome(questions, faults, knows_keys)
    words = functools.partial(opinion, seed=seed)
    ways: dict[str, Any] = {"name": number_in, "probability": faults, "faults": FAULTS, "seed": seed}
    with serving_faults(words, knows_keys=knows_keys, hang_s=5.0, **ways) as server:
        rows = _until_done(server, folder, questions, kills, random.Random(seed), outcome)
        outcome.seconds = round(time.perf_counter() - started, 1)
        _account(rows, server, outcome)
    return outcome


def _until_done(
    server: FaultServer, folder: Path, number: int, kills: int, rng: random.Random, outcome: Outcome
) -> list[Judgement]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evaluation.judging.panel"])
    found = folder / "judgements.json"
    rows: list[Judgement] = []
    while len(outcome.failed_runs) < 3 and outcome.runs_left_alone < _MOST_RUNS_LEFT_ALONE:
        found.unlink(missing_ok=True)
        process = context.Process(target=ask, args=(server.url, folder, number))
        process.start()
        if outcome.kills < kills and _killed(process, server, rng.randint(1, max(2, 2 * number // kills)), rng):
            outcome.kills += 1
            continue
        process.join()
        outcome.runs_left_alone += 1
        if process.exitcode != 0:
            outcome.failed_runs.append(f"exit code {process.exitcode}")
            continue
        rows = [Judgement.model_validate(row) for row in json.loads(found.read_text())]
        if not any(row.status in _UNDONE for row in rows):
            break
    return rows


def _killed(process: BaseProcess, server: FaultServer, requests: int, rng: random.Random) -> bool:
    """Kill a process some requests and some milliseconds from now; tell whether it was still there."""
    until = server.num_requests + requests
    while server.num_requests < until:
        process.join(0.001)
        if process.exitcode is not None:
            return False
    process.join(rng.random() * 0.03)
    process.kill()
    process.join()
    return process.exitcode == -9


def _account(rows: list[Judgement], server: FaultServer, outcome: Outcome) -> None:
    said = {name: {worth(text) for text in texts} for name, texts in server.said.items()}
    own = {row.story_id: row for row in rows}
    scores = [(row.score, said.get(name.removeprefix("story-"), set())) for name, row in own.items()]
    outcome.statuses = dict(Counter(row.status for row in rows))
    outcome.requests = server.num_requests
    outcome.met = dict(sorted(server.met.items()))
    outcome.paid = sum(server.paid.values())
    outcome.paid_twice = server.paid_twice
    outcome.asked_again_unpaid = server.num_repeated
    outcome.invented_scores = sum(score is not None and score not in truth for score, truth in scores)
    outcome.lost_scores = sum(score is None and bool(truth) and None not in truth for score, truth in scores)
    outcome.unaccounted = outcome.questions - sum(row.status not in _UNDONE for row in own.values())
    outcome.bill_differs_usd = round(sum(row.usd for row in rows) - USD * outcome.questions, 9)


def main() -> None:
    """Ask two servers, one that knows the idempotency key and one that does not, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--faults", type=float, default=0.3, help="share of requests that go wrong")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    results = {}
    for name, knows_keys in (("knows the idempotency key", True), ("does not", False)):
        with tempfile.TemporaryDirectory(prefix="judge-faults-") as folder:
            ways = {"kills": args.kills, "faults": args.faults, "seed": args.seed}
            outcome = measure(args.questions, knows_keys=knows_keys, folder=Path(folder), **ways)
        results[name] = asdict(outcome)
        print(f"a server that {name}:", json.dumps(results[name], indent=1), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
