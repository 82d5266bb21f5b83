"""Averages over the random intercept, posterior modes and their derivatives, variances."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.inference.predictions.marginal_mean import MarginalLink, marginal_link
from clusterglm.inference.predictions.prediction import (
    LinkPrediction,
    PredictedIntercepts,
    given_clusters,
    on_scale,
    posterior_modes,
    with_interval,
)
from clusterglm.likelihood import reference
from clusterglm.likelihood.scalar.posterior import posterior_intercepts
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.model.distribution import Cauchy, Distribution, Gaussian, Logistic, StudentT
from clusterglm.model.family import response
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response
from clusterglm.results.models.random_effects import RandomEffectsResult

LOGIT, PROBIT, CLOGLOG = (response("binomial", link) for link in ("logit", "probit", "cloglog"))
COUNTS = response("poisson", "log")
BINOMIALS = [LOGIT, PROBIT, CLOGLOG]
DISTRIBUTIONS: list[Distribution] = [Gaussian(), Logistic(), Cauchy(), StudentT(3.0), StudentT(0.5)]


def name(value: object) -> str:
    return value.name if isinstance(value, Distribution) else value.link if isinstance(value, Response) else str(value)


each_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=name)
each_binomial = pytest.mark.parametrize("model", BINOMIALS, ids=name)


# Averages ------------------------------------------------------------------------------------------------------------


@each_distribution
@each_binomial
@pytest.mark.parametrize("sigma", [0.4, 2.5])
def test_marginal_means_are_those_of_a_million_draws(model: Response, distribution: Distribution, sigma: float) -> None:
    eta = np.array([-4.0, -0.7, 0.0, 1.3])
    z = distribution.rvs(np.random.default_rng(5), 1_000_000)
    at = np.clip(eta[:, None] + sigma * z, -700.0, 700.0)
    draws = model.mean(at)
    error = draws.std(axis=1) / 1e3
    found = marginal_link(eta, sigma, model, distribution)
    assert found.resolved.all()
    assert np.all(np.abs(model.mean(found.link) - draws.mean(axis=1)) < 4.0 * error)


@pytest.mark.parametrize(("distribution", "sigma"), [(Gaussian(), 0.8), (Logistic(), 0.3)])
def test_marginal_counts_are_those_of_a_million_draws(distribution: Distribution, sigma: float) -> None:
    factors = np.exp(sigma * distribution.rvs(np.random.default_rng(6), 1_000_000))
    found = np.exp(marginal_link(np.zeros(1), sigma, COUNTS, distribution).link[0])
    assert abs(found - factors.mean()) < 4.0 * factors.std() / 1e3


def exact(eta: float, sigma: float, model: Response, distribution: Distribution) -> tuple[float, float]:
    """Probabilities of success and failure: over the intercept's own density, in t = sinh(v) by very many points."""
    v, step = np.linspace(-40.0, 40.0, 800_001, retstep=True)
    t = np.sinh(v)
    one, zero = np.ones(1), np.zeros(1)
    with np.errstate(all="ignore"):
        log_weight = distribution.log_density(t)[0] + np.log(np.cosh(v))
        at = eta + sigma * t
        success, failure = (np.exp(model.value(at, *ab) + log_weight).sum() * step for ab in ((one, zero), (zero, one)))
    return float(success), float(failure)


