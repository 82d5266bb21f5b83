"""Clusters of a million rows, and a million clusters of one row: in memory, and read from Parquet block by block.

python benchmarks/extremes.py [--rows 1000000] [--threads 2] [--conditional]

One row to a cluster does not tell sigma from chance where responses are 0 or 1, so that there is an error in words;
counts and shares of several trials do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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


def cases(rows: int, conditional: bool) -> Iterator[tuple[str, pd.DataFrame, Any, dict[str, Any]]]:
    """Name, data, verb and its arguments."""
    for response in ("counts", "trials", "0/1"):
        options = {"formula": FORMULA, "family": "poisson" if response == "counts" else "binomial"}
        if response == "trials":
            options["formula"] = FORMULA.replace("y", "cbind(y, n)", 1)
        yield f"{rows:,} clusters of one row, {response}", data(rows, 1, response), cg.random_effects, options
    frame = data(LONG, rows, "0/1")
    for verb in (cg.random_effects, cg.fixed_effects, cg.conditional)[: 3 if conditional else 2]:
        yield f"{LONG} clusters of {rows:,} rows, {verb.__name__}", frame, verb, {"formula": FORMULA}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--conditional", action="store_true", help="too: its time grows faster than a cluster's rows")
    options = parser.parse_args()
    control = cg.Control(n_threads=options.threads)
    for name, frame, verb, arguments in cases(options.rows, options.conditional):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "data.parquet"
            frame.to_parquet(path)
            for where, rows, engine in (("memory", frame, None), ("files", path, cg.engine.Stream(memory=2**27))):
                begin, clock = time.perf_counter(), time.process_time()
                try:
                    fit = verb(data=rows, cluster="id", control=control, engine=engine, **arguments)
                    words = f"x1 {fit.params['x1']:.6f}, log-likelihood {fit.loglik:.4f}"
                    words += f", sigma {fit.sigma:.5f}" if verb is cg.random_effects else ""
                except cg.errors.ClusterGLMError as problem:
                    words = f"{type(problem).__name__}: {problem.got}"
                took = f"{time.perf_counter() - begin:.1f} s, {time.process_time() - clock:.1f} s of all cores"
                print(f"{name}, {where}: {words} ({took})", flush=True)


if __name__ == "__main__":
    main()
