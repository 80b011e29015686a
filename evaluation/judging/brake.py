"""When nothing more is asked: the budget is spent, the endpoint failed too often, or its answers are worth nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_DOWN_IN_A_ROW = 3
_REFUSED_IN_A_ROW = 12
"""Refused questions cost nothing and come fast, and those of one story follow one another."""
_CUT_IN_A_ROW = 12
"""Cut answers are paid and hold no score; a model that thinks for longer than it may answer gives no others."""


class Budget:
    """What this evaluation's answers may cost, over all judges; answers out of a ledger are free."""

    def __init__(self, limit_usd: float | None) -> None:
        """Take the limit; none: there is none."""
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self._lock = threading.Lock()

    @property
    def left_usd(self) -> float | None:
        """What may still be spent; none where there is no limit."""
        return None if self.limit_usd is None else max(0.0, self.limit_usd - self.spent_usd)

    def spend(self, usd: float) -> None:
        """Count what an answer cost."""
        with self._lock:
            self.spent_usd += usd

    @property
    def reason(self) -> str:
        """Why nothing more may be spent; empty as long as it may."""
        if self.limit_usd is None or self.spent_usd < self.limit_usd:
            return ""
        return f"the budget of {self.limit_usd:g} USD is spent (evaluate.judge.budget_usd)"


class Brake:
    """Stops one judge's questions; threads share it."""

    def __init__(self, budget: Budget) -> None:
        """Take the budget that this judge shares with the others."""
        self._budget = budget
        self._lock = threading.Lock()
        self._down = 0
        self._refused = 0
        self._cut = 0
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why nothing more is asked; empty as long as there is none."""
        return self._reason or self._budget.reason

    def answered(self) -> None:
        """An answer came, whatever it says."""
        with self._lock:
            self._down = self._refused = self._cut = 0

    def cut(self) -> None:
        """An answer came and was cut off at its longest."""
        with self._lock:
            self._down = self._refused = 0
            self._cut += 1
            if self._cut >= _CUT_IN_A_ROW:
                self._stop(
                    f"{self._cut} answers in a row were cut off; set evaluate.judge.max_tokens higher (thinking counts)"
                )

    def down(self, reason: str) -> None:
        """The endpoint did not answer."""
        with self._lock:
            self._down += 1
            if self._down >= _DOWN_IN_A_ROW:
                self._stop(f"the endpoint failed {self._down} times in a row: {reason}")

    def refused(self, reason: str) -> None:
        """The endpoint would not answer this one question."""
        with self._lock:
            self._down = 0
            self._refused += 1
            if self._refused >= _REFUSED_IN_A_ROW:
                self._stop(f"the endpoint refused {self._refused} questions in a row: {reason}")

    def stop(self, reason: str) -> None:
        """Asking on is of no use."""
        with self._lock:
            self._stop(reason)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop where what is done meanwhile breaks: an answer that cannot be kept must not be followed by others."""
        try:
            yield
        except BaseException:
            self.stop("this evaluation broke off")
            raise

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason
