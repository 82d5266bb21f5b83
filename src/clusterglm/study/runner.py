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
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clusterglm.data.files import write_bytes
from clusterglm.engine.tasks import results
from clusterglm.errors import EngineError, StorageError, StudyError
from clusterglm.study.design import Row, Study, generator, reason

if TYPE_CHECKING:
    import pyarrow as pa
    from distributed import Client

_BATCH = 25  # replicates
_KEY = b"clusterglm"  # of the metadata in a Parquet file


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    done, total : int
        Replicates, those of earlier runs included.
    failed : int
        Of those done in this run: replicates in which something failed.
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
        replicate returned; what failed has its reason in `failure`.
    replicates, failed : int
        All, and those in which something failed.
    seconds : float
        Of this run.
    cpu_seconds : float
        Of all replicates, those of interrupted runs included.
    """

    path: Path
    replicates: int
    failed: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Batch:
    """Some replicates of one cell.

    Parameters
    ----------
    rows : list of dict
    failed : int
        Replicates in which something failed.
    cpu_seconds : float
    """

    rows: list[Row]
    failed: int
    cpu_seconds: float


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
        Run on its workers instead; batches of a lost one are run again.
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
    run = partial(_run_job, study, seed, open_jobs)
    arriving = (
        _here(run, len(open_jobs), workers, threads) if client is None else results(client, run, len(open_jobs), 1)
    )
    try:
        with closing(arriving):
            for k, found in arriving:
                job = open_jobs[k]
                _write(found, _part(parts, job), study)
                done += job[2] - job[1]
                failed += found.failed
                if progress is not None:
                    left = (time.perf_counter() - began) * (total - done) / max(done - before, 1)
                    progress(Progress(done, total, failed, left))
    except (BrokenExecutor, CancelledError, EngineError) as error:
        raise StudyError(
            f"a worker died, or the scheduler left ({type(error).__name__})",
            "workers that live and have memory enough",
            "the same command again: batches that were done are kept",
        ) from error
    failed, cpu_seconds = _gather(parts, jobs, path, study, describe(study, replicates, seed))
    seconds = time.perf_counter() - began
    how = {"cpu_seconds": round(cpu_seconds, 3), "seconds_of_last_run": round(seconds, 3), "batch": batch}
    write_bytes(record_of(path), json.dumps({**how, **_where()}, indent=2).encode())
    shutil.rmtree(parts)
    return Finished(path, total, failed, seconds, cpu_seconds)


def describe(study: Study, replicates: int, seed: int) -> dict[str, Any]:
    """What the numbers of a run depend on: design, seed and versions."""
    from importlib.metadata import version
    from platform import python_version

    packages = {name: version(name) for name in ("clusterglm", "numpy", "scipy", "pyarrow")}
    return {
        "study": study.name,
        "study_version": study.version,
        "replicates": replicates,
        "seed": seed,
        "factors": {name: list(levels) for name, levels in study.factors.items()},
        "versions": {"python": python_version(), **packages},
    }


def description(path: Path) -> dict[str, Any]:
    """What `describe` wrote into a finished file, and under "run" what the file beside it says, if there is one.

    Raises
    ------
    StudyError
        When the file cannot be read or is not of a study.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kept = (pq.read_schema(path).metadata or {}).get(_KEY)
    except (OSError, pa.ArrowInvalid) as error:
        raise StudyError(f"{path} cannot be read: {error}", "the Parquet file of a study", "its path") from error
    if kept is None:
        raise StudyError(f"{path} is no file of a study", "the Parquet file of a study", "its path")
    found: dict[str, Any] = json.loads(kept)
    beside = record_of(path)
    return {**found, "run": json.loads(beside.read_text()) if beside.is_file() else {}}


