"""A fit of Parquet files larger than the memory it may use, beside one scan of the files by DuckDB.

python benchmarks/larger_than_memory.py [--rows 2000000] [--memory 256] [--quadrature 8] [--threads 2] [--folder DIR]

Files are made chunk by chunk, five rows to a cluster, the rows of a cluster scattered over all of them.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--memory", type=int, default=256, help="MB for blocks")
    parser.add_argument("--quadrature", default="8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the files here, and use them again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        if not any(folder.glob("*.parquet")):
            make(folder, options.rows)
        pattern = f"{folder}/*.parquet"
        begin = clocks()
        cg.random_effects(simulate.FORMULA, simulate.logit(200), cluster="id")  # what the first fit imports
        first = clocks() - begin
        begin = clocks()
        marks: list[tuple[np.ndarray, str]] = []
        engine = cg.engine.Stream(
            memory=options.memory * 2**20, progress=lambda line: marks.append((clocks() - begin, line))
        )
        control = cg.Control(n_threads=options.threads)
        fit = cg.random_effects(
            simulate.FORMULA, pattern, cluster="id", quadrature=options.quadrature, control=control, engine=engine
        )
        total = clocks() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        one = scan(pattern, options.threads)
        evaluations = fit.optimization.evaluations + fit.pooled.optimization.evaluations
        print(f"a first, small fit, imports included, took {first[0]:.1f} s, {first[1]:.1f} s of all cores")
        print(marks[0][1])
        print(f"{fit.n_obs:,} rows, {fit.n_clusters:,} clusters, sigma {fit.sigma:.4f}, peak memory {peak:.2f} GiB")
        for k, clock in enumerate(("wall", "CPU")):
            stages = [marks[1][0][k], marks[-1][0][k], total[k]]
            each = total[k] / evaluations / one[k]
            print(
                "{} seconds: rows together after {:.1f}, blocks after {:.1f}, fit after {:.1f}".format(clock, *stages)
            )
            alone = (stages[2] - stages[1]) / evaluations / one[k]
            print(
                f"    one scan {one[k]:.2f}: {each:.1f} scans to each of {evaluations} evaluations, {alone:.1f} without"
            )
            print("    bringing rows together and writing blocks, which is done once")


if __name__ == "__main__":
    main()
