"""Time is counted once where steps run side by side; memory is that of all processes."""

import subprocess
import sys
import time

import psutil
import pytest

from tasks.measure import Measurement, Span, covered_s, measured, memory_mb, step

HOLDS_60_MB = "data = bytearray(60 << 20); print('held', flush=True); input()"


def test_stretches_side_by_side_count_once() -> None:
    spans = [Span("a", 0, 4), Span("a", 1, 2), Span("a", 3, 6), Span("a", 10, 11)]
    assert covered_s(spans) == 7


def test_each_step_has_its_own_seconds() -> None:
    measurement = Measurement(started_s=0, spans=[Span("a", 0, 2), Span("b", 1, 4), Span("a", 5, 6)])
    assert measurement.steps == {"a": 3, "b": 3}


def test_what_no_step_accounts_for_is_orchestration() -> None:
    measurement = Measurement(started_s=time.time() - 10, spans=[Span("a", 0, 8)])
    assert measurement.orchestration_share == pytest.approx(0.2, abs=0.01)


def test_a_step_is_booked_even_when_it_fails() -> None:
    with measured() as measurement, pytest.raises(ValueError, match="no"), step("a"):
        raise ValueError("no")
    assert list(measurement.steps) == ["a"]


def test_outside_a_measurement_a_step_is_free() -> None:
    with step("a"):
        pass


def test_memory_of_child_processes_is_counted() -> None:
    own = psutil.Process().memory_info().rss / (1 << 20)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDS_60_MB], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory_mb() > own + 55
        child.communicate(b"\n")
