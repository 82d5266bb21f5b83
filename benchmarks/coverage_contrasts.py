"""How often intervals of adjusted means cover, and simultaneous ones of all their contrasts at once.

    python benchmarks/coverage_contrasts.py [--data-sets 1000] [--clusters 60] [--size 6]

Random-intercept logit with four groups of unequal size and a covariate that differs between them: probabilities
averaged over the intercepts, whose true values are integrals, and all six differences at once.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import record

import clusterglm as cg

INTERCEPT, SLOPE, SIGMA = -0.2, 0.5, 0.9
GROUPS = {"a": 0.0, "b": 0.6, "c": -0.4, "d": 0.2}
SHARES = (0.4, 0.3, 0.2, 0.1)
ADJUSTMENTS = ("tukey", "mvt", "holm")
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def means(x: np.ndarray) -> np.ndarray:
    """True probabilities of each group, averaged over intercepts and the rows."""
    eta = INTERCEPT + SLOPE * x[:, None, None] + np.array([*GROUPS.values()])[:, None] + SIGMA * NODES
    return (1.0 / (1.0 + np.exp(-eta)) @ WEIGHTS / WEIGHTS.sum()).mean(axis=0)


def one(job: tuple[np.random.SeedSequence, int, int]) -> dict[str, float]:
    """Whether intervals cover: that of the first mean, and all six differences of each adjustment."""
    seed, clusters, size = job
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), size)
    group = rng.choice(list(GROUPS), len(ids), p=SHARES)
    x = rng.normal(size=len(ids)) + 0.3 * (group == "b")
    effects = np.array([GROUPS[each] for each in group])
    eta = INTERCEPT + SLOPE * x + effects + SIGMA * rng.normal(size=clusters)[ids]
    y = (rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    fit = cg.random_effects("y ~ f + x", pd.DataFrame({"y": y, "x": x, "f": group, "id": ids}), cluster="id")
    found, truth = fit.adjusted_means("f"), means(x)
    table = found.to_frame()
    covered = {"mean": float(table["conf_low"][0] <= truth[0] <= table["conf_high"][0])}
    pairs = np.array([truth[i] - truth[j] for i in range(4) for j in range(i + 1, 4)])
    for adjust in ADJUSTMENTS:
        ends = found.contrasts(adjust=adjust).to_frame()
        covered[adjust] = float(((ends["conf_low"] <= pairs) & (pairs <= ends["conf_high"])).all())
    return covered


def coverage(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Per cent of data sets; the promise is 95% less three Monte Carlo standard errors for exact ones."""
    seeds = np.random.SeedSequence(options.seed).spawn(options.data_sets)
    with ProcessPoolExecutor(options.workers) as pool:
        jobs = [(seed, options.clusters, options.size) for seed in seeds]
        table = pd.DataFrame(pool.map(one, jobs, chunksize=20))
    error = 100.0 * math.sqrt(0.05 * 0.95 / options.data_sets)
    words = {"mean": "an adjusted mean", **{name: f"all six differences, {name}" for name in ADJUSTMENTS}}
    for name, what in words.items():
        yield record.Figure(
            name,
            f"95% intervals of {what}: coverage",
            100.0 * float(table[name].mean()),
            "%",
            turns=options.data_sets,
            at_least=round(95.0 - 3.0 * error, 2),
            at_most=round(95.0 + 3.0 * error, 2) if name in ("mean", "mvt") else None,
            note=f"{options.data_sets:,} data sets, Monte Carlo error {error:.2f}%",
        )


if __name__ == "__main__":
    record.run(
        "coverage_contrasts",
        __doc__,
        {},
        long={"coverage": coverage},
        data_sets=1000,
        clusters=60,
        size=6,
        seed=1,
        workers=2,
    )
