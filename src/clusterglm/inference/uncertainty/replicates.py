"""Many replicates of one computation: the same numbers for the same seed in any number of threads, on any machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clusterglm.errors import ClusterGLMError, OptionError
from clusterglm.model.arguments import MOST, is_whole, seed_sequence, shown
from clusterglm.model.arrays import Array
from clusterglm.model.workers import Progress, reporting, worker_count


class ReplicateError(Exception):
    """A replicate that gives no number; the text says why."""


@dataclass(frozen=True)
class Replicates:
    """What came of them.

    Parameters
    ----------
    values : ndarray, shape (successful,) or (successful, k)
        In the order of the seeds.
    failures : tuple of (str, int)
        Reasons, the most frequent first, with counts.
    wanted : int
    seed : int or SeedSequence
        Gives the same values again.
    interrupted : bool
        Stopped by the user before all were done.
    """

    values: Array
    failures: tuple[tuple[str, int], ...]
    wanted: int
    seed: int | np.random.SeedSequence
    interrupted: bool


def run_replicates(
    task: Callable[[np.random.Generator], float | Array],
    n: int,
    seed: int | np.random.SeedSequence | None = None,
    n_jobs: int = 1,
    progress: Progress = None,
    engine: Any = None,
) -> Replicates:
    """Run `task` with `n` independent random generators.

    Parameters
    ----------
    task : callable
        Generator -> number, or array of always the same shape; may raise `ReplicateError` or a `ClusterGLMError`, which
        count as failures. It must be safe in threads, and ought to spend its time outside the interpreter's lock.
    n : int
        At least 1.
    seed : int or SeedSequence, optional
        Replicate k draws from child k, in whatever thread it runs. None takes fresh entropy and reports it.
    n_jobs : int
        Threads; -1 for as many as there are processors.
    progress : bool or callable, optional
    engine : Dask, optional
        Where to run them instead of here, with the same numbers; those of a lost worker are run again.

    Returns
    -------
    Replicates
        After Ctrl-C, those that were done.

    Raises
    ------
    OptionError
        When `n` or `n_jobs` is out of range, `seed` of another kind, or `engine` without workers to run them.
    """
    if engine is not None and not hasattr(engine, "results"):
        raise OptionError(
            f"engine={engine!r} for replicates", "an engine with workers, or None", "engine=cg.engine.Dask(client)"
        )
    workers = worker_count(n_jobs)
    if not is_whole(n) or not 1 <= n <= MOST:
        raise OptionError(
            f"{shown(n)} replicates",
            f"a whole number, 1 or more, at most {MOST:,}",
            "n_boot=2000 (n_sim= in tests that fit once)",
        )
    root = seed_sequence(seed)
    outcome = partial(_outcome, task, root.entropy, root.spawn_key)
    values: dict[int, float | Array] = {}
    reasons: dict[int, str] = {}

    def keep(k: int, found: tuple[str, float | Array]) -> None:
        if found[0]:
            reasons[k] = found[0]
        else:
            values[k] = found[1]

    interrupted = False
    with reporting(progress, int(n), "replicates") as report:
        try:
            if engine is not None:
                with closing(engine.results(outcome, int(n))) as arriving:
                    for done, (k, found) in enumerate(arriving, start=1):
                        keep(k, found)
                        report(done)
            elif workers == 1:
                for k in range(int(n)):
                    keep(k, outcome(k))
                    report(k + 1)
            else:
                _in_threads(lambda k: keep(k, outcome(k)), int(n), workers, report)
        except KeyboardInterrupt:
            interrupted = True
    ordered = np.array([values[k] for k in sorted(values)], dtype=np.float64)
    counts = Counter(reasons[k] for k in sorted(reasons)).most_common()
    given = seed if isinstance(seed, np.random.SeedSequence) else int(str(root.entropy))
    return Replicates(ordered, tuple(counts), int(n), given, interrupted)


def number_of(rng: np.random.Generator) -> int:
    """Which replicate a generator belongs to, for tasks that go through a list instead of drawing."""
    seeds: Any = rng.bit_generator.seed_seq
    return int(seeds.spawn_key[-1])


def _outcome(
    task: Callable[[np.random.Generator], float | Array], entropy: Any, spawn_key: tuple[int, ...], k: int
) -> tuple[str, float | Array]:
    """Why replicate `k` failed, or nothing and its value; the generator is that of the seed's child `k`."""
    child = np.random.SeedSequence(entropy, spawn_key=(*spawn_key, k))
    try:
        return "", task(np.random.default_rng(child))
    except ReplicateError as failure:
        return str(failure), np.nan
    except (ClusterGLMError, np.linalg.LinAlgError) as error:
        return error.got if isinstance(error, ClusterGLMError) else str(error), np.nan


def _in_threads(one: Callable[[int], None], n: int, workers: int, report: Callable[[int], object]) -> None:
    executor = ThreadPoolExecutor(workers)
    waiting: set[Future[None]] = set()
    done, ahead = 0, iter(range(n))
    try:
        while True:
            for k in ahead:
                waiting.add(executor.submit(one, k))
                if len(waiting) >= 4 * workers:
                    break
            if not waiting:
                break
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            done += len(finished)
            report(done)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
