"""What a run costs: wall time in all and by step, and the memory of its processes together."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import psutil

log = logging.getLogger(__name__)

_MIB = 1 << 20


@dataclass(frozen=True)
class Span:
    """One stretch of work on a step, in seconds of the wall clock."""

    step: str
    start_s: float
    end_s: float


@dataclass
class Measurement:
    """What was measured of one run; filled while it goes on."""

    started_s: float
    """When this process began: starting Prefect counts as well."""
    spans: list[Span] = field(default_factory=list)
    peak_memory_mb: float = 0.0
    """Largest sum of resident memory over this process and its descendants; shared pages count for each."""

    @property
    def wall_s(self) -> float:
        """Seconds since the process began."""
        return time.time() - self.started_s

    @property
    def steps(self) -> dict[str, float]:
        """Seconds in which each step was at work; stretches side by side count once."""
        names = dict.fromkeys(span.step for span in self.spans)
        return {name: covered_s([span for span in self.spans if span.step == name]) for name in names}

    @property
    def orchestration_share(self) -> float:
        """Share of the wall time in which no step was at work."""
        return max(0.0, 1 - covered_s(self.spans) / self.wall_s)


_current: ContextVar[Measurement | None] = ContextVar("measurement", default=None)


@contextmanager
def measured(*, every_s: float = 0.5) -> Iterator[Measurement]:
    """Measure what happens inside; steps in threads that Prefect starts belong to it too."""
    measurement = Measurement(started_s=psutil.Process().create_time())
    token = _current.set(measurement)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch_memory, args=(measurement, stop, every_s), name="memory", daemon=True)
    watcher.start()
    try:
        yield measurement
    finally:
        stop.set()
        watcher.join()
        _current.reset(token)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Book the time inside on a step, where somebody measures."""
    started = time.time()
    try:
        yield
    finally:
        measurement = _current.get()
        if measurement is not None:
            measurement.spans.append(Span(name, started, time.time()))


def covered_s(spans: list[Span]) -> float:
    """Measure the union of the spans in seconds."""
    total, reached = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start_s):
        total += max(0.0, span.end_s - max(span.start_s, reached))
        reached = max(reached, span.end_s)
    return total


def memory_mb() -> float:
    """Sum the resident memory of this process and its descendants."""
    total = 0
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it ended while we were counting
    return total / _MIB


def _watch_memory(measurement: Measurement, stop: threading.Event, every_s: float) -> None:
    while True:
        measurement.peak_memory_mb = max(measurement.peak_memory_mb, memory_mb())
        if stop.wait(every_s):
            return
