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
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=5000)
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--large", type=int, default=100_000, help="clusters of the fit that is timed; 0 for none")
    options = parser.parse_args()
    if options.data_sets:
        error = math.sqrt(0.05 * 0.95 / options.data_sets)
        print(f"{options.data_sets} data sets of {options.clusters} clusters of {options.size}; "
              f"Monte Carlo error {100 * error:.2f}%")  # fmt: skip
        seeds = np.random.SeedSequence(options.seed).spawn(options.data_sets)
        with ProcessPoolExecutor(options.workers) as pool:
            jobs = [(seed, options.clusters, options.size) for seed in seeds]
            table = pd.DataFrame(pool.map(one, jobs, chunksize=20))
        for name in sorted(table):
            missing = int(table[name].isna().sum())
            print(f"  {name:22s}{100 * table[name].mean():7.2f}%   ({missing} without an interval)")
    if options.large:
        data = simulate.logit(options.large)
        cg.random_effects(simulate.FORMULA, data.iloc[:5000], cluster="id")
        for quadrature in ("auto", 8):
            start = time.perf_counter()
            fit = cg.random_effects(simulate.FORMULA, data, cluster="id", quadrature=quadrature)
            middle = time.perf_counter()
            fit.conf_int(method="profile")
            end = time.perf_counter()
            ratio = (end - middle) / (middle - start)
            print(f"  {options.large:,} clusters, quadrature={quadrature}: fit {middle - start:.2f} s, "
                  f"7 profile intervals {end - middle:.2f} s, {ratio:.1f} times")  # fmt: skip


if __name__ == "__main__":
    main()
