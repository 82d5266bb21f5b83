"""Sums of constants and saturated log-likelihoods, against the same row by row."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.data.constants import log_constants, totals
from clusterglm.data.response import ResponseValues, to_kernel
from clusterglm.model.family import response

BINOMIAL, POISSON = response("binomial"), response("poisson")
SIZES = np.array([3, 50, 1, 146])
STARTS = np.append(0, np.cumsum(SIZES))
N = int(STARTS[-1])


def by_row(values, weights, cluster_weights, family):
    a, b = to_kernel(values, weights, family)
    of_rows = np.repeat(cluster_weights, SIZES)
    constant = of_rows @ log_constants(values, weights, family)
    return constant, constant + of_rows @ family.saturated(a, b)


@pytest.mark.parametrize("most", [5, 5000], ids=["recurring", "rarely equal"])
@pytest.mark.parametrize("weighted", ["alike", "rows", "clusters"])
def test_counts(most: int, weighted: str) -> None:
    rng = np.random.default_rng(5)
    values = ResponseValues(rng.integers(0, most, N).astype(np.float64), np.broadcast_to(1.0, N), None)
    weights = rng.uniform(0.5, 2.0, N) if weighted == "rows" else np.broadcast_to(1.0, N)
    cluster_weights = rng.uniform(0.5, 2.0, 4) if weighted == "clusters" else np.full(4, 3.0)
    a, b = to_kernel(values, weights, POISSON)
    found = totals(values, weights, cluster_weights, STARTS, a, b, POISSON)
    expected = by_row(values, weights, cluster_weights, POISSON)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-13 * abs(expected[0]))  # the second is a difference


def test_counts_in_any_order_have_the_same_bits() -> None:
    y = np.random.default_rng(6).poisson(3.0, N).astype(np.float64)
    ones = np.broadcast_to(1.0, N)
    found = [
        totals(values, ones, np.ones(4), STARTS, *to_kernel(values, ones, POISSON), POISSON)
        for values in (ResponseValues(y, ones, None), ResponseValues(y[::-1], ones, None))
    ]
    assert found[0] == found[1]


def test_trials() -> None:
    rng = np.random.default_rng(7)
    trials = rng.integers(1, 9, N).astype(np.float64)
    values = ResponseValues(rng.binomial(trials.astype(int), 0.4).astype(np.float64), trials, None)
    weights, cluster_weights = rng.uniform(0.5, 2.0, N), rng.uniform(0.5, 2.0, 4)
    a, b = to_kernel(values, weights, BINOMIAL)
    found = totals(values, weights, cluster_weights, STARTS, a, b, BINOMIAL)
    np.testing.assert_allclose(found, by_row(values, weights, cluster_weights, BINOMIAL), rtol=1e-13)
    assert found[0] > 0.0 > found[1]


@pytest.mark.parametrize("trials", [np.broadcast_to(1.0, N), np.ones(N)], ids=["known", "looked at"])
def test_single_trials_leave_nothing_out(trials: np.ndarray) -> None:
    values = ResponseValues(np.arange(N) % 2.0, trials, None)
    weights = np.linspace(0.5, 2.0, N)
    a, b = to_kernel(values, weights, BINOMIAL)
    assert totals(values, weights, np.ones(4), STARTS, a, b, BINOMIAL) == (0.0, 0.0)
    assert not log_constants(values, weights, BINOMIAL).any()


def test_rates_have_the_gamma_function() -> None:
    values = ResponseValues(np.full(100, 2.5), np.ones(100), None)
    np.testing.assert_allclose(log_constants(values, np.ones(100), POISSON), -1.2009736023470743, rtol=1e-14)
