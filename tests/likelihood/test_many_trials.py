"""The conditional likelihood of clusters with very many trials: against its twin, mpmath and differences."""

from __future__ import annotations

import time

import mpmath
import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm import _core
from clusterglm.errors import ResponseError
from clusterglm.likelihood import reference_within as reference
from clusterglm.likelihood.conditional import ConditionalLikelihood
from clusterglm.likelihood.evaluation import Evaluation


def likelihood(X, a, b, starts=None):
    starts = np.array([0, len(a)]) if starts is None else starts
    problem = _core.Problem(starts, X, a, b, np.zeros(len(a)), np.ones(len(starts) - 1), "binomial_logit")
    return ConditionalLikelihood(problem)


@pytest.mark.parametrize(
    ("n", "trials", "share", "p"),
    [
        (60, 10, 0.5, 2),  # by the recursion, all others by inversion
        (60, 120, 0.3, 2),
        (3, 2500, 0.5, 1),
        (20, 300, 0.97, 3),
        (500, 10, 0.4, 2),
        (6000, 1, 0.4, 1),
        (4, 5000, 0.004, 2),
    ],
)
def test_any_number_of_trials_is_the_twin(n, trials, share, p):
    rng = np.random.default_rng(n + trials)
    X = rng.normal(size=(n, p))
    beta = 0.7 * rng.normal(size=p)
    a = rng.binomial(trials, share, n).astype(float)
    b = trials - a
    # The twin's moments are about the origin: they are exact where few are chosen, and the sum over them is 0 or so.
    few, sign = (a, 1.0) if share <= 0.5 else (b, -1.0)
    X -= (few @ X) / few.sum()
    got = likelihood(X, a, b).evaluate(beta)
    expected = reference.conditional(np.array([0, n]), sign * X, few, trials - few, np.zeros(n), np.ones(1), beta)
    information = np.abs(expected.hessian).max()
    assert got.value == pytest.approx(expected.value, rel=1e-12)
    np.testing.assert_allclose(got.score, expected.score, rtol=1e-10, atol=1e-10 * np.sqrt(information))
    np.testing.assert_allclose(got.hessian, expected.hessian, rtol=1e-9, atol=1e-10 * information)


def two_rows(T1: int, T2: int, y: int, total: int, psi: float) -> Evaluation:
    """Row 1 has the log odds psi more: the noncentral hypergeometric distribution, term by term in 40 digits."""
    with mpmath.workdps(40):
        odds = mpmath.exp(mpmath.mpf(psi))

        def step(k: int) -> mpmath.mpf:
            return odds * (T1 - k) * (total - k) / mpmath.mpf((k + 1) * (T2 - total + k + 1))

        low, high = max(0, total - T2), min(T1, total)
        left, right = low, high
        while left < right:
            middle = (left + right) // 2
            left, right = (middle + 1, right) if step(middle) > 1 else (left, middle)
        mode, sums = left, [mpmath.mpf(1), mpmath.mpf(0), mpmath.mpf(0)]
        for direction in (1, -1):
            k, term = mode, mpmath.mpf(1)
            while term > mpmath.mpf(10) ** -35 and (k < high if direction > 0 else k > low):
                term = term * step(k) if direction > 0 else term / step(k - 1)
                k += direction
                for power in range(3):
                    sums[power] += term * (k - mode) ** power
        mean = sums[1] / sums[0]

        def choices(n: int, k: int) -> mpmath.mpf:
            return mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)

        value = (y - mode) * mpmath.mpf(psi) - choices(T1, mode) - choices(T2, total - mode) - mpmath.log(sums[0])
        return Evaluation(
            float(value), np.array([float(y - mode - mean)]), np.array([[-float(sums[2] / sums[0] - mean**2)]])
        )


@pytest.mark.parametrize(
    ("trials", "successes", "psi"),
    [
        ((10**6, 2 * 10**6), (300_000, 900_000), 0.3),
        ((10**6, 10**6), (30, 9), 0.3),
        ((999_999, 10**6), (999_990, 999_000), -1.0),
        ((5 * 10**8, 10**5), (100, 10_000), -13.0),
        ((5 * 10**8, 10**7), (2 * 10**8, 4 * 10**6 - 2000), 1e-5),
    ],
)
def test_very_many_trials_against_mpmath(trials, successes, psi):
    a, n = np.array(successes, dtype=float), np.array(trials, dtype=float)
    model = likelihood(np.array([[1.0], [0.0]]), a, n - a)
    start = time.perf_counter()
    got = model.evaluate(np.array([psi]))
    assert time.perf_counter() - start < 0.5
    expected = two_rows(*trials, successes[0], sum(successes), psi)
    # the value is the difference of two of the size of sum n log n, which is what rounding goes by
    assert got.value == pytest.approx(expected.value, rel=1e-11, abs=1e-15 * float(n @ np.log(n)))
    np.testing.assert_allclose(got.score, expected.score, atol=1e-10 * np.sqrt(-expected.hessian[0, 0]), rtol=1e-10)
    np.testing.assert_allclose(got.hessian, expected.hessian, rtol=1e-12)


def test_derivatives_against_differences():
    rng = np.random.default_rng(7)
    sizes = np.array([4, 30, 2, 9])
    X = rng.normal(size=(sizes.sum(), 3))
    trials = rng.integers(0, 20_000, sizes.sum())
    a = rng.binomial(trials, 0.3).astype(float)
    model, beta = likelihood(X, a, trials - a, np.r_[0, np.cumsum(sizes)]), np.array([0.4, -0.2, 0.1])
    here = model.evaluate(beta)
    information = np.abs(here.hessian).max()
    for j, step in enumerate(1e-4 * np.eye(3)):
        up, down = model.evaluate(beta + step), model.evaluate(beta - step)
        assert (up.value - down.value) / 2e-4 == pytest.approx(here.score[j], abs=1e-6 * information)
        np.testing.assert_allclose((up.score - down.score) / 2e-4, here.hessian[j], atol=1e-6 * information)
    for order in (0, 1):  # by the same method, whatever is asked for
        assert model.evaluate(beta, order).value == here.value
    np.testing.assert_allclose(model.cluster_scores(beta).sum(axis=0), here.score, rtol=1e-11)


def table(trials: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = rng.binomial(trials, 0.4, 40).astype(float)
    return pd.DataFrame({"y": y, "failures": trials - y, "x": rng.normal(size=40), "id": np.repeat(np.arange(20), 2)})


def test_a_fit_with_half_a_billion_trials_a_row():
    """Next to its standard error it is where the fixed effects are, whose bias goes with 1/trials."""
    frame = table(500_000_000)
    fit = cg.conditional("cbind(y, failures) ~ x", frame, cluster="id")
    other = cg.fixed_effects("cbind(y, failures) ~ x", frame, cluster="id")
    assert fit.converged
    assert abs(fit.params["x"] - other.params["x"]) < 1e-3 * fit.bse["x"]
    assert fit.bse["x"] == pytest.approx(other.bse["x"], rel=1e-6)


def test_more_than_that_is_refused_in_words():
    with pytest.raises(ResponseError, match=r"below 1e\+09"):
        cg.conditional("cbind(y, failures) ~ x", table(10**12), cluster="id")
