"""How often tests of no clustering reject at 5% when there is no clustering, by simulation.

    python benchmarks/clustering_size.py [--data-sets 1000] [--clusters 50] [--replicates 199] [--sizes 2 5 10]

The first of the seeds' studies found 3.2 to 3.6% for the bootstrap with the log-likelihood alone as its statistic.
Here: that one, the likelihood ratio, the permutation of labels, and the score test. The band is 5% and two Monte Carlo
standard errors.
"""

from __future__ import annotations

import argparse
import math
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

import clusterglm as cg

TESTS = {
    "bootstrap, lr": {"method": "bootstrap"},
    "bootstrap, loglik": {"method": "bootstrap", "statistic": "loglik"},
    "permutation, lr": {"method": "permutation", "insist": True},
    "score": {"method": "score"},
}


def one(job: tuple[np.random.SeedSequence, int, int, int]) -> dict[str, tuple[bool, int]]:
    """One data set: for each test whether it rejects, and failed replicates."""
    seed, clusters, size, replicates = job
    warnings.simplefilter("ignore")
    drawing, testing = seed.spawn(2)
    rng = np.random.default_rng(drawing)
    n = clusters * size
    x = rng.normal(size=n)
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-(0.2 + x)))).astype(int)
    data = pd.DataFrame({"y": y, "x": x, "id": np.repeat(np.arange(clusters), size)})
    result = cg.fixed_effects("y ~ x", data, cluster="id")
    out = {}
    for name, options in TESTS.items():
        test = result.test_clustering(n_boot=replicates, seed=testing, **options)
        failed = sum(count for _, count in getattr(test, "failures", ()))
        out[name] = (test.pvalue <= 0.05, failed)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=1000)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--replicates", type=int, default=199, help="so that 0.05 is among the possible p-values")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    half = 2.0 * math.sqrt(0.05 * 0.95 / options.data_sets)
    print(f"{options.data_sets} data sets of {options.clusters} clusters, {options.replicates} replicates; "
          f"band {5 - 100 * half:.1f} to {5 + 100 * half:.1f}%")  # fmt: skip
    with ProcessPoolExecutor(options.workers) as pool:
        for size in options.sizes:
            seeds = np.random.SeedSequence([options.seed, size]).spawn(options.data_sets)
            jobs = [(seed, options.clusters, size, options.replicates) for seed in seeds]
            done = list(pool.map(one, jobs, chunksize=10))
            for name in TESTS:
                rejected = np.mean([row[name][0] for row in done])
                failed = sum(row[name][1] for row in done)
                inside = "inside" if abs(rejected - 0.05) <= half else "OUTSIDE"
                line = f"  clusters of {size:3d}  {name:20s}{100 * rejected:6.1f}%  {inside}"
                print(f"{line}  ({failed} replicates failed)", flush=True)


if __name__ == "__main__":
    main()