@pytest.mark.parametrize(
    ("model", "distribution", "eta", "sigma"),
    [
        (LOGIT, Gaussian(), 1.5, 1.0),
        (LOGIT, Gaussian(), -40.0, 3.0),
        (LOGIT, Gaussian(), 35.0, 2.0),
        (LOGIT, Logistic(), -25.0, 0.5),
        (LOGIT, Cauchy(), -8.0, 0.5),
        (LOGIT, Cauchy(), 60.0, 0.01),
        (LOGIT, StudentT(3.0), 5.0, 20.0),
        (PROBIT, Logistic(), 3.0, 0.4),
        (PROBIT, Cauchy(), -6.0, 0.2),
        (PROBIT, StudentT(3.0), -7.5, 0.01),
        (CLOGLOG, Gaussian(), 2.0, 0.7),
        (CLOGLOG, Logistic(), -12.0, 1.5),
        (CLOGLOG, Cauchy(), 3.0, 1.0),
        (CLOGLOG, StudentT(3.0), 5.5, 0.05),
    ],
    ids=name,
)
def test_marginal_means_keep_relative_accuracy_in_both_tails(
    model: Response, distribution: Distribution, eta: float, sigma: float
) -> None:
    success, failure = exact(eta, sigma, model, distribution)
    assert success + failure == pytest.approx(1.0, abs=1e-12)
    found = marginal_link(np.array([eta]), sigma, model, distribution)
    one, zero = np.ones(1), np.zeros(1)
    got = [model.value(found.link, one, zero)[0], model.value(found.link, zero, one)[0]]
    np.testing.assert_allclose(np.exp(got), [success, failure], rtol=2e-10)


def test_closed_forms() -> None:
    eta, sigma = np.linspace(-9.0, 9.0, 7), 1.7
    # probit and Gaussian, against the quadrature of another distribution's path: StudentT of very many df
    root = np.sqrt(1.0 + sigma**2)
    found = marginal_link(eta, sigma, PROBIT, Gaussian())
    np.testing.assert_allclose(found.link, eta / root, rtol=1e-14)
    np.testing.assert_allclose(marginal_link(eta, sigma, PROBIT, StudentT(1e7)).link, eta / root, atol=1e-5)
    np.testing.assert_allclose(marginal_link(eta, sigma, COUNTS, Gaussian()).link, eta + 0.5 * sigma**2)
    sigma = 0.6
    counts = marginal_link(eta, sigma, COUNTS, Logistic())
    np.testing.assert_allclose(counts.link - eta, np.log(np.pi * sigma / np.sin(np.pi * sigma)), rtol=1e-12)
    # logit and logistic at sigma = 1: the distribution function of a sum of two logistic variables
    x = np.array([-20.0, -3.0, 0.5, 12.0])
    got = LOGIT.mean(marginal_link(x, 1.0, LOGIT, Logistic()).link)
    np.testing.assert_allclose(got, np.exp(x) * (np.expm1(x) - x) / np.expm1(x) ** 2, rtol=1e-11)


@pytest.mark.parametrize("sigma", [1e-6, 2e-4, 4e-4, 0.1, 0.99])
def test_moment_of_the_logistic_distribution(sigma: float) -> None:
    found = marginal_link(np.zeros(1), sigma, COUNTS, Logistic())
    with mp.workdps(40):
        angle = mp.pi * mp.mpf(sigma)
        want = float(mp.log(angle / mp.sin(angle))), float(1 / mp.mpf(sigma) - mp.pi / mp.tan(angle))
    np.testing.assert_allclose([found.link[0], found.by_sigma[0]], want, rtol=1e-8, atol=3e-16)


@pytest.mark.parametrize(
    ("distribution", "sigma"), [(Logistic(), 1.0), (Logistic(), 3.0), (Cauchy(), 1e-3), (StudentT(30.0), 0.1)]
)
def test_a_mean_that_does_not_exist_is_infinite(distribution: Distribution, sigma: float) -> None:
    found = marginal_link(np.array([-5.0, 0.0]), sigma, COUNTS, distribution)
    assert not found.exists
    assert np.isposinf(found.link).all()
    assert np.isnan(found.by_eta).all()
    assert np.isnan(found.by_sigma).all()


@pytest.mark.parametrize(
    ("model", "distribution"),
    [*((m, d) for m in BINOMIALS for d in DISTRIBUTIONS), (COUNTS, Gaussian()), (COUNTS, Logistic())],
    ids=name,
)
def test_slopes_are_those_of_the_link(model: Response, distribution: Distribution) -> None:
    eta, sigma, h = np.array([-5.0, -1.0, 0.2, 1.5]), 0.7, 1e-5

    def link(shift: float, wider: float) -> np.ndarray:
        return marginal_link(eta + shift, sigma + wider, model, distribution).link

    found = marginal_link(eta, sigma, model, distribution)
    np.testing.assert_allclose(found.by_eta, (link(h, 0.0) - link(-h, 0.0)) / (2 * h), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.by_sigma, (link(0.0, h) - link(0.0, -h)) / (2 * h), rtol=1e-6, atol=1e-8)


