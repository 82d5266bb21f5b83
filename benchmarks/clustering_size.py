"""How often tests of no clustering reject at 5% when there is no clustering, by simulation.

    python benchmarks/clustering_size.py [--data-sets 1000] [--clusters 50] [--replicates 199] --all

The first study of Holmberg's thesis found 3.2 to 3.6% for the bootstrap with the log-likelihood alone as its statistic.
Here: that one, the likelihood ratio, the permutation of labels, and the score test. The band is 5% and two Monte Carlo
standard errors.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import record

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


def size_of(size: int, options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets in which each test rejects; promised is the band."""
    half = 200.0 * math.sqrt(0.05 * 0.95 / options.data_sets)
    seeds = np.random.SeedSequence([options.seed, size]).spawn(options.data_sets)
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [(seed, options.clusters, size, options.replicates) for seed in seeds]
        done = list(pool.map(one, jobs, chunksize=10))
    for name in TESTS:
        failed = sum(row[name][1] for row in done)
        promised = name != "bootstrap, loglik"
        yield record.Figure(
            name,
            f"{name}: rejects at 5%",
            100.0 * float(np.mean([row[name][0] for row in done])),
            "%",
            turns=options.data_sets,
            at_least=round(5.0 - half, 2) if promised else None,
            at_most=round(5.0 + half, 2) if promised else None,
            note=f"{options.data_sets} data sets, {failed} replicates failed",
        )


if __name__ == "__main__":
    record.run(
        "clustering_size",
        __doc__,
        {},
        long={f"clusters of {size}": partial(size_of, size) for size in (2, 5, 10)},
        data_sets=1000,
        clusters=50,
        replicates=199,
        seed=1,
        workers=2,
    )
