"""Large data are fitted with the help of a sample of clusters: to the same maximum, whatever the sample is like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.data.clusters import spread_out
from clusterglm.data.tables.glance import step_through
from clusterglm.fit import sums
from clusterglm.fit.newton import maximize
from clusterglm.fit.surrogate import Surrogate
from clusterglm.likelihood.evaluation import Evaluation, core_problem
from clusterglm.likelihood.pooled import evaluate_pooled
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control
from clusterglm.model.large_data import SAMPLED_ONE_IN


def simulated(family: str, sigma: float, rare: str = "", clusters: int = 18_000) -> pd.DataFrame:
    """Clusters of 1 to 4; `rare` makes a level of 30 rows, "spread" or only "outside" the clusters of the sample."""
    rng = np.random.default_rng(7)
    ids = np.repeat(np.arange(clusters), rng.integers(1, 5, clusters))
    n = len(ids)
    data = pd.DataFrame({"id": ids, "x": rng.normal(size=n), "between": rng.normal(size=clusters)[ids]})
    eta = -0.4 + 0.5 * data["x"] + 0.3 * data["between"] + sigma * rng.normal(size=clusters)[ids]
    if rare:
        seen = spread_out(clusters, step_through(clusters, clusters // SAMPLED_ONE_IN))
        possible = np.flatnonzero(~np.isin(ids, seen)) if rare == "outside" else np.arange(n)
        data["level"] = np.isin(np.arange(n), rng.choice(possible, 30, replace=False)).astype(float)
        eta -= data["level"]
    if family == "poisson":
        return data.assign(y=rng.poisson(np.exp(0.5 * eta)))
    return data.assign(y=(rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int))


def fitted(data: pd.DataFrame, family: str, **options: Any) -> cg.RandomEffectsResult:
    formula = "y ~ x + between" + (" + level" if "level" in data else "")
    return cg.random_effects(formula, data, cluster="id", family=family, **options)


def decrement(there: Evaluation, free: slice) -> float:
    score, hessian = there.score[free], there.hessian[free, free]
    return float(np.sqrt(score @ np.linalg.solve(-hessian, score)))


@pytest.mark.parametrize(
    "options",
    [
        {"quadrature": 8},
        {"quadrature": "laplace"},
        {"quadrature": "auto"},
        {"quadrature": "auto", "distribution": "logistic"},
        {"quadrature": 8, "sigma": 0.6, "fix_sigma": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize("rare", ["", "spread"])
def test_what_is_returned_is_true_where_the_last_step_was_not_evaluated(
    family: str, rare: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = simulated(family, 0.9, rare)
    result = fitted(data, family, **options)
    fit = result.fit
    likelihood = fit.integrator.likelihood(fit.data.X, fit.data, fit.response)
    likelihood.evaluate(fit.theta, fit.plan)
    there = likelihood.evaluate(fit.theta, fit.plan)
    free = slice(None, -1) if fit.sigma_fixed else slice(None)
    assert result.converged
    assert decrement(there, free) < 1e-6
    assert there.value + fit.data.constant == pytest.approx(fit.loglik, abs=1e-6)
    covariance = np.linalg.inv(-there.hessian[free, free])
    np.testing.assert_allclose(np.diag(fit.covariance[free, free]), np.diag(covariance), rtol=4e-5)

    pooled = evaluate_pooled(core_problem(fit.data.X, fit.data, fit.response), fit.pooled.beta)
    assert decrement(pooled, slice(None)) < 1e-6

    monkeypatch.setattr(sums, "MANY_CLUSTERS", 10**9)
    without = fitted(data, family, **options)
    assert result.loglik == pytest.approx(without.loglik, abs=1e-6)
    np.testing.assert_allclose(result.params, without.params, rtol=1e-6, atol=1e-7)
    if not rare:
        assert result.optimization.evaluations <= without.optimization.evaluations


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_large_data_take_two_or_three_evaluations(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulated(family, 0.9, clusters=60_000)
    helped = fitted(data, family, quadrature=8)
    monkeypatch.setattr(sums, "MANY_CLUSTERS", 10**9)
    without = fitted(data, family, quadrature=8)
    assert helped.optimization.evaluations <= 3 < without.optimization.evaluations
    assert helped.pooled.optimization.evaluations <= 3
    assert helped.loglik == pytest.approx(without.loglik, abs=1e-6)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize("sigma", [0.0, 0.03, 4.0])
def test_a_sample_that_is_of_no_use_does_no_harm(family: str, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """No clustering, next to none or very much of it; and a level of which the sample has no row."""
    data = simulated(family, 0.5 * sigma if family == "poisson" else sigma, "outside")
    with_sample = fitted(data, family, quadrature=8)
    monkeypatch.setattr(sums, "MANY_CLUSTERS", 10**9)
    without = fitted(data, family, quadrature=8)
    assert with_sample.converged
    assert with_sample.loglik == pytest.approx(without.loglik, abs=1e-6)
    assert with_sample.sigma == pytest.approx(without.sigma, abs=1e-5)


@pytest.mark.parametrize("quadrature", [8, "auto"])
def test_what_an_interrupted_search_returns_is_true(quadrature: int | str) -> None:
    """It stops where fewer nodes and a sample stand in for the likelihood that was asked for."""
    control = cg.Control(progress=lambda step: False)
    with pytest.warns(cg.errors.ConvergenceWarning, match="stopped by the progress callback"):
        fit = fitted(simulated("binomial", 0.9), "binomial", quadrature=quadrature, control=control).fit
    assert fit.optimization.status == "interrupted"
    problem = core_problem(fit.data.X, fit.data, fit.response)
    likelihood = MarginalLikelihood(problem, fit.distribution, "normal")
    value = likelihood.evaluate(fit.theta, fit.plan, 0).value
    assert value + fit.data.constant == pytest.approx(fit.loglik, rel=1e-12)


def cubic(third: float) -> Any:
    """A log-likelihood with its maximum at 1, but for third derivatives of 1,000 observations' worth."""

    def evaluate(theta: Array) -> Evaluation:
        d = theta - 1.0
        value = -500.0 * d @ d + third * np.sum(np.sin(d) ** 3)
        slope = third * 3.0 * np.sin(d) ** 2 * np.cos(d)
        bend = third * (6.0 * np.sin(d) * np.cos(d) ** 2 - 3.0 * np.sin(d) ** 3)
        return Evaluation(float(value), -1000.0 * d + slope, np.diag(-1000.0 + bend))

    return evaluate


