"""What must not reach the weights: losses that are no numbers, and losses far above what they lately were."""

import json
import math
import statistics
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from story_model.train_config import GuardConfig

_SMALLEST = 1e-30
_NORMAL = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
_LEAST_SPREAD = 0.25
"""Of log losses: a loss that hardly moves is allowed to."""

SKIPPED = "skipped_steps.jsonl"
"""In the part's folder: one line for each micro-batch that was left out."""


class Guard:
    """Judges losses in order, and counts what was left out; the same in every process, for all see the same sums."""

    def __init__(self, config: GuardConfig, *, name: str, out_dir: Path | None) -> None:
        """Take the limits; `out_dir` none: another process keeps the record."""
        self._config = config
        self._name = name
        self._record = None if out_dir is None else out_dir / SKIPPED
        self._recent: deque[float] = deque(maxlen=config.spike_window)
        self._bad_in_a_row = 0
        self.skipped = 0

    @property
    def recent(self) -> list[float]:
        """Logarithms of the last losses, which the next ones are judged by."""
        return list(self._recent)

    def go_on(self, *, skipped: int, recent: Sequence[float]) -> None:
        """Judge as a guard that has seen this much."""
        self.skipped = skipped
        self._recent.clear()
        self._recent.extend(recent)

    def complaint(self, loss: float) -> str | None:
        """Say what is wrong with a loss; nothing, and it is remembered, where it is right."""
        if not math.isfinite(loss):
            return f"loss {loss}"
        height = math.log(max(loss, _SMALLEST))
        if len(self._recent) == self._recent.maxlen:
            usual = statistics.median(self._recent)
            spread = _NORMAL * statistics.median(abs(recent - usual) for recent in self._recent)
            if height > usual + self._config.spike_deviations * max(spread, _LEAST_SPREAD):
                return f"loss {loss:.4g}, {math.exp(height - usual):.0f} times its usual {math.exp(usual):.4g}"
        self._recent.append(height)
        return None

    def leave_out(self, step: int, rows: Sequence[int], why: str) -> None:
        """Write down which samples were left out of a step (0 is the first), and why."""
        self.skipped += 1
        if self._record is not None:
            line = json.dumps({"step": step + 1, "rows": list(rows), "why": why})
            with self._record.open("a") as file:
                file.write(line + "\n")

    def close_step(self, *, moved: bool, why: str = "") -> None:
        """Count steps that moved nothing.

        Raises:
            ValueError: there have been too many in a row.
        """
        self._bad_in_a_row = 0 if moved else self._bad_in_a_row + 1
        if self._bad_in_a_row >= self._config.max_bad_steps:
            raise ValueError(
                f"{self._name}: {self._bad_in_a_row} steps in a row would have spoiled the weights ({why}); their "
                f"samples are in {SKIPPED}; lower optimizer.learning_rate or mend these samples, and run again"
            )
