"""Which distribution is selected when which is true, with exact integrals and without: a study of Holmberg's thesis.

    python benchmarks/selection.py [--data-sets 200] [--clusters 200] --all

Intercept 0.85, sigma 1, no covariates, as in the thesis. AIC with log-likelihoods that are exact to 1e-6, AIC with 8
nodes on the density scale (the thesis's integration), and the chi-squared criterion with each.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import record

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


def shares(size: int, options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets in which the true distribution is picked; what was picked instead is in the note."""
    with ProcessPoolExecutor(options.workers) as pool:
        for number, truth in enumerate(NAMES):
            seeds = np.random.SeedSequence([options.seed, size, number]).spawn(options.data_sets)
            jobs = [(seed, truth, options.clusters, size) for seed in seeds]
            table = pd.DataFrame(pool.map(one, jobs, chunksize=5))
            for criterion in table:
                share = 100.0 * table[criterion].value_counts(normalize=True)
                yield record.Figure(
                    f"{truth} {criterion}",
                    f"{truth}: picked by {criterion}",
                    float(share.get(truth, 0.0)),
                    "%",
                    turns=options.data_sets,
                    note=", ".join(f"{name} {share.get(name, 0.0):.1f}%" for name in (*NAMES, "none")),
                )


def fives(options: argparse.Namespace) -> Iterable[record.Figure]:
    return shares(5, options)


def twenties(options: argparse.Namespace) -> Iterable[record.Figure]:
    return shares(20, options)


if __name__ == "__main__":
    record.run(
        "selection",
        __doc__,
        {},
        long={"clusters of 5": fives, "clusters of 20": twenties},
        data_sets=200,
        clusters=200,
        seed=1,
        workers=2,
    )
