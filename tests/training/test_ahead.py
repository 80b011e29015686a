"""Work ahead of its use keeps its order, its bound and its errors."""

import threading
import time

import pytest

from training.ahead import ahead


def test_results_come_in_order_whatever_takes_longest():
    def slow_first(item: int) -> int:
        time.sleep(0.02 * (item == 0))
        return item * 2

    assert list(ahead(slow_first, range(8), depth=4, threads=3)) == [item * 2 for item in range(8)]


def test_no_more_than_depth_is_begun_ahead():
    begun: list[int] = []
    results = ahead(lambda item: begun.append(item) or item, iter(range(100)), depth=3, threads=2)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 4


def test_work_runs_in_threads_of_its_own():
    assert set(ahead(lambda _: threading.current_thread().name, range(4), depth=2, threads=1)) == {"ahead_0"}


def test_an_error_comes_where_its_result_would_have():
    def fail(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = ahead(fail, range(5), depth=4, threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
