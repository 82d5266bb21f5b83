"""Work on many things by a few threads, results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def a_few_at_a_time(work: Callable[[int, U], T], items: Iterator[U], threads: int) -> Iterator[T]:
    """Results of `work(position, item)` in order, as many at a time as there are threads."""
    with ThreadPoolExecutor(threads, thread_name_prefix="clusterglm-block") as pool:
        waiting: deque[Future[T]] = deque()
        for k, item in enumerate(items):
            waiting.append(pool.submit(work, k, item))
            del item
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
