"""Gamma responses: the exact maximum, derivatives, limits, what follows a fit, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import gamma, kstest, norm

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import ClusterGLMError, OptionError, ResponseError
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, standardised
from clusterglm.likelihood.evaluation import OwnArrays
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import Cauchy, Gaussian, LogGamma
from clusterglm.model.family import with_own
from clusterglm.model.response.own.gamma import GammaLog, GammaRows

GOLDEN = Path(__file__).parents[1] / "golden"
EXACT: dict[str, Any] = json.loads((GOLDEN / "gamma.json").read_text())["sleepstudy_gamma_int"]


def drawn(shape: float = 2.0, sigma: float = 0.6, seed: int = 1, m: int = 40, n: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    mean = np.exp(0.3 + 0.5 * x + sigma * rng.normal(size=m)[cluster])
    return pd.DataFrame({"y": rng.gamma(shape, mean / shape), "x": x, "id": cluster, "w": rng.integers(1, 4, m * n)})


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects("y ~ x", drawn(), cluster="id", family="gamma")


def test_exact_maximum() -> None:
    """Of the exactly integrated likelihood, by other code."""
    data = pd.read_csv(GOLDEN / "data" / EXACT["csv"])
    fit = cg.random_effects(EXACT["formula"], data, family="gamma")
    assert fit.loglik == pytest.approx(EXACT["logLik"], abs=1e-6)
    assert (fit.n_obs, fit.n_clusters) == (EXACT["n"], EXACT["n_clusters"])
    shape, V = float(fit.family_parameters["shape"]), fit.cov().to_numpy()
    errors = np.array([*EXACT["se"].values()])
    ours = np.array([*fit.params, fit.sigma, np.log(shape)])
    assert np.abs((ours - np.array([*EXACT["parameters"].values()])) / errors).max() < 1e-4
    scale = np.array([1.0, 1.0, 1.0, shape])
    assert V / np.outer(scale, scale) == pytest.approx(np.array(EXACT["vcov"]), rel=1e-4, abs=1e-9)


def test_laplace_is_that_of_glmmtmb() -> None:
    data = pd.read_csv(GOLDEN / "data" / EXACT["csv"])
    fit = cg.random_effects(EXACT["formula"], data, family="gamma", quadrature="laplace")
    assert fit.loglik == pytest.approx(EXACT["laplace_logLik"], abs=1e-6)
    ours = np.array([*fit.params, fit.sigma, np.log(fit.family_parameters["shape"])])
    errors, theirs = np.array([*EXACT["se"].values()]), np.array([*EXACT["laplace_parameters"].values()])
    assert np.abs((ours - theirs) / errors).max() < 1e-3


def test_pooled_is_the_maximum_of_the_density() -> None:
    data = drawn()
    fit = cg.pooled("y ~ x", data, family="gamma")

    def loss(v: Any) -> float:
        shape = np.exp(v[2])
        return -float(gamma.logpdf(data["y"], shape, scale=np.exp(v[0] + v[1] * data["x"]) / shape).sum())

    found = minimize(loss, [0.3, 0.3, 0.2], method="BFGS", options={"gtol": 1e-7})
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-8)
    assert [*fit.params, np.log(fit.family_parameters["shape"])] == pytest.approx(found.x, abs=1e-5)


# The kernel -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 5, 1, 4, 5, 2), (70, 9), (300, 2, 40)])
@pytest.mark.parametrize("distribution", [Gaussian(), LogGamma(), Cauchy()])
@pytest.mark.parametrize("nodes", [1, 4, 25])
@pytest.mark.parametrize("far", [0.0, 400.0])
def test_derivatives_of_the_core_are_those_of_its_value(sizes: Any, distribution: Any, nodes: int, far: float) -> None:
    """In (beta, log(shape), sigma); `far` puts some rows where exp(eta) overflows, and the slow formulas in charge."""
    if nodes == 1 and isinstance(distribution, Cauchy):
        pytest.skip("clusters with two modes, between which differences jump")
    rng = np.random.default_rng(4)
    n, w = sum(sizes), rng.choice([1.0, 2.0, 0.5], sum(sizes))
    X, offset = rng.normal(size=(n, 2)), 0.3 * rng.normal(size=n) + far * (rng.random(n) < 0.1)
    y = rng.gamma(1.5, size=n) * np.exp(np.where(far > 0.0, offset, 0.0))
    starts, times = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), rng.choice([1.0, 3.0], len(sizes))
    integrator, plan, h = integrator_for(distribution, "normal"), (Part(Rule(nodes)),), 1e-4

    def at(theta: Any, scores: bool = False) -> Any:
        nu = np.exp(theta[2])
        arrays = OwnArrays(starts, nu * w, nu * w * y, offset, times, 1, np.zeros(n, dtype=np.int64))
        likelihood = integrator.likelihood(X, arrays, GammaRows(), 1)
        inner = theta[[0, 1, 3]]
        return likelihood.unit_scores(inner, plan) if scores else likelihood.evaluate(inner, plan)

    theta, order = np.array([0.4, -0.3, 0.5, 0.7]), [0, 1, 2, 3]
    here = at(theta)
    assert at(theta, scores=True).sum(axis=0) == pytest.approx(here.score, rel=1e-9, abs=1e-9)
    size = 1e-7 * (1.0 + abs(here.value)) / h if far > 0.0 else 0.0
    for k, move in enumerate(np.eye(4) * h):
        ahead, behind = at(theta + move), at(theta - move)
        j = order.index(k)
        assert here.score[j] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=2e-5 + size)
        assert here.hessian[j] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=2e-6, abs=2e-4 + size)


@pytest.mark.parametrize("x", [-40.0, -2.0, 0.0, 1.5, 90.0])
def test_rows_are_their_formula(x: float) -> None:
    a, b = 1.3, 2.1
    found = [float(each[0]) for each in GammaRows().derivatives(np.array([x]), np.array([a]), np.array([b]))]
    mpmath.mp.dps = 60
    exact = [float(mpmath.diff(lambda t: -a * t - b * mpmath.exp(-t), x, k)) for k in range(5)]
    assert found == pytest.approx(exact, rel=1e-12)
    response = GammaLog((1.0,))
    own = [float(each[0]) for each in response.own_derivatives(np.array([x]), np.array([a]), np.array([b]))]
    by = [
        float(mpmath.diff(lambda t, u: mpmath.exp(u) * (-a * t - b * mpmath.exp(-t)), (x, 0), order))
        for order in ((0, 1), (1, 1), (0, 2))
    ]
    assert own == pytest.approx(by, rel=1e-10)


def test_score_and_hessian_of_the_whole_likelihood() -> None:
    response = with_own("gamma")
    assert response is not None
    data = prepare("y ~ x", drawn(), Request(response.reads, cluster="id"))
    rows = OwnRows(standardised(data, response, Control()), response)
    likelihood, plan, h = OwnMarginal(rows, integrator_for(Gaussian(), "normal")), (Part(Rule(15)),), 1e-4
    for evaluate, theta in (
        (lambda at: likelihood.evaluate(at, plan), np.array([0.2, 0.4, 0.5, 0.6])),
        (rows.pooled, np.array([0.2, 0.4, 0.6])),
    ):
        at = evaluate(theta)
        for k, move in enumerate(np.eye(len(theta)) * h):
            ahead, behind = evaluate(theta + move), evaluate(theta - move)
            assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=1e-5)
            assert at.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=1e-5, abs=1e-4)


def test_of_shape_one_it_is_the_exponential_distribution() -> None:
    """Of events at all times: means in place of hazards, so that the linear predictor has its sign turned."""
    data = drawn(shape=1.0)
    exponential = cg.pooled("Surv(y) ~ x", data, family="exponential")
    y, n = data["y"].to_numpy(), len(data)
    eta = exponential.params.to_numpy() @ np.vstack([np.ones(n), data["x"]])
    response = GammaLog((1.0,))
    value = response.value(-eta, y, np.ones(n)) + response.log_constants(y, np.ones(n), np.ones(n))
    assert value.sum() == pytest.approx(exponential.loglik, rel=1e-13)


def test_an_intercept_with_a_direction(fit: Any) -> None:
    """A skewed distribution is not turned around: by a dense rule in the intercept itself."""
    data = drawn(seed=2)
    skewed = cg.random_effects("y ~ x", data, cluster="id", family="gamma", distribution="log_gamma")
    k, nu = 1.0 / skewed.sigma**2, float(skewed.family_parameters["shape"])
    beta, total = skewed.params.to_numpy(), 0.0
    for _, rows in data.groupby("id"):
        y, eta = rows["y"].to_numpy(), beta[0] + beta[1] * rows["x"].to_numpy()

        def integrand(v: float, y: Any = y, eta: Any = eta) -> float:
            log_p = gamma.logpdf(y, nu, scale=np.exp(eta + v) / nu).sum()
            return float(np.exp(log_p + gamma.logpdf(np.exp(v), k, scale=1.0 / k) + v))

        total += np.log(quad(integrand, -12.0, 5.0, points=[0.0], epsabs=0.0, epsrel=1e-10, limit=400)[0])
    assert skewed.loglik == pytest.approx(total, abs=1e-6)
    assert skewed.loglik != pytest.approx(fit.loglik, abs=1e-2)


# After the fit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_do_not_matter(fit: Any, factor: float) -> None:
    data = drawn()
    other = cg.random_effects("y ~ x", data.assign(y=factor * data["y"]), cluster="id", family="gamma")
    assert other.loglik == pytest.approx(fit.loglik - len(data) * np.log(factor), abs=1e-6)
    assert other.params["x"] == pytest.approx(fit.params["x"], abs=1e-6)
    assert other.bse["x"] == pytest.approx(fit.bse["x"], rel=1e-5)
    assert float(other.family_parameters["shape"]) == pytest.approx(float(fit.family_parameters["shape"]), rel=1e-6)


def test_weights_are_repeats_and_exposures_count() -> None:
    data = drawn()
    fit = cg.random_effects("y ~ x", data, cluster="id", family="gamma", weights="w")
    repeated = cg.random_effects("y ~ x", data.loc[data.index.repeat(data["w"])], cluster="id", family="gamma")
    assert fit.loglik == pytest.approx(repeated.loglik, abs=1e-7)
    assert fit.cov().to_numpy() == pytest.approx(repeated.cov().to_numpy(), rel=1e-4, abs=1e-7)
    assert fit.deviance == pytest.approx(repeated.deviance, abs=1e-6)
    double = cg.random_effects("y ~ x", data.assign(t=2.0), cluster="id", family="gamma", exposure="t")
    plain = cg.random_effects("y ~ x", data, cluster="id", family="gamma")
    assert double.params["(Intercept)"] == pytest.approx(plain.params["(Intercept)"] - np.log(2.0), abs=1e-6)


def test_predictions_and_ratios(fit: Any) -> None:
    new = pd.DataFrame({"x": [0.0, 1.0]})
    typical, marginal = fit.predict(new), fit.predict(new, "marginal", level=0.95)
    assert typical.to_numpy() == pytest.approx(np.exp(fit.params["(Intercept)"] + fit.params["x"] * new["x"]))
    assert marginal["estimate"].to_numpy() == pytest.approx(typical * np.exp(0.5 * fit.sigma**2))
    ratios = fit.ratios().set_index("term")
    assert ratios.loc["x", "kind"] == "ratio of means"
    assert ratios.loc["x", "estimate"] == pytest.approx(typical[1] / typical[0])
    table = fit.average_effects("x")
    assert np.isfinite(table["estimate"]).all()
    assert fit.icc == pytest.approx(
        fit.sigma**2 / (fit.sigma**2 + float(mpmath.psi(1, float(fit.family_parameters["shape"]))))
    )


def test_deviance_is_twice_what_is_lacking() -> None:
    data = drawn()
    fit = cg.pooled("y ~ x", data, family="gamma")
    mean, y, nu = fit.predict().to_numpy(), data["y"].to_numpy(), float(fit.family_parameters["shape"])
    assert fit.deviance == pytest.approx(2.0 * nu * np.sum(-np.log(y / mean) + (y - mean) / mean))


def test_profiles(fit: Any) -> None:
    profile, wald = fit.conf_int(method="profile"), fit.conf_int()
    assert profile.loc["shape"].to_numpy() == pytest.approx(wald.loc["shape"].to_numpy(), rel=0.05)
    response, beta = with_own("gamma"), fit.params.to_numpy()
    assert response is not None
    low = float(profile.loc["shape"].iloc[0])
    data = drawn()
    rows = OwnRows(
        standardised(prepare("y ~ x", data, Request(response.reads, cluster="id")), response, Control()), response
    )
    likelihood = OwnMarginal(rows, fit.fit.integrator)

    def loss(v: Any) -> float:
        at = likelihood.evaluate(rows.inside(v[:2], (v[2],), np.array([np.log(low)])), fit.fit.plan)
        return -at.value

    found = minimize(loss, [*beta, fit.sigma], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    assert fit.loglik + found.fun == pytest.approx(0.5 * 3.841458820694124, abs=1e-4)


def test_draws_and_residuals() -> None:
    data = drawn(m=300, n=4, seed=3)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="gamma")
    new = fit.simulate(1, seed=1)
    again = cg.random_effects("y ~ x", data.assign(y=new[0].to_numpy()), cluster="id", family="gamma")
    assert again.params["x"] == pytest.approx(fit.params["x"], abs=0.1)
    assert kstest(fit.residuals("quantile", "marginal", seed=1).iloc[::4], "norm").pvalue > 0.01
    assert kstest(fit.residuals("simulated", seed=1).iloc[::4], "uniform").pvalue > 0.01
    pooled = cg.pooled("y ~ x", data, family="gamma")
    y, nu = data["y"], float(pooled.family_parameters["shape"])
    exact = norm.ppf(gamma.cdf(y, nu, scale=pooled.predict() / nu))
    assert pooled.residuals("quantile").to_numpy() == pytest.approx(exact, abs=1e-9)
    pearson = (y - pooled.predict()) / pooled.predict() * np.sqrt(nu)
    assert pooled.residuals("pearson").to_numpy() == pytest.approx(pearson)
    moments = fit.residuals("pearson", "marginal")
    first, second = np.exp(0.5 * fit.sigma**2), np.exp(2.0 * fit.sigma**2)
    mean, shape = fit.predict() * first, float(fit.family_parameters["shape"])
    variance = fit.predict() ** 2 * (second - first**2 + second / shape)
    assert moments.to_numpy() == pytest.approx((y - mean) / np.sqrt(variance))


def test_saved_loaded_compared_and_shown(fit: Any, tmp_path: Path) -> None:
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert again.predict(kind="conditional").equals(fit.predict(kind="conditional"))
    assert "shape" in set(fit.tidy()["term"])
    fit.report(tmp_path / "page.html")
    data = drawn()
    other = cg.random_effects("y ~ x", data, cluster="id", family="gaussian")
    times = cg.random_effects("Surv(y) ~ x", data, cluster="id", family="weibull")
    for rival in (other, times):  # densities of the same responses
        table = cg.compare({"gamma": fit, "rival": rival}).to_frame()
        assert table["aic"].to_list() == pytest.approx([fit.aic, rival.aic])
    counts = cg.random_effects("k ~ x", data.assign(k=1), cluster="id", family="poisson", sigma=0.1, fix_sigma=True)
    with pytest.raises(ClusterGLMError):
        cg.compare(counts, fit)


def test_bootstrap(fit: Any) -> None:
    assert np.isfinite(fit.bootstrap(n_boot=4, seed=1).replicates).all()


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "the response 'y' is 0 in row 3"), (-2.0, "positive numbers for family='gamma'")]
)
def test_responses_that_are_not_positive(value: float, words: str) -> None:
    data = drawn()
    data.loc[3, "y"] = value
    with pytest.raises(ResponseError, match=words):
        cg.pooled("y ~ x", data, family="gamma")


def test_refusals(fit: Any) -> None:
    with pytest.raises(OptionError, match="a test of the dispersion with family='gamma'"):
        _ = fit.dispersion_lr_test
    with pytest.raises(ClusterGLMError, match="parameters of its own"):
        cg.fixed_effects("y ~ x", drawn(), cluster="id", family="gamma")
    with pytest.raises(ResponseError, match="shape grew"):
        cg.pooled("y ~ 1", pd.DataFrame({"y": np.full(9, 2.5)}), family="gamma")
