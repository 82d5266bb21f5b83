"""Functions of arrays: tests, intervals, sandwiches, residuals."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.special import expit

from clusterglm.errors import ClusterError, OptionError
from clusterglm.inference.diagnostics.residuals import residuals
from clusterglm.inference.effects.icc import intraclass_correlation
from clusterglm.inference.hypotheses.clustering import likelihood_ratio, no_test
from clusterglm.inference.uncertainty.covariance import sandwich
from clusterglm.inference.uncertainty.intervals import wald_interval, wald_interval_of_scale, wald_p_values
from clusterglm.model.family import response


def test_p_value_of_the_boundary_test_is_half_that_of_chi_square() -> None:
    test = likelihood_ratio(-10.0, -10.0 - 0.5 * 2.705543454095404)  # the 90% point of chi-square on one df
    assert test.statistic == pytest.approx(2.705543454095404)
    assert test.pvalue == pytest.approx(0.05, rel=1e-12)
    assert "half chi2" in str(test)


@pytest.mark.parametrize("difference", [0.0, -1e-12])
def test_no_improvement_has_p_value_one(difference: float) -> None:
    test = likelihood_ratio(-10.0 + difference, -10.0)
    assert (test.statistic, test.pvalue) == (0.0, 1.0)


def test_a_test_that_makes_no_sense_says_why() -> None:
    assert str(no_test("sigma was held fixed")) == "no test: sigma was held fixed"


def test_wald_p_values_far_in_the_tail() -> None:
    p = wald_p_values(np.array([0.0, -1.959963984540054, 1.959963984540054, 30.0, np.nan]))
    np.testing.assert_allclose(p, [1.0, 0.05, 0.05, float(mpmath.erfc(30 / mpmath.sqrt(2))), np.nan], rtol=1e-12)


def test_wald_interval() -> None:
    low, high = wald_interval(np.array([1.0, 0.0]), np.array([0.5, 2.0]), 0.9)
    np.testing.assert_allclose(low, [1.0 - 0.5 * 1.6448536269514722, -2.0 * 1.6448536269514722])
    np.testing.assert_allclose(high - low, 2.0 * 1.6448536269514722 * np.array([0.5, 2.0]))


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.1, "0.95", True, np.nan])
def test_level_out_of_range(level: object) -> None:
    with pytest.raises(OptionError, match="level="):
        wald_interval(np.ones(1), np.ones(1), level)  # type: ignore[arg-type]


def test_interval_of_a_scale_stays_positive() -> None:
    low, high = wald_interval_of_scale(0.4, 0.3)
    assert 0.0 < low < 0.4 < high
    assert low * high == pytest.approx(0.16)
    assert np.isnan(wald_interval_of_scale(0.0, np.nan)).all()


@pytest.mark.parametrize(
    ("family", "link", "latent"),
    [("binomial", "logit", np.pi**2 / 3), ("binomial", "probit", 1.0), ("binomial", "cloglog", np.pi**2 / 6)],
)
def test_icc_on_the_latent_scale(family: str, link: str, latent: float) -> None:
    found = intraclass_correlation(response(family, link), 1.5)
    assert found.value == pytest.approx(2.25 / (2.25 + latent))
    assert found.reason == ""


def test_icc_without_variance_or_latent_scale() -> None:
    infinite = intraclass_correlation(response("binomial"), np.inf)
    assert infinite.value is not None
    assert np.isnan(infinite.value)
    assert "finite variance" in infinite.reason
    counts = intraclass_correlation(response("poisson"), 1.0)
    assert counts.value is None
    assert "latent" in counts.reason


def test_sandwich() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(7, 3))
    bread = np.linalg.inv(scores.T @ scores + np.eye(3))
    meat = sum(np.outer(g, g) for g in scores)
    np.testing.assert_allclose(sandwich(bread, scores, np.ones(len(scores))), 7 / 6 * bread @ meat @ bread, rtol=1e-12)
    with pytest.raises(ClusterError, match="single cluster"):
        sandwich(bread, scores[:1], np.ones(1))


@pytest.mark.parametrize(
    ("family", "link"),
    [("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"), ("poisson", "log")],
)
def test_squared_deviance_residuals_are_the_deviance(family: str, link: str) -> None:
    model = response(family, link)
    rng = np.random.default_rng(2)
    eta = rng.normal(size=30)
    a, b = rng.integers(0, 5, 30).astype(float), rng.integers(1, 5, 30).astype(float)
    found = residuals("deviance", model, eta, a, b)
    lack = model.saturated(a, b) - model.value(eta, a, b)
    np.testing.assert_allclose(found**2, 2.0 * lack, atol=1e-12)
    np.testing.assert_array_equal(np.sign(found), np.sign(residuals("response", model, eta, a, b)))


def test_pearson_residuals() -> None:
    eta = np.array([0.3, -1.0, 40.0, 40.0])
    a, b = np.array([2.0, 0.0, 3.0, 0.0]), np.array([3.0, 1.0, 0.0, 2.0])
    mu = expit(eta[:2])
    expected = (np.array([0.4, 0.0]) - mu) / np.sqrt(mu * (1 - mu) / np.array([5.0, 1.0]))
    found = residuals("pearson", response("binomial"), eta, a, b)
    np.testing.assert_allclose(found[:2], expected)
    assert found[2] == 0.0  # the mean rounds to 1, and so is the observation
    assert found[3] == -np.inf
