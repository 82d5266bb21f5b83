"""How often 95% intervals of sigma and of a coefficient cover, by simulation; and what profile intervals cost.

    python benchmarks/coverage.py [--data-sets 5000] [--clusters 200] [--size 5] [--large 100000]

Random-intercept logit, Gaussian intercepts: profile-likelihood intervals beside Wald ones (sigma's on the log scale).
Then the time of a profile interval for every parameter of a large fit over the time of the fit.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import record
import simulate

import clusterglm as cg

TRUTH = {"(Intercept)": -0.3, "x": 0.7, "sigma": 1.0}


def one(job: tuple[np.random.SeedSequence, int, int]) -> dict[str, float]:
    """Whether each interval covers (nan where it could not be given)."""
    seed, clusters, size = job
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), size)
    x = rng.normal(size=len(ids))
    eta = TRUTH["(Intercept)"] + TRUTH["x"] * x + TRUTH["sigma"] * rng.normal(size=clusters)[ids]
    y = (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    fit = cg.random_effects("y ~ x", pd.DataFrame({"y": y, "x": x, "id": ids}), cluster="id")
    covered = {}
    for method in ("wald", "profile"):
        found = fit.conf_int(method=method)
        for name, value in TRUTH.items():
            low, high = found.loc[name]
            covered[f"{name:12s} {method}"] = float(low <= value <= high) if np.isfinite([low, high]).all() else np.nan
    return covered


def coverage(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets; the promise is 95% and two Monte Carlo standard errors, for profile intervals."""
    seeds = np.random.SeedSequence(options.seed).spawn(options.data_sets)
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [(seed, options.clusters, options.size) for seed in seeds]
        table = pd.DataFrame(pool.map(one, jobs, chunksize=20))
    error = 100.0 * math.sqrt(0.05 * 0.95 / options.data_sets)
    for name in sorted(table):
        parameter, method = name.split()
        without = int(table[name].isna().sum())
        profile = method == "profile"
        yield record.Figure(
            f"{parameter} {method}",
            f"{parameter}, {method} intervals at 95%: coverage",
            100.0 * float(table[name].mean()),
            "%",
            turns=options.data_sets,
            at_least=round(95.0 - 2.0 * error, 2) if profile else None,
            at_most=round(95.0 + 2.0 * error, 2) if profile else None,
            note=f"{options.data_sets:,} data sets, Monte Carlo error {error:.2f}%, {without} without an interval",
        )


def cost(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Profile intervals of all seven parameters beside the fit."""
    data = simulate.logit(options.large)
    for name, quadrature in (("automatic", "auto"), ("8 nodes", 8)):
        fitting, profiling = [], []
        for _ in range(3):
            start = time.perf_counter()
            fit = cg.random_effects(simulate.FORMULA, data, cluster="id", quadrature=quadrature)
            middle = time.perf_counter()
            fit.conf_int(method="profile")
            fitting.append(middle - start)
            profiling.append(time.perf_counter() - middle)
        words = f"7 profile intervals of {options.large:,} clusters, {name}"
        yield record.timed(f"profiles {name}", words, profiling)
        yield record.ratio(f"profiles / fit {name}", f"{words} / the fit", profiling, fitting)


if __name__ == "__main__":
    record.run(
        "coverage",
        __doc__,
        {"cost": cost},
        long={"coverage": coverage},
        data_sets=5000,
        clusters=200,
        size=5,
        seed=1,
        workers=2,
        large=100_000,
    )
