"""NB1 and beta-binomial fits: exact maxima, boundaries, what follows a fit, and bad data in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, DataError, ResponseError
from clusterglm.model.family import with_own

GOLDEN = Path(__file__).parents[1] / "golden"
EXACT: dict[str, Any] = json.loads((GOLDEN / "own_kernels.json").read_text())
INSIDE = [name for name in EXACT if not EXACT[name].get("boundary", False)]


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "data" / EXACT[name]["csv"]).assign(
        **({"period": lambda d: d["period"].astype(str)} if name.startswith("cbpp") else {})
    )


def family_of(name: str) -> str:
    return "betabinomial" if "betabinomial" in name else "nbinom1"


def drawn(seed: int, spread: float = 2.0, sigma: float = 0.5, m: int = 60, n: int = 5) -> pd.DataFrame:
    """Counts of NB1 (alpha `spread`) and successes of 12 trials (phi 5 / `spread`); at 0, Poisson and binomial."""
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    eta = 0.4 + 0.5 * x + sigma * rng.normal(size=m)[cluster]
    mean, p = np.exp(eta), 1.0 / (1.0 + np.exp(-eta))
    if spread > 0.0:
        mean = rng.gamma(mean / spread, spread)
        p = rng.beta(p * 5.0 / spread, (1.0 - p) * 5.0 / spread)
    frame = {"count": rng.poisson(mean), "y": rng.binomial(12, p), "x": x, "id": cluster}
    return pd.DataFrame(frame).assign(f=lambda d: 12 - d.y, w=rng.integers(1, 4, m * n))


FORMULAS = {"negative_binomial1": "count ~ x", "beta_binomial": "cbind(y, f) ~ x"}


@pytest.fixture(scope="module", params=FORMULAS)
def fitted(request: pytest.FixtureRequest) -> Any:
    return cg.random_effects(FORMULAS[request.param], drawn(1), cluster="id", family=request.param)


@pytest.mark.parametrize("name", INSIDE)
def test_exact_maxima(name: str) -> None:
    """Of the exactly integrated likelihood, by other code, which has the logarithm of the own parameter."""
    exact = EXACT[name]
    fit = cg.random_effects(exact["formula"], table(name), family=family_of(name))
    assert fit.loglik == pytest.approx(exact["logLik"], abs=1e-7)
    assert (fit.n_obs, fit.n_clusters) == (exact["n"], exact["n_clusters"])
    own, se = float(fit.family_parameters.iloc[0]), np.sqrt(np.diag(fit.cov()))
    errors = np.array([*exact["se"].values()])
    ours = np.array([*fit.params, fit.sigma, np.log(own)])
    assert np.abs((ours - np.array([*exact["parameters"].values()])) / errors).max() < 1e-5
    assert np.append(se[:-1], se[-1] / own) == pytest.approx(errors, rel=1e-6)


@pytest.mark.parametrize("name", INSIDE)
def test_laplace_has_its_own_maximum_near_that_of_glmmtmb(name: str) -> None:
    exact = EXACT[name]
    fit = cg.random_effects(exact["formula"], table(name), family=family_of(name), quadrature="laplace")
    assert fit.loglik >= exact["laplace_logLik_at_exact_maximum"] - 1e-8
    assert fit.loglik == pytest.approx(exact["laplace_logLik"], abs=1e-5)


def test_no_variance_between_herds_beside_that_within_them() -> None:
    """A maximum on the boundary of the random intercepts, where the model is the pooled one."""
    exact = EXACT["cbpp_betabinomial_int"]
    fit = cg.random_effects(exact["formula"], table("cbpp_betabinomial_int"), family="betabinomial")
    assert fit.sigma == 0.0
    assert fit.loglik == pytest.approx(exact["logLik"], abs=1e-7)
    assert fit.loglik == fit.pooled.loglik
    ours = np.array([*fit.params, np.log(fit.family_parameters["phi"])])
    others = {key: value for key, value in exact["parameters"].items() if key != "L[1,1]"}
    errors = np.array([exact["se"][key] for key in others])
    assert np.abs((ours - np.array([*others.values()])) / errors).max() < 1e-3


@pytest.mark.parametrize("family", FORMULAS)
def test_without_more_dispersion_it_is_the_model_at_the_limit(family: str) -> None:
    limit = "binomial" if family == "beta_binomial" else "poisson"
    for seed in range(40):
        frame = drawn(seed, spread=0.0)
        fit = cg.random_effects(FORMULAS[family], frame, cluster="id", family=family)
        if fit.fit.own_state == "boundary":
            break
    one = cg.random_effects(FORMULAS[family], frame, cluster="id", family=limit)
    assert fit.family_parameters.iloc[0] == (np.inf if family == "beta_binomial" else 0.0)
    assert fit.loglik == one.loglik
    np.testing.assert_array_equal(fit.params, one.params)
    end = "phi = inf, the binomial model" if family == "beta_binomial" else "alpha = 0, the Poisson model"
    assert f"The maximum lies at {end}" in " ".join(str(fit).split())
    assert fit.dispersion_lr_test.statistic == 0.0
    assert fit.dispersion_lr_test.pvalue == 1.0
    with pytest.raises(ClusterGLMError, match="a profile where the maximum lies at"):
        fit.conf_int(method="profile")


@pytest.mark.parametrize(("family", "value"), [("negative_binomial1", 1.7), ("beta_binomial", 3.0)])
def test_probabilities_are_those_of_scipy(family: str, value: float) -> None:
    response = with_own(family)
    assert response is not None
    at = response.at(np.array([-np.log(value) if family == "beta_binomial" else np.log(value)]))
    rng = np.random.default_rng(3)
    eta, n = rng.normal(size=200), np.full(200, 9.0) if family == "beta_binomial" else np.ones(200)
    mean, one = at.mean(eta), np.ones(200)
    if family == "beta_binomial":
        y = rng.integers(0, 10, 200).astype(float)
        theirs = stats.betabinom(9, mean * value, (1.0 - mean) * value)
    else:
        y = rng.integers(0, 30, 200).astype(float)
        theirs = stats.nbinom(mean / value, 1.0 / (1.0 + value))
    a, b = at.rows(y, n, one)
    assert at.value(eta, a, b) + at.log_constants(y, n, one) == pytest.approx(theirs.logpmf(y), rel=1e-10, abs=1e-11)
    upto, above = at.tails(y, eta, n)
    assert upto == pytest.approx(theirs.cdf(y), rel=1e-9)
    assert above == pytest.approx(theirs.sf(y), rel=1e-9, abs=1e-14)
    variance = at.variance(mean) * n * at.overdispersion(a, b)
    assert variance == pytest.approx(theirs.var(), rel=1e-10)
    draws = at.simulate(np.random.default_rng(4), np.full(100_000, mean[0]), np.full(100_000, n[0]))
    assert draws.mean() == pytest.approx(theirs.mean()[0], rel=0.03)
    assert draws.var() == pytest.approx(theirs.var()[0], rel=0.05)
    grid = np.linspace(-30.0, 30.0, 6001)
    best = [at.value(grid, np.full(6001, k), np.full(6001, m)).max() for k, m in zip(a[:6], b[:6], strict=True)]
    assert at.saturated(a[:6], b[:6]) == pytest.approx(best, abs=1e-4)


def test_phi_of_1e8_is_the_binomial_distribution() -> None:
    response, rng = with_own("beta_binomial"), np.random.default_rng(0)
    assert response is not None
    at, eta, n = (
        response.at(np.array([-np.log(1e8)])),
        2.0 * rng.normal(size=300),
        rng.integers(1, 200, 300).astype(float),
    )
    y = rng.binomial(n.astype(int), 1.0 / (1.0 + np.exp(-eta))).astype(float)
    ours = at.value(eta, y, n - y) + at.log_constants(y, n, np.ones(300))
    assert ours == pytest.approx(stats.binom(n, 1.0 / (1.0 + np.exp(-eta))).logpmf(y), rel=1e-6)


def test_alpha_of_1e_8_is_the_poisson_distribution() -> None:
    response, rng = with_own("negative_binomial1"), np.random.default_rng(0)
    assert response is not None
    at, eta = response.at(np.log([1e-8])), rng.normal(size=300)
    y, one = rng.poisson(np.exp(eta)).astype(float), np.ones(300)
    ours = at.value(eta, y, one) + at.log_constants(y, one, one)
    assert ours == pytest.approx(stats.poisson(np.exp(eta)).logpmf(y), abs=1e-6)


def test_what_follows_a_fit(fitted: Any, tmp_path: Path) -> None:
    drawn_again = fitted.simulate(200, seed=2).to_numpy()
    trials = 12.0 if fitted.family == "beta_binomial" else 1.0
    assert drawn_again.mean() / trials == pytest.approx(fitted.predict(kind="marginal").mean(), rel=0.05)
    quantile = fitted.residuals("quantile", seed=1)
    assert abs(quantile.mean()) < 0.15
    assert quantile.std() == pytest.approx(1.0, abs=0.12)
    pearson = fitted.residuals("pearson")
    assert pearson.std() == pytest.approx(1.0, abs=0.2)
    assert np.isfinite(fitted.residuals("deviance")).all()
    assert fitted.deviance > 0.0
    assert np.isfinite(fitted.average_effects()[["estimate", "std_error"]]).all(axis=None)
    assert set(fitted.ratios()["kind"]) in ({"rate ratio", "rate"}, {"odds ratio", "odds"})
    ends = fitted.conf_int(method="profile")
    assert np.isfinite(ends).all(axis=None)
    own = ends.iloc[-1]
    assert own.iloc[0] < fitted.family_parameters.iloc[0] < own.iloc[1]
    assert np.isfinite(fitted.cov("robust")).all(axis=None)
    for fit in (fitted, fitted.pooled):
        fit.save(tmp_path / "fit.json")
        again = cg.load(tmp_path / "fit.json")
        assert str(again) == str(fit)
        assert again.predict().equals(fit.predict())
        assert again.residuals("quantile", seed=3).equals(fit.residuals("quantile", seed=3))


def test_modes_are_where_the_posterior_is_highest(fitted: Any) -> None:
    from scipy.optimize import minimize_scalar

    data, response = fitted.data, fitted.response
    rows = slice(data.starts[4], data.starts[5])
    eta = data.X[rows] @ fitted.params.to_numpy()

    def loss(b: float) -> float:
        return -float(
            response.value(eta + b, data.a[rows], data.b[rows]).sum() + stats.norm.logpdf(b, scale=fitted.sigma)
        )

    assert fitted.random_effects["mode"][4] == pytest.approx(minimize_scalar(loss, tol=1e-12).x, abs=1e-6)


def test_weights() -> None:
    frame = drawn(1)
    rows = frame.loc[frame.index.repeat(frame.w)]
    one = cg.random_effects("count ~ x", frame, cluster="id", weights="w", family="nbinom1")
    other = cg.random_effects("count ~ x", rows, cluster="id", family="nbinom1")
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    np.testing.assert_allclose(one.cov(), other.cov(), rtol=1e-4, atol=1e-8)
    with pytest.raises(DataError, match="no whole numbers"):
        cg.pooled("count ~ x", frame.assign(w=0.5), weights="w", family="nbinom1")
    with pytest.raises(DataError, match="weights= with family='beta_binomial'"):
        cg.pooled("cbind(y, f) ~ x", frame, weights="w", family="betabinomial")
    twice = cg.random_effects(
        "cbind(y, f) ~ x", frame.assign(v=2), cluster="id", cluster_weights="v", family="betabinomial"
    )
    once = cg.random_effects("cbind(y, f) ~ x", frame, cluster="id", family="betabinomial")
    assert twice.loglik == pytest.approx(2.0 * once.loglik, rel=1e-9)


def test_single_trials_say_nothing_of_phi() -> None:
    frame = drawn(1).assign(one=lambda d: (d.y > 6).astype(int))
    with pytest.raises(ResponseError, match="rows of a single trial each"):
        cg.random_effects("one ~ x", frame, cluster="id", family="beta_binomial")
