"""Fits with automatic integration by distribution of the intercept, beside the Gaussian's of the same data.

    python benchmarks/distributions.py [--clusters 100000] [--turns 3]

Binary data whose intercepts are Gaussian, with about as many successes as failures and with rare ones. From a data
frame to a result with standard errors, on one thread. Ratios are what counts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import pandas as pd
import record
import simulate

import clusterglm as cg

DISTRIBUTIONS = (
    "logistic",
    "laplace",
    "bridge",
    "log_gamma",
    "gaussian_mixture(0.3, 3)",
    "student_t(3)",
    "cauchy",
)
INTERCEPTS = {"even": -0.3, "rare": -4.5}
_MOST = 6.0  # Gaussian fits that one of another distribution may take, of as many clusters as
_PROMISED = 100_000


def fit(data: pd.DataFrame, distribution: str) -> Callable[[], object]:
    control = cg.Control(n_threads=1)

    def run() -> object:
        return cg.random_effects(simulate.FORMULA, data, cluster="id", distribution=distribution, control=control).bse

    return run


def beside_gaussian(options: argparse.Namespace) -> Iterable[record.Figure]:
    limit = _MOST if options.clusters >= _PROMISED else None
    for words, intercept in INTERCEPTS.items():
        data = simulate.logit(options.clusters, intercept=intercept)
        runs = {name: fit(data, name) for name in ("gaussian", *DISTRIBUTIONS)}
        seconds = record.in_turns(runs, options.turns)
        yield record.timed(f"gaussian {words}", f"intercept {intercept:g}, gaussian", seconds["gaussian"])
        for name in DISTRIBUTIONS:
            claim, what = f"{name} {words}", f"intercept {intercept:g}, {name} / gaussian"
            yield record.ratio(claim, what, seconds[name], seconds["gaussian"], against="gaussian", at_most=limit)


if __name__ == "__main__":
    record.run("distributions", __doc__, {"distributions": beside_gaussian}, clusters=100_000, turns=3)