@each_binomial
@pytest.mark.parametrize(
    ("distribution", "sigma"), [(Gaussian(), 1.0), (Cauchy(), 0.02), (StudentT(3.0), 0.3)], ids=name
)
def test_many_rows_by_a_table(model: Response, distribution: Distribution, sigma: float) -> None:
    top = 4.0 if model is CLOGLOG else 9.0
    eta = np.random.default_rng(1).uniform(-9.0, top, 20_000)
    many = marginal_link(eta, sigma, model, distribution)
    few: MarginalLink = marginal_link(eta[:60], sigma, model, distribution)
    assert many.resolved.all()
    np.testing.assert_allclose(many.link[:60], few.link, atol=1e-10)
    np.testing.assert_allclose(many.by_eta[:60], few.by_eta, atol=1e-8)
    np.testing.assert_allclose(many.by_sigma[:60], few.by_sigma, atol=1e-7)


def test_what_float64_cannot_hold_is_not_resolved() -> None:
    found = marginal_link(np.array([10.0, 0.0]), 0.01, CLOGLOG, Gaussian())
    assert found.resolved.tolist() == [False, True]
    assert np.isposinf(found.link[0])


def test_no_rows_and_no_sigma() -> None:
    assert marginal_link(np.empty(0), 1.0, LOGIT, Gaussian()).link.shape == (0,)
    found = marginal_link(np.array([0.3]), 0.0, LOGIT, Cauchy())
    assert (found.link[0], found.by_eta[0], found.by_sigma[0]) == (0.3, 1.0, 0.0)


# Posterior modes -----------------------------------------------------------------------------------------------------

MODELS = [("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"), ("poisson", "log")]


def fitted(family: str, link: str, distribution: Any) -> RandomEffectsResult:
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"id": np.repeat(np.arange(25), 5), "x": rng.normal(size=125), "o": 0.2 * rng.normal(size=125)})
    model = response(family, link)
    eta = -0.3 + 0.8 * data.x + data.o + 0.9 * rng.normal(size=25)[data.id]
    data["y"] = model.simulate(rng, model.mean(eta.to_numpy()))
    data["w"] = rng.uniform(0.5, 2.0, 125)
    return cg.random_effects(
        "y ~ x + offset(o)", data, cluster="id", family=family, link=link, distribution=distribution, weights="w"
    )


@pytest.mark.parametrize(("family", "link"), MODELS)
@pytest.mark.parametrize("distribution", ["gaussian", "logistic", "cauchy", "student_t(4)"])
def test_modes_their_derivatives_and_variances(family: str, link: str, distribution: str) -> None:
    fit = fitted(family, link, distribution).fit
    data, theta = fit.data, fit.theta
    block = data.starts, data.X, data.a, data.b, data.offset
    found = posterior_modes(data, fit.response, fit.distribution, theta, fit.accurate_intercepts(data))

    def modes(at: np.ndarray) -> np.ndarray:
        s = reference.modes(*block, at, fit.response, fit.distribution, "density")
        return np.asarray(at[-1] * s)

    np.testing.assert_allclose(found.values, modes(theta), atol=1e-7)
    h = 1e-5
    for j, step in enumerate(np.eye(len(theta)) * h):
        change = (modes(theta + step) - modes(theta - step)) / (2 * h)
        np.testing.assert_allclose(found.derivatives[:, j], change, atol=2e-6)
    with np.errstate(over="ignore"):  # of moments that do not exist
        means, sds = reference.dense_intercepts(*block, theta, fit.response, fit.distribution, half_width=20.0)
        want = sds**2 + (means - found.values) ** 2
    known = np.isfinite(found.variances)
    assert known.all() or distribution == "cauchy"
    np.testing.assert_allclose(found.variances[known], want[known], rtol=1e-6)


