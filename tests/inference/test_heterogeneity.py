"""Heterogeneity of clusters: against quadrature, closed forms, published numbers and central differences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from clusterglm.inference.effects.heterogeneity import ScalarEstimate, difference_quantile, interval_ratio, median_ratio
from clusterglm.inference.effects.icc import correlation_with_interval, latent_correlation, response_correlation
from clusterglm.model.distribution import Cauchy, Distribution, Gaussian, Logistic, StudentT
from clusterglm.model.family import response
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

MODELS = tuple(response(*pair) for pair in (("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog")))
COUNTS = response("poisson", "log")
DISTRIBUTIONS: tuple[Distribution, ...] = (Gaussian(), Logistic(), StudentT(4.0), Cauchy())
EACH_MODEL = pytest.mark.parametrize("model", MODELS, ids=lambda m: m.link)
EACH_DISTRIBUTION = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda d: d.name)
COVARIANCE = np.array([[0.09, -0.02, 0.01, 0.01], [-0.02, 0.04, 0.0, 0.02], [0.01, 0.0, 0.05, 0.01], [0, 0, 0, 0.06]])
COVARIANCE[3] = COVARIANCE[:, 3]
BETA = np.array([-0.3, 0.8, -0.5])


def central(f: Callable[[float], Any], at: float, h: float = 1e-4) -> np.ndarray:
    """First derivative to the fourth order."""
    return (8.0 * (f(at + h) - f(at - h)) - (f(at + 2.0 * h) - f(at - 2.0 * h))) / (12.0 * h)


def gradient(f: Callable[[np.ndarray], Any], theta: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """Derivatives of f in each parameter, last axis."""
    columns = []
    for j in range(len(theta)):
        unit = np.eye(len(theta))[j]
        columns.append(central(lambda t, unit=unit: np.asarray(f(theta + t * unit)), 0.0, h))
    return np.stack(columns, axis=-1)


def over_intercepts(f: Callable[[float], float], distribution: Distribution) -> float:
    """E f(Z) by adaptive quadrature on the normal scale."""

    def integrand(s: float) -> float:
        return f(float(distribution.quantile_of_normal(np.array([s]))[0])) * norm.pdf(s)

    edges = np.linspace(-9.0, 9.0, 37)
    return float(sum(quad(integrand, *pair, epsabs=1e-14, epsrel=1e-11, limit=200)[0] for pair in pairwise(edges)))


# Median and interval ratios ---------------------------------------------------------------------------------------


def median(variance: float, se: float = 0.1, level: float = 0.95) -> ScalarEstimate:
    return median_ratio(np.sqrt(variance), se, Gaussian(), level, name="median odds ratio", fixed=False)


@pytest.mark.parametrize(
    ("variance", "digits", "published", "shown"),
    # R's GLMMmisc documents that a variance of 1.3 means a factor of 3; the others are median rate ratios of
    # Int. J. Health Geogr. 20:36 (2021), tables 3 and 4; all rounded
    [
        (1.3, 0.05, 3.0, 0.5),
        (0.016, 5e-4, 1.13, 5e-3),
        (0.009, 5e-4, 1.10, 5e-3),
        (0.005, 5e-4, 1.07, 5e-3),
        (0.007, 5e-4, 1.08, 5e-3),
        (0.023, 5e-4, 1.16, 5e-3),
        (0.012, 5e-4, 1.11, 5e-3),
    ],
)
def test_median_ratio_published(variance: float, digits: float, published: float, shown: float) -> None:
    low, high = (median(variance + side).estimate for side in (-digits, digits))
    assert low - shown <= published <= high + shown
    assert median(variance).estimate == pytest.approx(np.exp(0.9538726 * np.sqrt(variance)), rel=1e-7)


def test_median_ratio_interval() -> None:
    got = median(0.64, 0.2)
    c = np.sqrt(2.0) * norm.ppf(0.75)
    assert got.std_error == pytest.approx(central(lambda s: np.exp(c * s), 0.8) * 0.2)
    z = norm.ppf(0.975) * 0.25
    assert (got.conf_low, got.conf_high) == pytest.approx((np.exp(c * 0.8 * np.exp(-z)), np.exp(c * 0.8 * np.exp(z))))
    assert got.conf_low > 1.0
    assert "to" in str(got)
    boundary = median_ratio(0.0, np.nan, Gaussian(), 0.95, name="m", fixed=False)
    assert boundary.estimate == 1.0
    assert np.isnan([boundary.std_error, boundary.conf_low, boundary.conf_high]).all()
    assert "sigma = 0" in boundary.note
    held = median_ratio(0.8, np.nan, Gaussian(), 0.95, name="m", fixed=True)
    assert held.std_error == 0.0
    assert held.conf_low == pytest.approx(held.estimate)
    assert "held fixed" in held.note


@pytest.mark.parametrize("probability", [0.6, 0.75, 0.9, 0.99])
def test_quantiles_of_differences(probability: float) -> None:
    class SameButUnknown(Cauchy):
        code = "another"

    class Normal(Gaussian):
        code = "another"

    d = difference_quantile(Logistic(), probability)
    e = np.exp(-d)
    assert 1.0 / (1.0 - e) - d * e / (1.0 - e) ** 2 == pytest.approx(probability, rel=1e-10)  # its closed form
    assert difference_quantile(SameButUnknown(), probability) == pytest.approx(
        difference_quantile(Cauchy(), probability), rel=1e-9
    )
    assert difference_quantile(Normal(), probability) == pytest.approx(np.sqrt(2.0) * norm.ppf(probability), rel=1e-10)
    rng = np.random.default_rng(1)
    t = StudentT(3.0)
    drawn = t.rvs(rng, 400_000) - t.rvs(rng, 400_000)
    share = np.mean(drawn <= difference_quantile(t, probability))
    assert share == pytest.approx(probability, abs=4.0 * np.sqrt(0.25 / 400_000))


@EACH_DISTRIBUTION
def test_interval_ratio(distribution: Distribution) -> None:
    contrast, theta = np.array([0.0, 1.0, -2.0]), np.append(BETA, 0.7)
    q = difference_quantile(distribution, 0.9)

    def found(t: np.ndarray) -> Any:
        return interval_ratio(contrast, 0.8, t[:3], t[3], COVARIANCE, distribution, 0.95, fixed=False)

    got = found(theta)
    np.testing.assert_allclose(got.ends.estimate, np.exp(1.8 + np.array([-0.7, 0.7]) * q))
    np.testing.assert_allclose(got.gradient, gradient(lambda t: np.log(found(t).ends.estimate), theta), rtol=1e-8)
    se = np.sqrt(np.diag(got.gradient @ COVARIANCE @ got.gradient.T))
    np.testing.assert_allclose(got.ends.std_error, se * got.ends.estimate)
    rng = np.random.default_rng(6)
    ratios = 1.8 + 0.7 * (distribution.rvs(rng, 200_000) - distribution.rvs(rng, 200_000))
    low, high = np.log(got.ends.estimate)
    assert np.mean((ratios > low) & (ratios < high)) == pytest.approx(0.8, abs=0.004)
    assert np.mean(ratios < 0.0) == pytest.approx(got.opposed, abs=0.005)


def test_interval_ratio_without_spread() -> None:
    V = random_intercept(3, state="held").zero_where_not_free(COVARIANCE)
    contrast = np.array([0.0, 1.0, 0.0])
    at_zero = interval_ratio(contrast, 0.8, BETA, 0.0, V, Gaussian(), 0.95, fixed=False)
    np.testing.assert_allclose(at_zero.ends.estimate, np.exp(0.8))
    assert np.isnan(at_zero.ends.std_error).all()
    assert "sigma = 0" in at_zero.note
    held = interval_ratio(contrast, 0.8, BETA, 0.7, V, Gaussian(), 0.95, fixed=True)
    np.testing.assert_allclose(held.ends.std_error, held.ends.estimate * 0.2)
    assert at_zero.opposed == 0.0


# Intraclass correlation ------------------------------------------------------------------------------------------


@EACH_MODEL
@EACH_DISTRIBUTION
@pytest.mark.parametrize("eta", [-3.0, 0.4])
def test_response_correlation(model: Response, distribution: Distribution, eta: float) -> None:
    sigma = 0.9
    got = response_correlation(eta, sigma, model, distribution)

    def mean(z: float) -> float:
        return float(model.mean(np.array([eta + sigma * z]))[0])

    first = over_intercepts(mean, distribution)
    variance = over_intercepts(lambda z: (mean(z) - first) ** 2, distribution)
    assert got.value == pytest.approx(variance / (first * (1.0 - first)), rel=1e-7)
    by_eta = central(lambda t: response_correlation(t, sigma, model, distribution).value, eta, 1e-3)
    by_sigma = central(lambda t: response_correlation(eta, t, model, distribution).value, sigma, 1e-3)
    assert (got.by_eta, got.by_sigma) == pytest.approx((by_eta, by_sigma), rel=1e-6)


def test_response_correlation_of_counts() -> None:
    got = response_correlation(0.5, 0.7, COUNTS, Gaussian())
    mean = np.exp(0.5 + 0.245)  # Nakagawa, Johnson and Schielzeth 2017, lognormal: l^2 (e^s2 - 1) / (that + l)
    variance = mean**2 * np.expm1(0.49)
    assert got.value == pytest.approx(variance / (variance + mean), rel=1e-13)
    for distribution in (Gaussian(), Logistic()):
        at = response_correlation(0.5, 0.3, COUNTS, distribution)
        by_eta = central(lambda t, d=distribution: response_correlation(t, 0.3, COUNTS, d).value, 0.5)
        by_sigma = central(lambda t, d=distribution: response_correlation(0.5, t, COUNTS, d).value, 0.3)
        assert (at.by_eta, at.by_sigma) == pytest.approx((by_eta, by_sigma), rel=1e-8)
    heavy = response_correlation(0.5, 0.6, COUNTS, Logistic())  # 2 sigma > 1: no variance
    assert np.isnan(heavy.value)
    assert "variance" in heavy.reason


@EACH_MODEL
def test_response_correlation_of_a_large_sigma(model: Response) -> None:
    """Nearly all means are 0 or 1: 1 - r is E m (1 - m) / (M (1 - M)), where m (1 - m) fills a strip of 1 / sigma."""
    sigma = 1e3
    got = response_correlation(0.0, sigma, model, Gaussian()).value

    def strip(x: float) -> float:
        m = float(model.mean(np.array([x]))[0])
        return m * (1.0 - m) * norm.pdf(x / sigma) / sigma

    within = sum(quad(strip, *pair, epsabs=1e-16)[0] for pair in pairwise(np.linspace(-40.0, 40.0, 21)))
    mean = over_mean(model, sigma)
    assert 1.0 - got == pytest.approx(within / (mean * (1.0 - mean)), rel=1e-7)
    assert 0.0 < response_correlation(-2.0, 1.0, model, StudentT(0.7)).value < 1.0


def over_mean(model: Response, sigma: float) -> float:
    """E of the mean at a linear predictor of zero and a large sigma."""

    def integrand(x: float) -> float:
        return float(model.mean(np.array([x]))[0]) * norm.pdf(x / sigma) / sigma

    near = sum(quad(integrand, *pair, epsabs=1e-16)[0] for pair in pairwise(np.linspace(-40.0, 40.0, 21)))
    return float(near + norm.sf(40.0 / sigma))


def test_response_correlation_of_a_small_sigma() -> None:
    """Var m is nearly (sigma m')^2."""
    got = response_correlation(-1.0, 1e-5, MODELS[0], Gaussian())
    p = MODELS[0].mean(np.array([-1.0]))[0]
    assert got.value == pytest.approx(1e-10 * p * (1.0 - p), rel=1e-6)


def test_latent_correlation_interval() -> None:
    got = latent_correlation(MODELS[0], Gaussian(), 1.2, 0.3, 0.95, fixed=False)

    def rho(s: float) -> float:
        return s**2 / (s**2 + np.pi**2 / 3.0)

    assert got.estimate == pytest.approx(rho(1.2))
    assert got.std_error == pytest.approx(central(rho, 1.2) * 0.3, rel=1e-8)
    z = norm.ppf(0.975) * 0.3 / 1.2
    assert (got.conf_low, got.conf_high) == pytest.approx((rho(1.2 * np.exp(-z)), rho(1.2 * np.exp(z))))
    cauchy = latent_correlation(MODELS[0], Cauchy(), 1.2, 0.3, 0.95, fixed=False)
    assert np.isnan(cauchy.estimate)
    assert "variance" in cauchy.note
    counts = latent_correlation(COUNTS, Gaussian(), 1.2, 0.3, 0.95, fixed=False)
    assert np.isnan(counts.estimate)
    assert "latent" in counts.note
    zero = latent_correlation(MODELS[0], Gaussian(), 0.0, np.nan, 0.95, fixed=False)
    assert zero.estimate == 0.0
    assert np.isnan(zero.conf_high)
    assert latent_correlation(MODELS[0], Gaussian(), 0.0, np.nan, 0.95, fixed=True).conf_high == 0.0


def test_response_correlation_interval_is_the_delta_method() -> None:
    x, theta = np.array([1.0, 0.3, -0.2]), np.append(BETA, 0.9)

    def value(t: np.ndarray) -> float:
        return response_correlation(float(x @ t[:3]), t[3], MODELS[2], Logistic()).value

    at = response_correlation(float(x @ BETA), 0.9, MODELS[2], Logistic())
    got = correlation_with_interval(at, x, 0.9, COVARIANCE, 0.95, fixed=False)
    g = gradient(value, theta, 1e-3)
    assert got.std_error == pytest.approx(np.sqrt(g @ COVARIANCE @ g), rel=1e-6)
    assert 0.0 < got.conf_low < got.estimate < got.conf_high < 1.0
