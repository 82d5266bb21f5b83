"""How often 95% profile intervals of standard deviations and of a correlation cover, by simulation.

    python benchmarks/coverage_slopes.py [--data-sets 2000] [--clusters 100] [--size 8] [--compared 50]

Logit with correlated intercepts and slopes: standard deviations 1 and 0.5, correlation 0.3. How many fits are singular,
and how many intervals could not be found. On some of the data sets the intervals are held against `oracle/profiles.py`,
which integrates on a lattice and maximises by SciPy.
"""

from __future__ import annotations

import argparse
import math
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import record
from oracle.profiles import profile_intervals

import clusterglm as cg

NAMES = ("sd(id: (Intercept))", "sd(id: x)", "cor(id: (Intercept),x)")
TRUTH = (1.0, 0.5, 0.3)
WITHIN = 1e-3  # of an interval's end, against the oracle


def simulated(seed: np.random.SeedSequence, clusters: int, size: int) -> pd.DataFrame:
    """Responses of clusters whose covariate runs from -1 to 1."""
    rng = np.random.default_rng(seed)
    x, g = np.tile(np.linspace(-1.0, 1.0, size), clusters), np.repeat(np.arange(clusters), size)
    first, second, rho = TRUTH
    z = rng.standard_normal((clusters, 2))
    slope = second * (rho * z[:, 0] + math.sqrt(1.0 - rho**2) * z[:, 1])
    eta = -0.5 + x + first * z[g, 0] + slope[g] * x
    return pd.DataFrame({"y": (rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(int), "x": x, "id": g})


def intervals(data: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Profile intervals of the covariance, and whether the fit is singular."""
    fit = cg.random_effects("y ~ x + (x | id)", data)
    return fit.conf_int(method="profile").loc[list(NAMES)], fit.singular


def one(job: tuple[np.random.SeedSequence, int, int]) -> dict[str, float]:
    """Whether each interval covers (nan where it could not be found), and whether the fit is singular."""
    warnings.simplefilter("ignore")
    found, singular = intervals(simulated(*job))
    covered = {"singular": float(singular)}
    for name, truth, (low, high) in zip(NAMES, TRUTH, found.to_numpy(), strict=True):
        covered[name] = float(low <= truth <= high) if np.isfinite([low, high]).all() else np.nan
    return covered


def compared(job: tuple[np.random.SeedSequence, int, int]) -> float:
    """The largest difference of an interval's end from the oracle's."""
    data = simulated(*job)
    ours = intervals(data)[0].to_numpy()
    theirs = profile_intervals(data["y"].to_numpy(), data["x"].to_numpy(), int(job[2]))
    return float(np.abs(ours - theirs).max())


def jobs(options: argparse.Namespace, number: int) -> list[tuple[np.random.SeedSequence, int, int]]:
    seeds = np.random.SeedSequence(options.seed).spawn(number)
    return [(seed, options.clusters, options.size) for seed in seeds]


def coverage(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets."""
    with ProcessPoolExecutor(options.workers) as pool:
        table = pd.DataFrame(pool.map(one, jobs(options, options.data_sets), chunksize=20))
    singular = 100.0 * float(table["singular"].mean())
    yield record.Figure("singular", "fits that are singular", singular, "%", turns=options.data_sets)
    for name in NAMES:
        share, lost = float(table[name].mean()), int(table[name].isna().sum())
        error = 100.0 * math.sqrt(share * (1.0 - share) / options.data_sets)
        yield record.Figure(
            name,
            f"{name}, profile intervals at 95%: coverage",
            100.0 * share,
            "%",
            turns=options.data_sets,
            note=f"{options.data_sets:,} data sets, Monte Carlo error {error:.2f}%, {lost} without an interval",
        )


def against_the_oracle(options: argparse.Namespace) -> Iterable[record.Figure]:
    """The largest difference of any end."""
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(compared, jobs(options, options.compared)))
    words = f"ends of 3 profile intervals of {options.compared} data sets: largest difference from the oracle's"
    yield record.Figure("oracle", words, max(found), "", turns=options.compared, at_most=WITHIN)


if __name__ == "__main__":
    record.run(
        "coverage_slopes",
        __doc__,
        {},
        long={"coverage": coverage, "oracle": against_the_oracle},
        data_sets=2000,
        clusters=100,
        size=8,
        compared=50,
        seed=1,
        workers=2,
    )