def test_posterior_moments_do_not_depend_on_the_quadrature_of_the_fit() -> None:
    fit = fitted("binomial", "logit", "gaussian").fit
    laplace = posterior_intercepts(fit.data, fit.response, fit.distribution, fit.theta, single_rule(1), "normal")
    accurate = fit.accurate_intercepts(fit.data)
    found = posterior_modes(fit.data, fit.response, fit.distribution, fit.theta, accurate)
    _, sds = reference.dense_intercepts(
        fit.data.starts, fit.data.X, fit.data.a, fit.data.b, fit.data.offset, fit.theta, fit.response, fit.distribution
    )
    assert np.all(np.sqrt(found.variances) > 0.999 * sds)
    np.testing.assert_allclose(found.values, laplace.modes, atol=1e-8)


# Variances and scales ------------------------------------------------------------------------------------------------


def test_variance_of_rows() -> None:
    rng = np.random.default_rng(0)
    n, p, m = 70_000, 3, 11  # more than a block of rows
    X, slope, extra = rng.normal(size=(n, p)), rng.normal(size=n), rng.random(n)
    by_sigma, own, cluster = rng.normal(size=n), rng.normal(size=(m, p + 1)), rng.integers(0, m, n)
    half = rng.normal(size=(p + 1, p + 1))
    V = half @ half.T
    got = LinkPrediction(np.zeros(n), slope, extra, by_sigma, own, cluster).variance(X, V)
    some = [0, 1, 65_535, 65_536, n - 1]
    for i in some:
        gradient = np.append(slope[i] * X[i], by_sigma[i]) + own[cluster[i]]
        assert got[i] == pytest.approx(gradient @ V @ gradient + extra[i])
    known = random_intercept(p, state="held").zero_where_not_free(V)
    got = LinkPrediction(np.zeros(n), slope, extra, by_sigma, own, cluster).variance(X, known)
    for i in some:
        gradient = slope[i] * X[i] + own[cluster[i], :p]
        assert got[i] == pytest.approx(gradient @ V[:p, :p] @ gradient + extra[i])


def test_a_covariance_that_is_not_known_stays_unknown() -> None:
    V = np.full((2, 2), np.nan)
    assert np.isnan(LinkPrediction(np.zeros(1), np.ones(1), np.zeros(1)).variance(np.ones((1, 2)), V)).all()


def test_rows_that_are_not_wanted_stay_missing() -> None:
    known = PredictedIntercepts(np.array([2.0, -np.inf]), np.zeros((2, 1)), np.array([1.0, np.nan]))
    found = given_clusters(np.array([1.0, np.nan, 0.0]), np.array([0, 0, 1]), known)
    np.testing.assert_array_equal(found.estimate, [3.0, np.nan, -np.inf])


@pytest.mark.parametrize("model", [*BINOMIALS, COUNTS], ids=name)
def test_intervals_are_transformed_from_the_link(model: Response) -> None:
    link, variance = np.array([-1.0, 0.5, np.inf, -np.inf, np.nan]), np.array([0.25, 4.0, 1.0, np.nan, 1.0])
    on_link = with_interval("link", model, link, variance, 0.9)
    found = with_interval("response", model, link, variance, 0.9)
    np.testing.assert_allclose(found.low[:2], model.mean(on_link.low[:2]))
    np.testing.assert_allclose(found.high[:2], model.mean(on_link.high[:2]))
    np.testing.assert_allclose(found.std_error[:2], model.mean_derivative(link[:2]) * [0.5, 2.0])
    assert np.isnan(found.std_error[2:]).all()
    np.testing.assert_array_equal(found.estimate[3:], [0.0, np.nan])
    endless = with_interval("response", model, np.zeros(1), np.array([np.inf]), 0.9)
    assert (endless.low[0], endless.std_error[0]) == (0.0, np.inf)
    np.testing.assert_allclose(on_scale("ratio", model, link[:2])[0], np.exp(link[:2]))
