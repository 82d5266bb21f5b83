"""The negative binomial response at a given alpha: against SciPy, differences, and the Poisson distribution."""

import numpy as np
import pytest
from scipy import stats

from clusterglm.model.family import RESPONSES, with_own
from clusterglm.model.response.own.base import OwnParameters

ALPHAS = (1e-5, 1e-3, 0.05, 0.7, 4.0, 60.0)


def negative_binomial(alpha: float) -> OwnParameters:
    found = with_own("negative_binomial")
    assert found is not None
    return found.at(np.log([alpha]))


def counts(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    eta = rng.normal(size=400) * 1.5
    return eta, rng.poisson(np.exp(eta) * rng.gamma(1.0, size=400)).astype(float)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_probabilities_are_those_of_scipy(alpha: float) -> None:
    (eta, y), response, one = counts(), negative_binomial(alpha), np.ones(400)
    theirs = stats.nbinom(1.0 / alpha, 1.0 / (1.0 + alpha * np.exp(eta)))
    ours = response.value(eta, y, one) + response.log_constants(y, one, one)
    assert ours == pytest.approx(theirs.logpmf(y), rel=1e-9, abs=3e-8 if alpha < 1e-2 else 1e-10)
    upto, above = response.tails(y, eta, one)
    assert upto == pytest.approx(theirs.cdf(y), rel=1e-7)
    assert above == pytest.approx(theirs.sf(y), rel=1e-7, abs=1e-300)
    assert response.variance(np.exp(eta)) == pytest.approx(theirs.var(), rel=1e-8)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_rows_of_the_core_and_terms_without_eta_make_the_whole(alpha: float) -> None:
    (eta, y), response = counts(1), negative_binomial(alpha)
    w = np.random.default_rng(2).integers(1, 4, 400).astype(float)
    a, b = response.rows(y, np.ones(400), w)
    rows = response.kernel_rows(a, b)
    found = rows.response.value(eta + rows.shift, rows.a, rows.b) + response.log_terms(a, b)
    whole = response.value(eta, a, b) + response.log_constants(y, np.ones(400), w)
    assert found == pytest.approx(whole, rel=1e-10, abs=1e-9)


def test_at_alpha_zero_it_is_the_poisson_distribution() -> None:
    (eta, y), one, poisson = counts(), np.ones(400), RESPONSES["poisson_log"]
    response = negative_binomial(1e-12)
    ours = response.value(eta, y, one) + response.log_constants(y, one, one)
    theirs = poisson.value(eta, y, one) + poisson.log_constants(y, one, one)
    apart = 1e-12 * 0.5 * ((y - np.exp(eta)) ** 2 - y)  # to first order in alpha
    assert np.abs(ours - theirs - apart).max() < 1e-10
    assert np.abs(ours - theirs)[np.abs(y - np.exp(eta)) < 10.0].max() < 1e-10


@pytest.mark.parametrize("alpha", ALPHAS)
def test_derivatives_are_those_of_differences(alpha: float) -> None:
    (eta, y), response, one, h = counts(), negative_binomial(alpha), np.ones(400), 1e-4
    jet = response.derivatives(eta, y, one)
    ahead, behind = response.derivatives(eta + h, y, one), response.derivatives(eta - h, y, one)
    for k in range(4):
        assert jet[k + 1] == pytest.approx((ahead[k] - behind[k]) / (2.0 * h), rel=1e-6, abs=1e-6)
    information = response.expected_information(eta)
    more, less = response.expected_information(eta + h), response.expected_information(eta - h)
    for k in range(2):
        assert information[k + 1] == pytest.approx((more[k] - less[k]) / (2.0 * h), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 5.0])
def test_large_counts_keep_their_digits(alpha: float) -> None:
    import mpmath

    response = negative_binomial(alpha)
    y = np.array([0.0, 3.0, 200_000.0])
    r = 1 / mpmath.mpf(response.values[0])
    exact = [float(mpmath.loggamma(k + r) - mpmath.loggamma(r) - mpmath.loggamma(k + 1) - k * mpmath.log(r)) for k in y]
    assert response.log_constants(y, np.ones(3), np.ones(3)) == pytest.approx(exact, rel=1e-12, abs=1e-10)


def test_draws_have_the_mean_and_the_variance() -> None:
    response, mean = negative_binomial(0.8), np.full(200_000, 3.0)
    drawn = response.simulate(np.random.default_rng(4), mean)
    error = np.sqrt(response.variance(mean)[0] / len(mean))
    assert abs(drawn.mean() - 3.0) < 4.0 * error
    assert drawn.var() == pytest.approx(3.0 + 0.8 * 9.0, rel=0.03)


def test_saturated_is_the_maximum_over_eta() -> None:
    response = negative_binomial(0.6)
    y, one = np.array([0.0, 1.0, 8.0]), np.ones(3)
    grid = np.linspace(-30.0, 10.0, 40_001)
    best = [response.value(grid, np.array(k), np.array(1.0)).max() for k in y]
    assert response.saturated(y, one) == pytest.approx(best, abs=1e-6)


def test_moments_find_alpha() -> None:
    response = negative_binomial(0.8)
    mean = np.full(100_000, 2.0)
    y = response.simulate(np.random.default_rng(5), mean)
    assert np.exp(response.start(mean, y, np.ones(len(y)))) == pytest.approx([0.8], rel=0.06)
