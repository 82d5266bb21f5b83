"""Posteriors: simulation-based calibration, and what a draw costs.

Calibration (Talts and others 2018): parameters are drawn from the prior and data from the model at these; the rank of
each parameter among thinned draws from its posterior is then uniform. Chi-squared tests of ten bins say whether it is.

    python benchmarks/posterior.py                  # what a draw costs
    python benchmarks/posterior.py --all            # and 500 data sets; NumPyro where it is installed
"""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import record
from peers import numpyro
from scipy.special import expit
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import ClusterGLMWarning, DataError
from clusterglm.sample.diagnostics import worth

BINS = 10
RANKED = 99  # draws among which a parameter has a rank
PRIOR = cg.Prior(coefficients="normal(0, 1)", intercept="normal(0, 1)", sd="half_normal(1)", scaled=False)
NAMES = ("intercept", "slope", "sd")


def drawn_set(rng: np.random.Generator, m: int = 25, size: int = 6) -> tuple[np.ndarray, pd.DataFrame]:
    """Parameters from the prior, and data at these; an intercept at the mean of the covariate, which is 0."""
    x = np.tile(np.linspace(-1.0, 1.0, size), m)
    truth = np.array([rng.normal(), rng.normal(), abs(rng.normal())])
    id_ = np.repeat(np.arange(m), size)
    eta = truth[0] + truth[1] * x + truth[2] * rng.normal(size=m)[id_]
    return truth, pd.DataFrame({"id": id_, "x": x, "y": rng.binomial(4, expit(eta)), "n": 4})


def rank_of(seed: int, method: str) -> np.ndarray | None:
    """Ranks of the true parameters among draws from the posterior; None where there is no fit to begin with."""
    truth, data = drawn_set(np.random.default_rng([17, seed]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterGLMWarning)
        try:
            fit = cg.random_effects("cbind(y, n - y) ~ x", data, cluster="id")
        except DataError:
            return None
        posterior = fit.sample(RANKED * 10, chains=1, prior=PRIOR, seed=seed, method=method)
    values = posterior.values[0, 9::10]
    return np.asarray((values < truth).sum(axis=0))


def calibration(method: str) -> Callable[[Namespace], Iterator[record.Figure]]:
    """Rank histograms of one sampler."""

    def measured(options: Namespace) -> Iterator[record.Figure]:
        found = [rank_of(seed, method) for seed in range(options.sets)]
        ranks = np.array([each for each in found if each is not None])
        words = f"data sets with a fit to begin with, {method}"
        yield record.Figure("fits", words, len(ranks), "data sets", note=f"of {options.sets}")
        for k, name in enumerate(NAMES):
            counts = np.bincount(ranks[:, k] * BINS // (RANKED + 1), minlength=BINS)
            expected = len(ranks) / BINS
            p = float(chi2(BINS - 1).sf(((counts - expected) ** 2 / expected).sum()))
            words = f"ranks of the {name} among draws, {method}: p-value of their being uniform"
            note = f"{len(ranks)} data sets, counts {' '.join(map(str, counts))}"
            yield record.Figure(name, words, p, "", at_least=0.001, note=note)

    return measured


def slopes(m: int = 2000, size: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    id_ = np.repeat(np.arange(m), size)
    x, z = rng.normal(size=m * size), rng.normal(size=m)[id_]
    u = rng.normal(size=(m, 2)) @ np.array([[1.0, 0.2], [0.0, 0.5]])
    eta = -0.5 + 0.5 * x + 0.3 * z + u[id_, 0] + u[id_, 1] * x
    return pd.DataFrame({"id": id_, "x": x, "z": z, "y": rng.binomial(1, expit(eta))})


def speed(formula: str, words: str) -> Callable[[Namespace], Iterator[record.Figure]]:
    """Effective draws an evaluation, and a CPU second."""

    def measured(_: Namespace) -> Iterator[record.Figure]:
        fit = cg.random_effects(formula, slopes())
        started = time.process_time()
        posterior = fit.sample(1000, chains=4, seed=1)
        seconds = time.process_time() - started
        least = float(posterior.table()["ess_bulk"].min())
        evaluations = posterior.sampler.evaluations
        note = f"{posterior.sampler.method}, {least:.0f} effective of 4,000 draws, {evaluations:,} evaluations"
        each = "effective draws of the slowest parameter"
        yield record.Figure(
            "evaluation", f"{each} an evaluation, {words}", least / evaluations, "", at_least=0.5, note=note
        )
        yield record.Figure("second", f"{each} a CPU second, {words}", least / seconds, "", note=note)

    return measured


def beside(with_slopes: bool, words: str) -> Callable[[Namespace], Iterator[record.Figure | record.Missing]]:
    """NumPyro, which draws every cluster's effects too, on the same data; effective sizes by the same formula."""

    def measured(_: Namespace) -> Iterator[record.Figure | record.Missing]:
        if record.installed("numpyro") is None:
            yield record.Missing(f"NumPyro, {words}", "not installed")
            return
        found = numpyro.logit(slopes(), with_slopes)()
        least = min(worth(found.values[:, :, k]).ess_bulk for k in range(len(found.names)))
        against = f"numpyro {record.installed('numpyro')}"
        note = f"{least:.0f} effective of {found.values[:, :, 0].size:,} draws, warmed up in {found.warming:.0f} s"
        each = "effective draws of the slowest parameter a CPU second"
        whole = least / (found.warming + found.drawing)
        alone = least / found.drawing
        yield record.Figure("whole", f"{each}, NumPyro, {words}", whole, "", against=against, note=note)
        words_alone = f"{each}, NumPyro without warming up, {words}"
        yield record.Figure("drawing", words_alone, alone, "", against=against, note=note)

    return measured


if __name__ == "__main__":
    record.run(
        "posterior",
        __doc__,
        {
            "intercepts": speed("y ~ x + z + (1 | id)", "2,000 clusters of 10, random intercepts"),
            "slopes": speed("y ~ x + z + (x | id)", "2,000 clusters of 10, correlated slopes"),
        },
        long={f"calibration_{method}": calibration(method) for method in ("independence", "hamiltonian")}
        | {
            "numpyro_intercepts": beside(False, "2,000 clusters of 10, random intercepts"),
            "numpyro_slopes": beside(True, "2,000 clusters of 10, correlated slopes"),
        },
        sets=500,
    )
