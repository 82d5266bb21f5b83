"""Runs a study in batches: each is written as it is done, and what is written is not done again.

Beside the final file `NAME.parquet` lies, while a run is unfinished, a folder `NAME.parts` with one small Parquet file
for each batch of replicates and a manifest. Files appear whole, by renaming: whatever ends a run, only batches under
way are lost.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clusterglm.errors import StudyError
from clusterglm.study.design import Row, Study, generator

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 25  # replicates


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    done, total : int
        Replicates, those of earlier runs included.
    failed : int
        Of those done.
    seconds_left : float
        Estimated from this run; nan at the beginning.
    """

    done: int
    total: int
    failed: int
    seconds_left: float


@dataclass(frozen=True)
class Finished:
    """A run that is complete.

    Parameters
    ----------
    path : Path
        The Parquet file: a row for each row of each replicate, with `cell`, `replicate`, the factors and what the
        replicate returned; failed replicates are a row with `failure`.
    replicates, failed : int
    seconds : float
        Of this run.
    """

    path: Path
    replicates: int
    failed: int
    seconds: float


class Client(Protocol):
    """What is needed of a `distributed.Client`."""

    def get_executor(self) -> Any: ...


def run_study(
    study: Study,
    replicates: int,
    out: str | Path,
    *,
    seed: int = 1,
    workers: int = 1,
    threads: bool = False,
    client: Client | None = None,
    progress: Callable[[Progress], object] | None = None,
    batch: int = _BATCH,
) -> Finished:
    """Run a study, or the rest of one.

    Parameters
    ----------
    study : Study
    replicates : int
        Per cell.
    out : path
        The final file, which must not exist unless it is of the same run.
    seed : int
        Replicate r of cell c draws from child (c, r), so that the numbers depend on nothing else.
    workers : int
        Processes; with `threads`, threads of this one.
    threads : bool
    client : distributed.Client, optional
        Run on its workers instead.
    progress : callable, optional
    batch : int
        Replicates written at a time: what an interruption may lose, for each worker.

    Returns
    -------
    Finished

    Raises
    ------
    StudyError
        When the folder cannot be written, or holds a run of another design, seed or version: nothing is overwritten.
    """
    if replicates < 1 or workers < 1 or batch < 1:
        raise StudyError(
            f"replicates={replicates}, workers={workers}, batch={batch}", "whole numbers, 1 or more", "replicates=1000"
        )
    began = time.perf_counter()
    path = Path(out)
    parts = path.with_suffix(".parts")
    _open(study, replicates, seed, batch, path, parts)
    jobs = [
        (cell, first, min(first + batch, replicates))
        for cell in range(len(study.cells))
        for first in range(0, replicates, batch)
    ]
    open_jobs = [job for job in jobs if not _part(parts, job).is_file()]
    total = len(study.cells) * replicates
    done = total - sum(last - first for _, first, last in open_jobs)
    before, failed = done, 0
    with _executor(workers, threads, client) as executor:
        futures = {executor.submit(run_batch, study, seed, *job): job for job in open_jobs}
        try:
            for future in as_completed(futures):
                job = futures[future]
                rows = future.result()
                _write(rows, _part(parts, job), study)
                done += job[2] - job[1]
                failed += sum(row.get("failure") is not None for row in rows)
                if progress is not None:
                    left = (time.perf_counter() - began) * (total - done) / max(done - before, 1)
                    progress(Progress(done, total, failed, left))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    failed = _gather(parts, jobs, path, study)
    shutil.rmtree(parts)
    return Finished(path, total, failed, time.perf_counter() - began)


def run_batch(study: Study, seed: int, cell: int, first: int, last: int) -> list[Row]:
    """Replicates first..last of one cell; failures as rows of their own."""
    factors = study.cells[cell]
    rows: list[Row] = []
    for replicate in range(first, last):
        head: Row = {"cell": cell, "replicate": replicate, **factors}
        try:
            found = study.replicate(dict(factors), generator(seed, cell, replicate))
        except Exception as error:
            rows.append({**head, "failure": f"{type(error).__name__}: {error}".split("\n")[0]})
            continue
        rows += [{**head, **row} for row in found]
    return rows


def _open(study: Study, replicates: int, seed: int, batch: int, path: Path, parts: Path) -> None:
    manifest = {"design": study.fingerprint(seed), "replicates": replicates, "batch": batch, "seed": seed}
    kept = parts / "manifest.json"
    if path.exists():
        raise StudyError(f"{path} exists", "a file that does not exist yet", "another name, or remove it")
    try:
        if kept.is_file():
            found = json.loads(kept.read_text())
            if found != manifest:
                changed = [name for name in manifest if found.get(name) != manifest[name]]
                raise StudyError(
                    f"{parts} holds an unfinished run with another {', '.join(changed)}",
                    "the same design, seed, version and numbers of replicates, to go on with it",
                    f"another file; or remove {parts}, if that run is not wanted",
                )
            return
        if parts.exists() and any(parts.iterdir()):
            raise StudyError(f"the folder {parts} exists and is no run of a study", "a free name", "another file")
        parts.mkdir(parents=False, exist_ok=True)
        _replace(kept, json.dumps(manifest).encode())
    except OSError as error:
        raise StudyError(
            f"{parts} cannot be written: {error}", "a folder that exists and can be written", "another path"
        ) from error


def _part(parts: Path, job: tuple[int, int, int]) -> Path:
    return parts / f"cell{job[0]:05d}-{job[1]:07d}.parquet"


def _table(rows: list[Row], study: Study) -> pa.Table:
    """Columns in an order that does not depend on the rows: cell, replicate, factors, the others by name."""
    import pyarrow as pa

    first = ["cell", "replicate", *study.factors]
    others = sorted({name for row in rows for name in row} - set(first) | {"failure"})
    columns = {name: [row.get(name) for row in rows] for name in (*first, *others)}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _write(rows: list[Row], path: Path, study: Study) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(_table(rows, study), sink)
    _replace(path, sink.getvalue().to_pybytes())


def _replace(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there."""
    part = path.with_suffix(path.suffix + ".new")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _gather(parts: Path, jobs: list[tuple[int, int, int]], path: Path, study: Study) -> int:
    """One file of all parts, in the order of cells and replicates; the number of failed replicates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(_part(parts, job)) for job in jobs]
    whole = pa.concat_tables(tables, promote_options="permissive")
    first = ["cell", "replicate", *study.factors]
    whole = whole.select([*first, *sorted(set(whole.column_names) - set(first))])
    sink = pa.BufferOutputStream()
    pq.write_table(whole, sink)
    _replace(path, sink.getvalue().to_pybytes())
    return int(len(whole) - whole.column("failure").null_count)


@contextmanager
def _executor(workers: int, threads: bool, client: Client | None) -> Iterator[Any]:
    if client is not None:
        yield client.get_executor()
        return
    pool: Executor
    if threads or workers == 1:
        pool = ThreadPoolExecutor(workers)
    else:
        from multiprocessing import get_context

        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
