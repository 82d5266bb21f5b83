"""Which distribution is selected when which is true, with exact integrals and without: the second study of the seeds.

    python benchmarks/selection.py [--data-sets 200] [--clusters 200] [--sizes 5 20]

Intercept 0.85, sigma 1, no covariates, as in the thesis. AIC with log-likelihoods that are exact to 1e-6, AIC with 8
nodes on the density scale (the thesis's integration), and the chi-squared criterion with each.
"""

from __future__ import annotations

import argparse
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

import clusterglm as cg
from clusterglm.model.distribution import distribution as named

NAMES = ("gaussian", "logistic", "cauchy")
METHODS = {"exact": {}, "8 nodes, density scale": {"quadrature": 8, "scale": "density"}}


def one(job: tuple[np.random.SeedSequence, str, int, int]) -> dict[str, str]:
    """The distribution that each criterion picks for one data set ("none" where fits failed)."""
    seed, truth, clusters, size = job
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    u = named(truth).rvs(rng, clusters)
    y = (rng.random((clusters, size)) < 1.0 / (1.0 + np.exp(-0.85 - u[:, None]))).astype(int)
    data = pd.DataFrame({"y": y.ravel(), "id": np.repeat(np.arange(clusters), size)})
    picked = {}
    for method, options in METHODS.items():
        try:
            found = cg.select_distribution("y ~ 1", data, cluster="id", distributions=NAMES, **options)
        except cg.errors.ClusterGLMError:
            picked |= {f"AIC, {method}": "none", f"chi-squared, {method}": "none"}
            continue
        picked[f"AIC, {method}"] = found.best("aic").distribution.name
        picked[f"chi-squared, {method}"] = found.best("chi_square").distribution.name
    return picked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=200)
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    start = time.perf_counter()
    print(f"{options.data_sets} data sets of {options.clusters} clusters; per cent of them in which each is picked")
    with ProcessPoolExecutor(options.workers) as pool:
        for size in options.sizes:
            for number, truth in enumerate(NAMES):
                seeds = np.random.SeedSequence([options.seed, size, number]).spawn(options.data_sets)
                jobs = [(seed, truth, options.clusters, size) for seed in seeds]
                table = pd.DataFrame(pool.map(one, jobs, chunksize=5))
                for criterion in table:
                    share = 100.0 * table[criterion].value_counts(normalize=True)
                    cells = "  ".join(f"{name} {share.get(name, 0.0):5.1f}" for name in (*NAMES, "none"))
                    print(f"  clusters of {size:3d}, truth {truth:9s} {criterion:36s} {cells}", flush=True)
    print(f"  {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
