"""Work done in threads ahead of its use: pictures decode and files are read while the network computes.

Threads serve, since Pillow and the operating system's reads let others run meanwhile.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item], *, depth: int, threads: int) -> Iterator[Result]:
    """Give `function(item)` for each item in order, at most `depth` of them computed before they are asked for.

    An error of the function is raised where its result would have come. Whoever stops early waits for those begun.
    """
    given = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        begun: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(given, depth))
        try:
            while begun:
                result = begun.popleft().result()
                begun.extend(pool.submit(function, item) for item in islice(given, 1))
                yield result
        finally:
            for future in begun:
                future.cancel()
