"""A fit of Parquet files larger than the memory it may use, beside one scan of the files by DuckDB.

python benchmarks/larger_than_memory.py [--all] [--memory 256] [--nodes 8] [--threads 2]

Files are made chunk by chunk, five rows to a cluster, the rows of a cluster scattered over all of them.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import record
import simulate

import clusterglm as cg

FILES = 5  # as many as a cluster has rows


def make(folder: Path, rows: int) -> None:
    """Each file holds one row of every cluster, in an order of its own."""
    clusters, chunk = rows // FILES, 500_000
    intercepts = np.random.default_rng(0).normal(size=clusters).astype(np.float32)
    for k in range(FILES):
        rng = np.random.default_rng([1, k])
        order = rng.permutation(clusters)
        with pq.ParquetWriter(folder / f"part-{k}.parquet", _schema()) as writer:
            for first in range(0, clusters, chunk):
                ids = order[first : first + chunk]
                X = rng.normal(size=(len(ids), len(simulate.SLOPES)))
                eta = -0.3 + X @ simulate.SLOPES + intercepts[ids]
                y = (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64)
                columns = [*X.T, y, ids.astype(np.int64)]
                writer.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=_schema()))


def _schema() -> pa.Schema:
    names = [f"x{k + 1}" for k in range(len(simulate.SLOPES))]
    return pa.schema([*((name, pa.float64()) for name in names), ("y", pa.int64()), ("id", pa.int64())])


def clocks() -> np.ndarray:
    """Seconds of wall clock, and of all cores: the second does not mind what else the machine is doing."""
    return np.array([time.perf_counter(), time.process_time()])


def scan(pattern: str, threads: int) -> np.ndarray:
    """Seconds in which DuckDB sums every column once, by both clocks."""
    connection = duckdb.connect(config={"threads": threads})
    sums = ", ".join(f"sum({field.name})" for field in _schema())
    times = []
    for _ in range(3):
        begin = clocks()
        connection.execute(f"SELECT {sums} FROM '{pattern}'").fetchall()
        times.append(clocks() - begin)
    connection.close()
    return np.min(times, axis=0)


def fit_of_files(rows: int, options: argparse.Namespace) -> Iterable[record.Figure]:
    """One fit; its peak memory is this process's, so larger parts come after smaller ones."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, rows)
        pattern = f"{folder}/*.parquet"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cg.random_effects(simulate.FORMULA, simulate.logit(200), cluster="id")  # what the first fit imports
        begin = clocks()
        marks: list[np.ndarray] = []
        engine = cg.engine.Stream(memory=options.memory * 2**20, progress=lambda _: marks.append(clocks() - begin))
        control = cg.Control(n_threads=options.threads)
        fit = cg.random_effects(
            simulate.FORMULA, pattern, cluster="id", quadrature=options.nodes, control=control, engine=engine
        )
        wall, cpu = clocks() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        one = scan(pattern, options.threads)
    evaluations = fit.optimization.evaluations + fit.pooled.optimization.evaluations
    words = f"{fit.n_obs:,} rows of {fit.n_clusters:,} scattered clusters"
    yield record.Figure("fit", f"{words}: fit", wall, "s", note=f"{evaluations} evaluations, sigma {fit.sigma:.4f}")
    yield record.Figure("scan", "one scan of the files by DuckDB", one[0], "s", against="DuckDB")
    yield record.Figure(
        "scans",
        "fit / one scan for each evaluation, processor time",
        cpu / evaluations / one[1],
        "times",
        against="DuckDB",
        at_most=6.0,
    )
    once = marks[-1][1]  # rows of a cluster brought together, and written as blocks
    words = "the same without what is done once: rows brought together, and written as blocks"
    yield record.Figure("scans alone", words, (cpu - once) / evaluations / one[1], "times", against="DuckDB")
    yield record.Figure(
        "memory",
        "peak memory, Python and its packages included",
        peak,
        "GiB",
        at_most=1.5,
        note=f"{before:.2f} GiB before the fit",
    )


if __name__ == "__main__":
    record.run(
        "larger_than_memory",
        __doc__,
        {"2 million rows": partial(fit_of_files, 2_000_000)},
        long={"20 million rows": partial(fit_of_files, 20_000_000)},
        packages=("duckdb", "pyarrow"),
        memory=256,
        nodes=8,
        threads=2,
    )
