"""Residuals, dispersion, influence and calibration as functions of arrays: against scipy.stats, mpmath, brute force."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom, kstest, norm, poisson
from statsmodels.stats.proportion import proportion_confint

from clusterglm.errors import OptionError
from clusterglm.inference.diagnostics.adequacy import Diagnosis, Finding, of_dispersion
from clusterglm.inference.diagnostics.calibration import grouped, score_interval
from clusterglm.inference.diagnostics.dispersion import against_simulations
from clusterglm.inference.diagnostics.quantile_residuals import (
    conditional_ends,
    marginal_ends,
    over_intercepts,
    randomised,
    simulated,
    uniformity,
)
from clusterglm.inference.diagnostics.residuals import log_moment, marginal_moments, marginal_residuals
from clusterglm.inference.uncertainty.replicates import ReplicateError
from clusterglm.model.distribution import UserDistribution, cauchy, gaussian, logistic
from clusterglm.model.distribution.base import Distribution
from clusterglm.model.family import response

GAUSSIAN, LOGISTIC, CAUCHY = gaussian.Gaussian(), logistic.Logistic(), cauchy.Cauchy()
LINKS = ("logit", "probit", "cloglog")
EACH_LINK = pytest.mark.parametrize("link", LINKS)
EACH_DISTRIBUTION = pytest.mark.parametrize("distribution", [GAUSSIAN, LOGISTIC, CAUCHY], ids=lambda d: d.name)


# Distribution functions of responses ---------------------------------------------------------------------------------


@EACH_LINK
def test_tails_of_a_binomial(link: str) -> None:
    model = response("binomial", link)
    trials = np.array([1.0, 2.0, 7.0, 30.0])[:, None, None]
    y = np.minimum(np.arange(-1.0, 31.0), trials)
    eta = np.array([-3.0, -0.4, 0.9])[:, None]
    lower, upper = model.tails(y, eta, trials)
    np.testing.assert_allclose(lower, binom.cdf(y, trials, model.mean(eta)), rtol=1e-12)
    np.testing.assert_allclose(upper, binom.sf(y, trials, model.mean(eta)), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("eta", [-60.0, 60.0])
def test_tails_of_a_binomial_far_out(eta: float) -> None:
    """One success fewer (or more) than certain: 1 - p is not lost where p rounds to 1."""
    with mp.workdps(60):
        p = 1 / (1 + mp.exp(-mp.mpf(eta)))
        want = [float((1 - p) ** 3), float(1 - p**3)]  # P(no success), P(a failure) in three trials
    zero, full = (response("binomial").tails(np.array([y]), np.array([eta]), np.array([3.0])) for y in (0.0, 2.0))
    np.testing.assert_allclose([zero[0][0], full[0][0]], want, rtol=1e-12)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_tails_at_infinite_predictors(family: str) -> None:
    model = response(family)
    lower, upper = model.tails(np.array([-1.0, 0.0, 2.0]), np.full(3, -np.inf), np.full(3, 3.0))
    np.testing.assert_array_equal([lower, upper], [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    lower, upper = model.tails(np.array([0.0, 2.0, 3.0]), np.full(3, np.inf), np.full(3, 3.0))
    certain = 1.0 if family == "binomial" else 0.0
    np.testing.assert_array_equal([lower, upper], [[0.0, 0.0, certain], [1.0, 1.0, 1.0 - certain]])


def test_tails_of_a_poisson_variable() -> None:
    y, eta = np.arange(-1.0, 200.0), np.array([-5.0, 0.0, 4.0])[:, None]
    lower, upper = response("poisson").tails(y, eta, np.ones(1))
    np.testing.assert_allclose(lower, poisson.cdf(y, np.exp(eta)), rtol=1e-10)
    np.testing.assert_allclose(upper, poisson.sf(y, np.exp(eta)), rtol=1e-10, atol=1e-300)


def test_variance_is_that_of_the_distribution() -> None:
    mean = np.array([0.01, 0.3, 0.9])
    np.testing.assert_allclose(response("binomial").variance(mean), binom.var(1, mean))
    np.testing.assert_allclose(response("poisson").variance(mean), poisson.var(mean))


# Quantile residuals --------------------------------------------------------------------------------------------------


def test_residual_lies_between_the_ends() -> None:
    y, trials = np.array([0.0, 1.0, 2.0, 3.0]), np.full(4, 3.0)
    ends = conditional_ends(response("binomial"), y, np.full(4, 0.4), trials)
    cdf = binom.cdf(np.arange(-1, 4), 3, expit(0.4))
    for seed in range(50):
        u = ndtr(randomised(ends, np.random.default_rng(seed)))
        assert (cdf[:-1] <= u).all()
        assert (u <= cdf[1:]).all()
    u = ndtr(randomised(ends, np.random.default_rng(3)))
    v = np.random.default_rng(3).random(4)
    np.testing.assert_allclose(u, cdf[:-1] + v * np.diff(cdf), rtol=1e-12)


def test_residuals_far_out_in_either_tail() -> None:
    """Where the distribution function rounds to 1."""
    y, mean = np.array([100.0, 0.0]), np.array([1.0, 300.0])
    z = randomised(conditional_ends(response("poisson"), y, np.log(mean), np.ones(2)), np.random.default_rng(0))
    assert -norm.isf(poisson.sf(100, 1.0)) < z[0] * -1 < -norm.isf(poisson.sf(99, 1.0))
    assert z[1] < norm.ppf(np.exp(-300.0))
    assert np.isfinite(z).all()


def test_a_response_that_was_certain_has_no_residual() -> None:
    y, eta = np.array([0.0, 2.0, 1.0]), np.array([-np.inf, np.inf, 0.3])
    z = randomised(conditional_ends(response("binomial"), y, eta, np.full(3, 2.0)), np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(z), [True, True, False])


@pytest.mark.parametrize(("family", "link"), [*(("binomial", link) for link in LINKS), ("poisson", "log")])
def test_quantile_residuals_are_standard_normal(family: str, link: str) -> None:
    rng, model = np.random.default_rng(5), response(family, link)
    eta, trials = rng.normal(size=4000) - 0.3, rng.integers(1, 6, 4000).astype(float)
    y = model.simulate(rng, model.mean(eta), trials)
    z = randomised(conditional_ends(model, y, eta, trials), np.random.default_rng(1))
    assert kstest(z, "norm").pvalue > 0.01
    assert kstest(randomised(conditional_ends(model, y, eta + 0.3, trials), rng), "norm").pvalue < 1e-4


def brute(function: Any, distribution: Distribution, sigma: float) -> float:
    pieces = np.linspace(-9.0, 9.0, 37)
    return sum(
        quad(
            lambda s: float(function(sigma * distribution.quantile_of_normal(np.array(s)))) * norm.pdf(s),
            low,
            high,
            epsabs=1e-13,
            epsrel=1e-11,
            limit=500,
        )[0]
        for low, high in pairwise(pieces)
    )


@EACH_DISTRIBUTION
@pytest.mark.parametrize("sigma", [0.4, 3.0])
def test_marginal_ends_are_integrals(distribution: Distribution, sigma: float) -> None:
    y, eta, trials = np.array([2.0, 0.0, 5.0]), np.array([0.3, -1.0, 0.5]), np.array([5.0, 1.0, 5.0])
    ends = marginal_ends(response("binomial"), y, eta, trials, distribution, sigma)
    assert ends.unresolved == 0
    for k in range(3):
        for got, at in ((ends.upto, y[k]), (ends.below, y[k] - 1.0)):
            want = brute(lambda u, k=k, at=at: binom.cdf(at, trials[k], expit(eta[k] + u)), distribution, sigma)
            assert got[k] == pytest.approx(want, abs=3e-10)
    np.testing.assert_allclose(ends.upto + ends.above, 1.0, atol=1e-9)
    counts = marginal_ends(response("poisson"), np.array([4.0]), np.array([1.0]), np.ones(1), distribution, sigma)
    want = brute(lambda u: poisson.cdf(4, np.exp(min(1.0 + u, 600.0))), distribution, sigma)
    assert counts.upto[0] == pytest.approx(want, abs=3e-10)


def test_marginal_ends_of_large_counts_settle() -> None:
    """A distribution function that is nearly a step in the intercept."""
    y, eta = np.array([9000.0]), np.log([10_000.0])
    ends = marginal_ends(response("poisson"), y, eta, np.ones(1), GAUSSIAN, 0.5)
    assert ends.unresolved == 0
    assert ends.upto[0] == pytest.approx(ndtr(np.log(0.9) / 0.5), abs=1e-3)


def test_no_intercept_no_integral() -> None:
    y, eta, trials = np.array([1.0, 0.0]), np.array([0.2, 1.0]), np.array([3.0, 1.0])
    got = marginal_ends(response("binomial"), y, eta, trials, CAUCHY, 0.0)
    want = conditional_ends(response("binomial"), y, eta, trials)
    np.testing.assert_allclose([got.below, got.upto, got.above], [want.below, want.upto, want.above], rtol=1e-14)


def test_averages_that_do_not_settle_are_counted() -> None:
    def step(rows: np.ndarray, shift: np.ndarray) -> np.ndarray:
        sharp = (shift > 0.1234567) & (rows[:, None] > 0)
        return np.stack([sharp.astype(float)])

    values, unresolved = over_intercepts(step, 3, GAUSSIAN, 1.0)
    assert unresolved == 2
    np.testing.assert_allclose(values[0], [0.0, *[ndtr(-0.1234567)] * 2], atol=1e-3)


def logistic_quantile(p: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(p) - np.log1p(-p))


def test_exponential_moments() -> None:
    mine = UserDistribution("logistic of mine", logistic_quantile)  # without a closed form
    for t in (0.1, 0.5):
        assert log_moment(GAUSSIAN, 2, t)[0] == pytest.approx(2.0 * t * t, rel=1e-11)
        assert log_moment(LOGISTIC, 1, t)[0] == pytest.approx(np.log(np.pi * t / np.sin(np.pi * t)), rel=1e-11)
        assert log_moment(mine, 1, t) == pytest.approx(log_moment(LOGISTIC, 1, t), rel=1e-6)
    assert log_moment(LOGISTIC, 1, 1.0)[0] == log_moment(mine, 1, 1.0)[0] == np.inf
    assert log_moment(CAUCHY, 1, 0.01)[0] == np.inf
    assert np.isnan(log_moment(mine, 1, 0.995)[0])


@EACH_DISTRIBUTION
def test_marginal_moments(distribution: Distribution) -> None:
    eta = np.array([-1.0, 0.7])
    got = marginal_moments(response("binomial"), eta, distribution, 1.3)
    for k in range(2):
        mean = brute(lambda u, k=k: expit(eta[k] + u), distribution, 1.3)
        square = brute(lambda u, k=k: expit(eta[k] + u) ** 2, distribution, 1.3)
        want = [mean, square - mean**2, mean - square]
        np.testing.assert_allclose([got.mean[k], got.between[k], got.within[k]], want, atol=1e-9)


def test_marginal_moments_of_counts() -> None:
    got = marginal_moments(response("poisson"), np.array([0.4]), GAUSSIAN, 0.8)
    mean = np.exp(0.4 + 0.32)
    np.testing.assert_allclose([got.mean[0], got.within[0]], mean, rtol=1e-11)
    np.testing.assert_allclose(got.between, mean**2 * np.expm1(0.64), rtol=1e-10)
    assert np.isinf(marginal_moments(response("poisson"), np.array([0.4]), CAUCHY, 0.8).mean).all()


def test_marginal_residuals_need_moments() -> None:
    model, count, one = response("poisson"), np.array([2.0]), np.ones(1)
    light, heavy = (marginal_moments(model, np.zeros(1), LOGISTIC, sigma) for sigma in (0.7, 1.2))
    mean = 0.7 * np.pi / np.sin(0.7 * np.pi)
    np.testing.assert_allclose(marginal_residuals("response", model, light, count, one), 2.0 - mean, rtol=1e-8)
    for kind, moments in (("pearson", light), ("response", heavy)):  # a mean without a variance; no mean
        with pytest.raises(OptionError, match="1 rows whose moments do not exist"):
            marginal_residuals(kind, model, moments, count, one)
    normal = marginal_moments(model, np.zeros(1), GAUSSIAN, 0.7)
    variance = normal.between + normal.mean / 4.0
    found = marginal_residuals("pearson", model, normal, 4.0 * count, 4.0 * one)
    np.testing.assert_allclose(found, (2.0 - np.exp(0.245)) / np.sqrt(variance), rtol=1e-10)


# Simulated residuals and tests ---------------------------------------------------------------------------------------


def test_ranks_among_simulations_are_uniform() -> None:
    rng = np.random.default_rng(8)
    y = rng.poisson(1.5, 3000).astype(float)
    u = simulated(y, lambda g: g.poisson(1.5, 3000).astype(float), 19, rng)
    assert ((u > 0.0) & (u < 1.0)).all()
    assert kstest(u, "uniform").pvalue > 0.01
    assert kstest(simulated(y + 1.0, lambda g: g.poisson(1.5, 3000).astype(float), 19, rng), "uniform").pvalue < 1e-6


def test_ranks_count_smaller_and_equal_responses() -> None:
    draws = iter([np.array([0.0, 5.0]), np.array([1.0, 5.0]), np.array([3.0, 5.0])])
    u = simulated(np.array([1.0, 5.0]), lambda g: next(draws), 3, np.random.default_rng(2))
    v = np.random.default_rng(2).random(2)
    np.testing.assert_allclose(u, [(1.0 + 2.0 * v[0]) / 4.0, 4.0 * v[1] / 4.0])


@pytest.mark.parametrize("n", [1, 2, 12, 60, 100, 101, 2000])
@pytest.mark.parametrize("power", [0.7, 1.1, 2.0])
def test_kolmogorov_smirnov(n: int, power: float) -> None:
    u = np.random.default_rng(n).random(n) ** power
    got, want = uniformity(np.append(u, np.nan)), kstest(u, "uniform")
    assert got.n == n
    assert got.statistic == pytest.approx(want.statistic, rel=1e-12)
    assert got.pvalue == pytest.approx(want.pvalue, abs=1e-9 if n <= 100 and want.pvalue > 1e-6 else 2e-4)


def test_uniformity_of_nothing() -> None:
    assert np.isnan(uniformity(np.array([np.nan])).pvalue)


def test_p_values_by_simulation_count_ties_on_both_sides() -> None:
    values = iter(np.array([1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))
    test = against_simulations("X", lambda y: float(y[0]), np.array([3.0]), lambda g: np.array([next(values)]), 9, 1)
    assert (test.pvalue_greater, test.pvalue_less, test.pvalue) == (0.8, 0.5, 1.0)
    assert test.ratio == pytest.approx(3.0 / (39.0 / 9.0))
    assert test.pvalue_se == pytest.approx(2.0 * np.sqrt(0.25 / 9.0))
    assert "seed 1" in str(test)
    assert "X: 3 observed, 4.3333 expected" in str(test)


def test_simulations_without_a_statistic_are_counted() -> None:
    def refuse(y: np.ndarray) -> float:
        if y[0] < 0.0:
            raise ReplicateError("too small")
        return float(y[0])

    test = against_simulations("X", refuse, np.ones(1), lambda g: g.normal(size=1), 50, 2)
    assert test.failures == (("too small", 50 - len(test.replicates)),)
    assert "failed: too small" in str(test)
    assert f"({len(test.replicates)} simulations of 50; others failed)" in of_dispersion(test).words
    nothing = against_simulations("X", refuse, np.ones(1), lambda g: -np.ones(1), 5, 2)
    assert np.isnan(nothing.expected)
    assert of_dispersion(nothing).fine is None


def test_ratio_of_nothing_expected() -> None:
    def test(observed: float) -> float:
        return against_simulations("X", lambda y: float(y[0]), np.array([observed]), lambda g: np.zeros(1), 5, 1).ratio

    assert np.isnan(test(0.0))
    assert test(2.0) == np.inf


# Calibration ---------------------------------------------------------------------------------------------------------


def test_wilson_interval() -> None:
    counts, trials = np.array([0, 3, 10]), np.array([10, 17, 10])
    low, high = score_interval(counts / trials, trials.astype(float), response("binomial"), 0.9)
    want = proportion_confint(counts, trials, alpha=0.1, method="wilson")
    np.testing.assert_allclose([low, high], want, atol=1e-12)


def test_score_interval_of_a_rate_ends_where_its_test_rejects() -> None:
    rate, size = np.array([0.0, 0.4, 12.0]), np.array([5.0, 10.0, 3.0])
    z = ndtri(0.975)
    for end in score_interval(rate, size, response("poisson"), 0.95):
        np.testing.assert_allclose((rate - end) ** 2, z**2 * end / size, atol=1e-10)


def test_groups_keep_equal_predictions_together() -> None:
    mean = np.array([0.2, 0.1, 0.2, 0.2, 0.9, 0.2, 0.95, 0.2])
    y, size = np.array([0.0, 1, 1, 0, 1, 0, 1, 1]), np.array([1.0, 1, 2, 1, 1, 1, 3, 1])
    got = grouped(mean, y, size, 4, response("binomial"), 0.95)
    assert got.rows.tolist() == [6, 2]
    assert got.size.tolist() == [7.0, 4.0]
    np.testing.assert_allclose(got.observed, [4.0 / 7.0, 1.0])
    np.testing.assert_allclose(got.predicted, [1.3 / 7.0, 3.75 / 4.0])
    every = grouped(np.arange(20.0) / 20.0, np.zeros(20), np.ones(20), 10, response("binomial"), 0.95)
    assert every.rows.tolist() == [2] * 10
    assert grouped(mean, y, size, 1, response("binomial"), 0.95).rows.tolist() == [8]


def test_level_is_checked() -> None:
    from clusterglm.inference.diagnostics.calibration import calibrate

    with pytest.raises(OptionError, match="level="):
        calibrate(None, response("binomial"), np.ones(2), "typical", 10, 95)  # type: ignore[arg-type]


# The report ----------------------------------------------------------------------------------------------------------


def test_a_diagnosis_prints_a_line_for_each_finding() -> None:
    findings = (Finding("A", True, "good"), Finding("Long", False, "bad", "do this"), Finding("C", None, "unknown"))
    text = str(Diagnosis(findings, 7)).splitlines()
    assert text == ["Diagnosis (seed 7)", "ok   A:    good", "LOOK Long: bad -> do this", "-    C:    unknown"]
    assert not Diagnosis(findings, 7).fine
    assert Diagnosis(findings[:1], 7).fine
