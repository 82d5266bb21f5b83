"""Posteriors: simulation-based calibration, and what a draw costs.

Calibration (Talts and others 2018): parameters are drawn from the prior and data from the model at these; the rank of
each parameter among thinned draws from its posterior is then uniform. Chi-squared tests of ten bins say whether it is:
of a logit by each sampler, and of further models (`from_prior.py`). Of 68 p-values of the latter the least is to be
expected about .015. Kinds that draw alike draw the same random numbers, parameters and effects among them: their
p-values are low or high together.

    python benchmarks/posterior.py                  # what a draw costs
    python benchmarks/posterior.py --all            # and 500 data sets; NumPyro where it is installed
"""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import record
from from_prior import KINDS, PLAIN, Kind
from peers import numpyro
from scipy.special import expit
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, ClusterGLMWarning
from clusterglm.sample.diagnostics import worth
from clusterglm.sample.independence import LEAST_SHARE, WORST_TAIL

BINS = 10
RANKED = 99  # draws among which a parameter has a rank


@dataclass(frozen=True)
class Ranked:
    """Ranks of the true parameters among draws from a posterior, the sampler, and whether its proposals do for it."""

    ranks: dict[str, int]
    method: str
    enough: bool


def ranked(kind: Kind, seed: int, method: str) -> Ranked | None:
    """Of one data set; None without a fit to begin with, as with responses that are all alike."""
    truth, data = kind.draw(np.random.default_rng([17, seed]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClusterGLMWarning)
        try:
            fit = cg.random_effects(kind.formula, data, **kind.options)
        except ClusterGLMError:
            return None
        posterior = fit.sample(RANKED * kind.thinned, chains=1, prior=kind.prior, seed=seed, method=method)
    values, made = posterior.values[0, kind.thinned - 1 :: kind.thinned], posterior.sampler
    below = (values < np.array(list(truth.values()))).sum(axis=0)
    enough = made.tail <= WORST_TAIL and made.share >= LEAST_SHARE
    return Ranked(dict(zip(truth, below.tolist(), strict=True)), made.method, enough)


def calibration(
    kind: Kind, method: str, words: str, sets: str = "sets"
) -> Callable[[Namespace], Iterator[record.Figure]]:
    """Rank histograms of one kind of model and one sampler; `sets` names the option that says of how many data sets."""

    def measured(options: Namespace) -> Iterator[record.Figure]:
        number = getattr(options, sets)
        found = [each for each in (ranked(kind, seed, method) for seed in range(number)) if each is not None]
        taken = sum(each.method == "independence" for each in found)
        note = f"of {number}; {taken} by proposals, which did for {sum(each.enough for each in found)}"
        yield record.Figure("fits", f"data sets with a fit to begin with, {words}", len(found), "data sets", note=note)
        for name in found[0].ranks:
            ranks = np.array([each.ranks[name] for each in found])
            counts = np.bincount(ranks * BINS // (RANKED + 1), minlength=BINS)
            expected = len(ranks) / BINS
            p = float(chi2(BINS - 1).sf(((counts - expected) ** 2 / expected).sum()))
            said = f"ranks of the {name} among draws, {words}: p-value of their being uniform"
            note = f"{len(ranks)} data sets, counts {' '.join(map(str, counts))}"
            yield record.Figure(name, said, p, "", at_least=0.001, note=note)

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
        long={f"calibration_{way}": calibration(PLAIN, way, way) for way in ("independence", "hamiltonian")}
        | {
            f"calibration_{name}": calibration(kind, kind.method, kind.words, "further_sets")
            for name, kind in KINDS.items()
        }
        | {
            "numpyro_intercepts": beside(False, "2,000 clusters of 10, random intercepts"),
            "numpyro_slopes": beside(True, "2,000 clusters of 10, correlated slopes"),
        },
        sets=500,
        further_sets=150,
    )
