"""Linear mixed models: slopes, nested and crossed factors, beside glmm and beside one pass over the rows.

    python benchmarks/gaussian.py [--clusters 20000] [--turns 5]

Normal responses, clusters of 10; intercept and slope have standard deviations 1 and 0.7, the residual 1. Times are of
whole fits from a data frame, formula included, with standard errors; on one thread. The floor is what NumPy takes for
[X Z y]'[X Z y].
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record

import clusterglm as cg

COEFFICIENTS = np.array([0.8, 0.4, -0.3, 0.2, 0.1])
FIXED = "y ~ x1 + x2 + x3 + x4 + x5"


def simulated(clusters: int, seed: int = 1, size: int = 10) -> pd.DataFrame:
    """Responses of clusters with an intercept and a slope of x1 of their own; five lie in `upper`, `item` crosses."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), size)
    X = rng.normal(size=(len(g), len(COEFFICIENTS)))
    b = rng.normal(size=(clusters, 2)) @ np.linalg.cholesky([[1.0, 0.28], [0.28, 0.49]]).T
    item = rng.integers(0, 50, len(g))
    y = -0.5 + X @ COEFFICIENTS + b[g, 0] + b[g, 1] * X[:, 0] + rng.normal(size=len(g))
    y += 0.5 * rng.normal(size=clusters // 5 + 1)[g // 5] + 0.5 * rng.normal(size=50)[item]
    data = pd.DataFrame(X, columns=[f"x{k + 1}" for k in range(len(COEFFICIENTS))])
    return data.assign(y=y, id=g, upper=g // 5, item=item)


def ours(data: pd.DataFrame, random: str, **options: object) -> Callable[[], object]:
    return lambda: cg.random_effects(f"{FIXED} + {random}", data, family="gaussian", **options).bse


def theirs(data: pd.DataFrame, random: str) -> Callable[[], object]:
    import glmm

    columns = {name: data[name].to_numpy(float) for name in data if name.startswith(("x", "y"))}
    columns |= {name: data[name].astype(str).to_numpy() for name in ("id", "upper", "item")}
    return lambda: glmm.fit(columns, f"{FIXED} + {random}", family="gaussian").se


def floor(data: pd.DataFrame) -> Callable[[], object]:
    columns = np.column_stack([np.ones(len(data)), data[[f"x{k + 1}" for k in range(5)]], np.ones(len(data)), data.y])
    return lambda: columns.T @ columns


def beside(random: str, options: argparse.Namespace, at_most: float | None = None) -> Iterable[record.Figure]:
    data = simulated(options.clusters)
    runs = {"ours": ours(data, random), "reml": ours(data, random, reml=True), "floor": floor(data)}
    if record.installed("glmm") is not None:
        runs["glmm"] = theirs(data, random)
    seconds = record.in_turns(runs, options.turns)
    words = f"{options.clusters:,} clusters of 10, {random}"
    yield record.timed(f"{random} seconds", words, seconds["ours"])
    yield record.ratio(f"{random} reml", f"{words}: REML / ML", seconds["reml"], seconds["ours"], against="ML")
    yield record.ratio(
        f"{random} floor", f"{words} / [X Z y]'[X Z y]", seconds["ours"], seconds["floor"], against="NumPy"
    )
    if "glmm" in seconds:
        yield record.ratio(
            f"{random} glmm", f"{words} / glmm", seconds["ours"], seconds["glmm"], against="glmm", at_most=at_most
        )
    else:
        yield record.Missing("glmm", "not installed")


def slopes(options: argparse.Namespace) -> Iterable[record.Figure]:
    yield from beside("(x1 | id)", options, at_most=1.0 / 3.0)


def nested(options: argparse.Namespace) -> Iterable[record.Figure]:
    yield from beside("(1 | upper) + (1 | id)", options)


def crossed(options: argparse.Namespace) -> Iterable[record.Figure]:
    yield from beside("(1 | id) + (1 | item)", options)


if __name__ == "__main__":
    parts = {"slopes": slopes, "nested": nested, "crossed": crossed}
    record.run("gaussian", __doc__, parts, clusters=20_000, turns=5)
