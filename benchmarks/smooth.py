"""What distribution="smooth" makes of intercepts with two humps, and of Gaussian ones.

    python benchmarks/smooth.py [--data-sets 100] [--clusters 500] [--size 20]

Random-intercept logits. Two humps: intercepts about -1.5 and 1.5 with equal probability and standard deviation 1/2.
They count as found where the estimated density of intercepts, about the true origin, has a mode within 0.75 of each and
falls by a tenth or more of the lower one between them. Gaussian: standard deviation 1.2.
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

INTERCEPT, SLOPE, HUMPS, WITHIN, SIGMA = 0.3, 0.7, 1.5, 0.5, 1.2
CLOSE, DIP = 0.75, 0.9


def data(seed: np.random.SeedSequence, clusters: int, size: int, humps: bool) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    b = SIGMA * rng.normal(size=clusters)
    if humps:
        b = rng.choice([-HUMPS, HUMPS], clusters) + WITHIN * rng.normal(size=clusters)
    ids, x = np.repeat(np.arange(clusters), size), rng.normal(size=clusters * size)
    p = 1.0 / (1.0 + np.exp(-(INTERCEPT + SLOPE * x + b[ids])))
    return pd.DataFrame({"y": (rng.random(len(ids)) < p).astype(int), "x": x, "id": ids})


def both_found(fit: cg.RandomEffectsResult) -> bool:
    """Whether the density has a hump near each of the two, and a valley between."""
    at = fit.params["(Intercept)"] - INTERCEPT + fit.sigma * fit.distribution.modes
    low, high = at[np.abs(at + HUMPS) < CLOSE], at[np.abs(at - HUMPS) < CLOSE]
    if len(low) == 0 or len(high) == 0:
        return False
    between = np.linspace(low[-1], high[0], 201)
    t = (between - fit.params["(Intercept)"] + INTERCEPT) / fit.sigma
    f = np.exp(fit.distribution.log_density(t)[0])
    return bool(f.min() < DIP * min(f[0], f[-1]))


def one(job: tuple[np.random.SeedSequence, int, int, bool]) -> dict[str, float]:
    seed, clusters, size, humps = job
    warnings.simplefilter("ignore")
    table = data(seed, clusters, size, humps)
    gaussian = cg.random_effects("y ~ x", table, cluster="id")
    fit = cg.random_effects("y ~ x", table, cluster="id", distribution="smooth")
    return {
        "gain": fit.loglik - gaussian.loglik,
        "effective": fit.shape.effective,
        "found": float(both_found(fit)) if humps else np.nan,
        "one_mode": float(len(fit.distribution.modes) == 1),
        "converged": float(fit.converged),
        "slope": float(fit.params["x"]),
        "covered": float(abs(fit.params["x"] - SLOPE) < 1.96 * fit.bse["x"]),
        "sigma": fit.sigma,
    }


def _table(options: argparse.Namespace, humps: bool) -> pd.DataFrame:
    seeds = np.random.SeedSequence([options.seed, int(humps)]).spawn(options.data_sets)
    jobs = [(seed, options.clusters, options.size, humps) for seed in seeds]
    if options.workers == 1:
        return pd.DataFrame([one(job) for job in jobs])
    with ProcessPoolExecutor(options.workers) as pool:
        return pd.DataFrame(pool.map(one, jobs))


def two_humps(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Data sets in which both humps are found."""
    table, n = _table(options, humps=True), options.data_sets
    note = f"{n} data sets of {options.clusters} clusters of {options.size}"
    found = 100.0 * float(table["found"].mean())
    yield record.Figure("found", "both humps found", found, "%", turns=n, at_least=95.0, note=note)
    yield _figure("humps: gain", "log-likelihood above the Gaussian's, mean", table["gain"], note)
    yield _figure("humps: effective", "effective shape parameters, mean", table["effective"], note)
    yield _figure("humps: slope", f"slope ({SLOPE}), mean", table["slope"], note)
    yield _figure("humps: covered", "95% interval of the slope covers", table["covered"], note)
    yield _figure("humps: sigma", f"sigma ({np.hypot(HUMPS, WITHIN):.3f}), mean", table["sigma"], note)
    yield _figure("humps: converged", "converged", table["converged"], note)


def gaussian(options: argparse.Namespace) -> Iterable[record.Figure]:
    """Data sets in which nothing but the Gaussian is found."""
    table, n = _table(options, humps=False), options.data_sets
    note = f"{n} data sets of {options.clusters} clusters of {options.size}"
    yield _figure("gaussian: close", "within 1.5 of the Gaussian's log-likelihood", table["gain"].abs() < 1.5, note)
    yield _figure("gaussian: few", "fewer than one effective shape parameter", table["effective"] < 1.0, note)
    yield _figure("gaussian: itself", "the Gaussian itself (infinite smoothness)", table["effective"] == 0.0, note)
    yield _figure("gaussian: gain", "log-likelihood above the Gaussian's, mean", table["gain"], note)
    yield _figure("gaussian: effective", "effective shape parameters, mean", table["effective"], note)
    yield _figure("gaussian: one mode", "a single mode", table["one_mode"], note)
    yield _figure("gaussian: covered", "95% interval of the slope covers", table["covered"], note)
    yield _figure("gaussian: converged", "converged", table["converged"], note)


def _figure(claim: str, words: str, values: pd.Series, note: str) -> record.Figure:
    each = values.astype(float)
    return record.Figure(
        claim, words, float(each.mean()), "", float(each.min()), float(each.max()), len(each), note=note
    )


if __name__ == "__main__":
    record.run(
        "smooth",
        __doc__,
        {},
        long={"two humps": two_humps, "gaussian": gaussian},
        data_sets=100,
        clusters=500,
        size=20,
        seed=1,
        workers=1,
    )
