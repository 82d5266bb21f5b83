"""A fit of Parquet files larger than the memory it may use, beside one scan of the files by DuckDB.

python benchmarks/larger_than_memory.py [--all] [--memory 256] [--nodes 8] [--threads 2]

Files are made chunk by chunk, five rows to a cluster: the rows of a cluster scattered over all files, or one after the
other. A scan sums every column that the fit uses, and so reads them all. Processor time of the whole fit, bringing rows
together and writing blocks included, is divided by that of a scan and by the number of evaluations of the likelihood;
passes over the data for other ends, such as robust standard errors, count as time, not as evaluations.
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
TURNS = 3  # of fit and scan, where there are fewer rows than
MANY = 10_000_000


def make(folder: Path, rows: int, order: str) -> None:
    """Each file holds one row of every cluster in an order of its own, or all rows of a range of clusters."""
    clusters, chunk = rows // FILES, 500_000
    intercepts = np.random.default_rng(0).normal(size=clusters).astype(np.float32)
    for k in range(FILES):
        rng = np.random.default_rng([1, k])
        if order == "scattered":
            every = rng.permutation(clusters)
        else:
            every = np.repeat(np.arange(k * clusters // FILES, (k + 1) * clusters // FILES), FILES)
        with pq.ParquetWriter(folder / f"part-{k}.parquet", _schema()) as writer:
            for first in range(0, len(every), chunk):
                ids = every[first : first + chunk]
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
    """Seconds in which DuckDB sums every column once, by both clocks; the least of three times."""
    connection = duckdb.connect(config={"threads": threads})
    sums = ", ".join(f"sum({field.name})" for field in _schema())
    times = []
    for _ in range(3):
        begin = clocks()
        connection.execute(f"SELECT {sums} FROM '{pattern}'").fetchall()
        times.append(clocks() - begin)
    connection.close()
    return np.min(times, axis=0)


def fit(pattern: str, options: argparse.Namespace) -> tuple[cg.RandomEffectsResult, np.ndarray, float]:
    """A fit, its seconds by both clocks, and the processor time until its blocks were there."""
    begin = clocks()
    marks: list[np.ndarray] = []
    engine = cg.engine.Stream(memory=options.memory * 2**20, progress=lambda _: marks.append(clocks() - begin))
    control = cg.Control(n_threads=options.threads)
    found = cg.random_effects(
        simulate.FORMULA, pattern, cluster="id", quadrature=options.nodes, control=control, engine=engine
    )
    return found, clocks() - begin, marks[-1][1]


def fit_of_files(rows: int, order: str, options: argparse.Namespace) -> Iterable[record.Figure]:
    """Fits and scans in turn; the peak memory is this process's, so larger parts come after smaller ones."""
    seconds, scans, ratios, alone = [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, rows, order)
        pattern = f"{folder}/*.parquet"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        simulate.logit(200).to_parquet(folder / "few")
        fit(str(folder / "few"), options)  # what the first fit imports
        for _ in range(TURNS if rows < MANY else 1):
            found, (wall, cpu), once = fit(pattern, options)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            one = scan(pattern, options.threads)
            evaluations = found.optimization.evaluations + found.pooled.optimization.evaluations
            seconds.append(wall)
            scans.append(one[0])
            ratios.append(cpu / evaluations / one[1])
            alone.append((cpu - once) / evaluations / one[1])
    words = f"{found.n_obs:,} rows of {found.n_clusters:,} {order} clusters"
    note = f"{evaluations} evaluations, sigma {found.sigma:.4f}"
    yield record.measured("fit", f"{words}: fit", seconds, "s", note=note)
    yield record.measured("scan", "one scan of the files by DuckDB", scans, "s", against="DuckDB")
    words = "fit / one scan for each evaluation, processor time"
    yield record.measured("scans", words, ratios, "times", against="DuckDB", at_most=6.0)
    words = "the same without what is done once: blocks of whole clusters"
    yield record.measured("scans alone", words, alone, "times", against="DuckDB")
    words = "peak memory, Python and its packages included"
    yield record.Figure("memory", words, peak, "GiB", at_most=1.5, note=f"{before:.2f} GiB before the fit")


if __name__ == "__main__":
    record.run(
        "larger_than_memory",
        __doc__,
        {f"2 million rows, {order}": partial(fit_of_files, 2_000_000, order) for order in ("scattered", "sorted")},
        long={
            f"20 million rows, {order}": partial(fit_of_files, 20_000_000, order) for order in ("scattered", "sorted")
        },
        packages=("duckdb", "pyarrow"),
        memory=256,
        nodes=8,
        threads=2,
    )