def test_a_good_surrogate_spares_evaluations() -> None:
    start = np.array([0.8, 1.3])
    plain = maximize(cubic(300.0), start, Control())
    helped = maximize(cubic(300.0), start, Control(), surrogate=Surrogate(cubic(300.0 * 1.02), 1.0, 625))
    assert helped.optimization.converged
    assert helped.optimization.evaluations < plain.optimization.evaluations
    np.testing.assert_allclose(helped.theta, 1.0, atol=1e-8)
    assert "a sample" in helped.optimization.message


@pytest.mark.parametrize("third", [-3000.0, 30_000.0, float("nan")])
def test_a_bad_surrogate_is_found_out(third: float) -> None:
    found = maximize(cubic(300.0), np.zeros(2), Control(), surrogate=Surrogate(cubic(third), 1.0, 625))
    assert found.optimization.converged
    np.testing.assert_allclose(found.theta, 1.0, atol=1e-8)


def test_blocks_on_disk_show_a_sample_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation that is spared is a pass over the files."""
    data = simulated("binomial", 0.9)
    path = tmp_path / "data.parquet"
    data.to_parquet(path)
    model: dict[str, Any] = {"cluster": "id", "family": "binomial", "quadrature": 8}
    streamed = cg.random_effects("y ~ x + between", path, engine=cg.engine.Stream(memory=2**21), **model)
    in_memory = cg.random_effects("y ~ x + between", data, **model)
    monkeypatch.setattr(sums, "MANY_CLUSTERS", 10**9)
    without = cg.random_effects("y ~ x + between", data, **model)
    assert in_memory.optimization.evaluations < without.optimization.evaluations
    assert streamed.optimization.evaluations < without.optimization.evaluations
    assert streamed.loglik == pytest.approx(in_memory.loglik, abs=1e-6)
    np.testing.assert_allclose(streamed.params, in_memory.params, rtol=1e-6)
    np.testing.assert_allclose(streamed.bse, in_memory.bse, rtol=2e-5)
