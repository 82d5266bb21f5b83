"""Independent tasks on the workers of a Dask cluster: each is done once, whichever workers are lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from clusterglm.errors import EngineError

T = TypeVar("T")

PATIENCE = 2.0  # seconds after which a silent worker is looked for
_SHARES = 8  # messages to a thread of the workers, so that a slow one does not keep the others waiting
_MOST_TASKS = 50  # tasks in a message: what a lost worker may cost
_TRIES = 5  # lost workers that tasks may have been on before they are held to be the reason


def workers_of(client: Any) -> dict[str, int]:
    """Addresses of the workers, in order, and their threads.

    Raises
    ------
    EngineError
        When there is none.
    """
    found = {name: int(about["nthreads"]) for name, about in client.scheduler_info(n_workers=-1)["workers"].items()}
    if not found:
        raise EngineError("a Dask cluster without workers", "one worker at least", "start one, and wait for it")
    return dict(sorted(found.items()))


def results(client: Any, work: Callable[[int], T], n: int, share: int | None = None) -> Generator[tuple[int, T]]:
    """`k` and `work(k)` for k = 0, 1, ..., n - 1, in the order in which they are done.

    Parameters
    ----------
    client : distributed.Client
    work : callable
        Goes to each worker once, by pickle or cloudpickle. What it raises is raised here.
    n : int
    share : int, optional
        Tasks that a worker is given at a time.

    Raises
    ------
    EngineError
        When no worker is left, or workers die of the tasks.
    """
    if share is None:
        share = max(1, min(_MOST_TASKS, n // (_SHARES * sum(workers_of(client).values()))))
    open_shares = [range(first, min(first + share, n)) for first in range(0, n, share)]
    tries: Counter[range] = Counter()
    while open_shares:
        lost = []
        for numbers, found in _round(client, work, open_shares):
            if found is not None:
                yield from zip(numbers, found, strict=True)
                continue
            lost.append(numbers)
            tries[numbers] += 1
            if tries[numbers] > _TRIES:
                raise EngineError(
                    f"{_TRIES} workers that were lost, one after the other, with the same tasks",
                    "workers that live and have memory enough",
                    "fewer threads or more memory for each worker; dask's own log says how they ended",
                )
        open_shares = lost


def _share(work: Callable[[int], T], numbers: range) -> list[T]:
    return [work(k) for k in numbers]


def _round(client: Any, work: Callable[[int], T], shares: Sequence[range]) -> Generator[tuple[range, list[T] | None]]:
    """Every share and its results; None where it was lost, and has to be given out again."""
    held = client.scatter([work], broadcast=True, hash=False)[0]
    done: SimpleQueue[Any] = SimpleQueue()
    waiting = {}
    try:
        for numbers in shares:
            future = client.submit(_share, held, numbers, pure=False)
            waiting[future.key] = future, numbers
            future.add_done_callback(done.put)
        while waiting:
            try:
                future = done.get(timeout=PATIENCE)
            except Empty:
                workers_of(client)  # someone must be there to go on
                continue
            _, numbers = waiting.pop(future.key)
            yield numbers, _outcome(future)
    finally:  # also when the caller has had enough
        client.cancel([future for future, _ in waiting.values()])


def _outcome(future: Any) -> list[Any] | None:
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        found: list[Any] = future.result()
    except (CancelledError, KilledWorker, CommClosedError):
        return None
    return found
