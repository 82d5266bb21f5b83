"""Draws given totals: against the conditional probabilities of all outcomes, and the bootstrap made of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, poisson

import clusterglm as cg
from clusterglm.inference.diagnostics.conditional_draws import ConditionalDraws


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_frequencies_of_all_outcomes(family: str) -> None:
    """A cluster of three rows, of which all outcomes with its total can be listed; its twins serve as replicates."""
    twins, size = 20_000, np.array([2, 1, 3])
    x, y = np.array([-1.0, 0.4, 0.9]), np.array([1, 1, 1])
    frame = pd.DataFrame(
        {"x": np.tile(x, twins), "y": np.tile(y, twins), "n": np.tile(size, twins), "id": np.arange(twins).repeat(3)}
    )
    beta = np.array([0.8])
    formula = "cbind(y, n - y) ~ x" if family == "binomial" else "y ~ x"
    fit = cg.conditional(formula, frame, cluster="id", family=family)
    drawn = ConditionalDraws(fit.data, fit.response, beta)(np.random.default_rng(3)).reshape(twins, 3)
    np.testing.assert_array_equal(drawn.sum(axis=1), 3)
    possible = np.array([k for k in product(range(4), repeat=3) if sum(k) == 3])
    if family == "binomial":
        possible = possible[(possible <= size).all(axis=1)]
        chance = binom.pmf(possible, size, 1.0 / (1.0 + np.exp(-beta * x))).prod(axis=1)
    else:
        chance = poisson.pmf(possible, np.exp(beta * x)).prod(axis=1)
    chance /= chance.sum()
    seen = np.array([(drawn == k).all(axis=1).sum() for k in possible])
    assert seen.sum() == twins
    assert np.abs((seen - twins * chance) / np.sqrt(twins * chance * (1.0 - chance))).max() < 4.0


def test_large_strata_and_certain_ones_end() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=4020), "id": np.arange(4020) // 2010})
    frame["y"] = rng.integers(0, 2, 4020)
    frame = pd.concat([frame, pd.DataFrame({"x": [0.0, 1.0], "id": 2, "y": 1})])
    simulated = cg.conditional("y ~ x", frame, cluster="id").simulate(2, seed=4)
    for column in simulated:
        np.testing.assert_array_equal(simulated[column].groupby(frame.id.to_numpy()).sum(), frame.groupby("id").y.sum())
    assert (simulated[0] != simulated[1]).any()


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_bootstrap_standard_errors(family: str) -> None:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"x": rng.normal(size=800), "id": np.arange(800) // 4})
    eta = 0.5 * frame.x + rng.normal(size=200)[frame.id]
    frame["y"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))) if family == "binomial" else rng.poisson(np.exp(eta))
    fit = cg.conditional("y ~ x", frame, cluster="id", family=family)
    boot = fit.bootstrap(300, seed=2)
    assert boot.failures == ()
    assert boot.std_error[0] == pytest.approx(fit.bse.x, rel=0.15)  # 4 Monte Carlo errors
    one, two = (fit.conf_int(method="bootstrap", n_boot=20, seed=5, n_jobs=jobs) for jobs in (1, 2))
    pd.testing.assert_frame_equal(one, two)
