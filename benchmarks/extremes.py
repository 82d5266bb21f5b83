"""Clusters of a million rows, and a million clusters of one row: in memory, and read from Parquet block by block.

python benchmarks/extremes.py --all [--rows 1000000] [--threads 2]

One row to a cluster does not tell sigma from chance where responses are 0 or 1, so that there is an error in words;
counts and shares of several trials do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
import simulate

import clusterglm as cg

FORMULA = "y ~ x1 + x2"
LONG = 3  # clusters of a million rows


def data(clusters: int, size: int, response: str) -> pd.DataFrame:
    """Counts, or successes and failures of six trials, or 0/1; rows in an order of their own."""
    rng = np.random.default_rng(1)
    ids = rng.permutation(np.repeat(np.arange(clusters), size))
    frame = pd.DataFrame(rng.normal(size=(len(ids), 2)), columns=["x1", "x2"])
    eta = -0.3 + frame.to_numpy() @ simulate.SLOPES[:2] + 0.7 * rng.normal(size=clusters)[ids]
    mean = 1.0 / (1.0 + np.exp(-eta))
    if response == "counts":
        frame["y"] = rng.poisson(np.exp(eta))
    else:
        frame["y"] = rng.binomial(6 if response == "trials" else 1, mean)
        frame["n"] = 6 - frame["y"]
    return frame.assign(id=ids)


def single_rows(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """As many clusters as rows: counts, successes of six trials, and 0/1, which is refused in words."""
    for response in ("counts", "trials", "0/1"):
        formula = FORMULA.replace("y", "cbind(y, n)", 1) if response == "trials" else FORMULA
        family = "poisson" if response == "counts" else "binomial"
        name = f"{options.rows:,} clusters of one row, {response}"
        yield from fits(name, data(options.rows, 1, response), cg.random_effects, options.threads, formula, family)


def long_clusters(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """Three clusters of a million rows, random and fixed effects."""
    frame = data(LONG, options.rows, "0/1")
    for verb in (cg.random_effects, cg.fixed_effects):
        name = f"{LONG} clusters of {options.rows:,} rows, {verb.__name__.replace('_', ' ')}"
        yield from fits(name, frame, verb, options.threads, FORMULA)


def conditional(options: argparse.Namespace) -> Iterable[record.Figure | record.Missing]:
    """Three clusters of a million rows by conditional likelihood, whose time grows faster than a cluster's rows."""
    name = f"{LONG} clusters of {options.rows:,} rows, conditional"
    yield from fits(name, data(LONG, options.rows, "0/1"), cg.conditional, options.threads, FORMULA)


def fits(
    name: str, frame: pd.DataFrame, verb: Callable[..., Any], threads: int, formula: str, family: str = "binomial"
) -> Iterable[record.Figure | record.Missing]:
    """One fit in memory and one of a file, and how far they are apart."""
    control = cg.Control(n_threads=threads)
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "data.parquet"
        frame.to_parquet(path)
        for where, rows, engine in (("memory", frame, None), ("files", path, cg.engine.Stream(memory=2**27))):
            start = time.perf_counter()
            try:
                fit = verb(formula, rows, cluster="id", family=family, control=control, engine=engine)
            except cg.errors.ClusterGLMError as problem:
                yield record.Missing(f"{name}, {where}", f"{type(problem).__name__}: {problem.got}")
                continue
            seconds, found = time.perf_counter() - start, [*found, fit]
            yield record.Figure(f"{name}, {where}", f"{name}, {where}", seconds, "s")
    if len(found) == 2:
        apart = float(np.max(np.abs(found[0].params - found[1].params) / found[0].bse))
        yield record.Figure(f"{name}, apart", f"{name}, files from memory", apart, "SE", at_most=1e-5)


if __name__ == "__main__":
    record.run(
        "extremes",
        __doc__,
        {},
        long={"single rows": single_rows, "long clusters": long_clusters, "conditional": conditional},
        packages=("duckdb", "pyarrow"),
        rows=1_000_000,
        threads=2,
    )
