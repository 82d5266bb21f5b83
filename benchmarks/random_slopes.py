"""Random slopes: one evaluation beside a floor, and fits beside the random intercept's of the same data.

    python benchmarks/random_slopes.py [--clusters 20000] [--few 2000] [--turns 3]

Binary data, clusters of 10; intercept and slope have standard deviations 1 and 0.7 and a correlation of 0.4. The floor
is what NumPy takes for X'WX and one exp per row. On one thread; ratios are what counts.
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
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.likelihood.vector.points import hermite_points
from clusterglm.likelihood.vector.vector import VectorLikelihood, VectorPart
from clusterglm.model.family import response

SLOPES = np.array([0.8, 0.4, -0.3, 0.2, 0.1])
FORMULA = "y ~ x1 + x2 + x3 + x4 + x5"
RULES: dict[str, str | int] = {"auto": "auto", "7 nodes": 7, "Laplace": "laplace"}


def simulated(clusters: int, seed: int = 1, size: int = 10) -> pd.DataFrame:
    """Responses of clusters with an intercept and a slope of x1 of their own."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), size)
    X = rng.normal(size=(len(g), len(SLOPES)))
    b = rng.normal(size=(clusters, 2)) @ np.linalg.cholesky([[1.0, 0.28], [0.28, 0.49]]).T
    eta = -0.5 + X @ SLOPES + b[g, 0] + b[g, 1] * X[:, 0]
    data = pd.DataFrame(X, columns=[f"x{k + 1}" for k in range(len(SLOPES))])
    return data.assign(y=(rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64), id=g)


def floor(data: ModelData) -> Callable[[], object]:
    """X'WX by BLAS and one exp per row."""
    X, beta = data.X, np.full(data.X.shape[1], 0.1)

    def run() -> object:
        p = 1.0 / (1.0 + np.exp(-(X @ beta)))
        return (X * (p * (1.0 - p))[:, None]).T @ X

    return run


def evaluation(options: argparse.Namespace) -> Iterable[record.Figure]:
    logit = response("binomial", "logit")
    data = prepare(f"{FORMULA} + (x1 | id)", simulated(options.clusters), Request(logit, effects=True))
    assert data.effects is not None
    likelihood = VectorLikelihood(data.X, data.effects.Z, data, logit)
    theta = np.concatenate([[-0.5], SLOPES, [1.0, 0.28, 0.64]])
    plan = (VectorPart(hermite_points(8, 2)),)
    runs = {"ours": lambda: likelihood.evaluate(theta, plan), "floor": floor(data)}
    seconds = record.in_turns(runs, options.turns)
    words = "8 x 8 nodes, value, score and Hessian / X'WX and one exp per row"
    yield record.ratio("slopes, one evaluation", words, seconds["ours"], seconds["floor"], against="NumPy")


def fits(options: argparse.Namespace) -> Iterable[record.Figure]:
    control = cg.Control(n_threads=1)
    for clusters in (options.few, options.clusters):
        data = simulated(clusters)

        def fit(term: str, rule: str | int, data: pd.DataFrame = data) -> Callable[[], object]:
            return lambda: cg.random_effects(f"{FORMULA} + {term}", data, quadrature=rule, control=control).bse

        runs = {"intercept": fit("(1 | id)", "auto"), **{name: fit("(x1 | id)", RULES[name]) for name in RULES}}
        seconds = record.in_turns(runs, options.turns)
        for name in RULES:
            words = f"{clusters:,} clusters of 10, slopes, {name} / random intercept"
            yield record.ratio(
                f"slopes {clusters} {name}", words, seconds[name], seconds["intercept"], against="random intercept"
            )


if __name__ == "__main__":
    parts = {"evaluation": evaluation, "fits": fits}
    record.run("random_slopes", __doc__, parts, clusters=20_000, few=2_000, turns=3)