def unfinished(path: Path) -> pa.Table | None:
    """What batches of an unfinished run have written, in the order of cells and replicates; None for nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(path.with_suffix(".parts").glob("cell*.parquet"))
    tables = [pq.read_table(file).replace_schema_metadata() for file in files]
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def record_of(path: Path) -> Path:
    """The small file beside a finished one: when, where and how long."""
    return path.with_suffix(".json")


def _where() -> dict[str, Any]:
    import platform

    return {
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def run_batch(study: Study, seed: int, cell: int, first: int, last: int) -> Batch:
    """Replicates first..last of one cell; failures as rows of their own."""
    began = time.thread_time()
    factors = study.cells[cell]
    rows: list[Row] = []
    failed = 0
    for replicate in range(first, last):
        head: Row = {"cell": cell, "replicate": replicate, **factors}
        try:
            with np.errstate(all="ignore"):  # what comes of it shows in the numbers, or as a failure
                found = study.replicate(dict(factors), generator(seed, cell, replicate))
        except Exception as error:
            found = [{"failure": reason(error)}]
        taken = sorted({name for row in found for name in row} & head.keys())
        if taken:
            raise StudyError(
                f"results named {', '.join(taken)}, as factors are", "other names", f"{taken[0]}_hat, for instance"
            )
        failed += any(row.get("failure") is not None for row in found)
        rows += [{**head, **row} for row in found]
    return Batch(rows, failed, time.thread_time() - began)


def _open(study: Study, replicates: int, seed: int, batch: int, path: Path, parts: Path) -> None:
    manifest = {"design": study.fingerprint(seed), "replicates": replicates, "batch": batch, "seed": seed}
    kept = parts / "manifest.json"
    for taken in (path, record_of(path)):
        if taken.exists():
            raise StudyError(f"{taken} exists", "a file that does not exist yet", "another name, or remove it")
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
        write_bytes(kept, json.dumps(manifest).encode())
    except (OSError, StorageError) as error:
        raise StudyError(
            f"{parts} cannot be written: {getattr(error, 'got', error)}",
            "a folder that exists and can be written",
            "another path",
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


def _write(batch: Batch, path: Path, study: Study) -> None:
    about = {"failed": batch.failed, "cpu_seconds": batch.cpu_seconds}
    write_bytes(path, _parquet(_table(batch.rows, study), about))


def _parquet(table: pa.Table, about: dict[str, Any]) -> bytes:
    """A file's content: numbers split into their bytes, of which those that say little compress well."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    rest = [name for name in table.column_names if name not in numbers]
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata({_KEY: json.dumps(about).encode()})
    pq.write_table(table, sink, compression="zstd", use_dictionary=rest, use_byte_stream_split=numbers)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _gather(
    parts: Path, jobs: list[tuple[int, int, int]], path: Path, study: Study, about: dict[str, Any]
) -> tuple[int, float]:
    """One file of all parts, in the order of cells and replicates; failed replicates, and processor time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(_part(parts, job)) for job in jobs]
    notes = [json.loads(table.schema.metadata[_KEY]) for table in tables]
    whole = pa.concat_tables([table.replace_schema_metadata() for table in tables], promote_options="permissive")
    first = ["cell", "replicate", *study.factors]
    whole = whole.select([*first, *sorted(set(whole.column_names) - set(first))])
    write_bytes(path, _parquet(whole, about))
    return sum(note["failed"] for note in notes), sum(note["cpu_seconds"] for note in notes)


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone: one that was killed could not tell it to."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait
    from threading import Thread

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _run_job(study: Study, seed: int, jobs: Sequence[tuple[int, int, int]], k: int) -> Batch:
    return run_batch(study, seed, *jobs[k])


def _here(run: Callable[[int], Batch], n: int, workers: int, threads: bool) -> Generator[tuple[int, Batch]]:
    """Numbers of jobs and what came of them, as they are done by processes or threads of this machine."""
    pool: Executor
    if threads or workers == 1:
        pool = ThreadPoolExecutor(workers)
    else:
        from multiprocessing import get_context

        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        futures = {pool.submit(run, k): k for k in range(n)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
