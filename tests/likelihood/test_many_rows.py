"""Log-likelihoods of clusters of very many rows, which are sums of the same few terms over and over."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm import _core

ROWS = 400_000
THETA = np.array([-3.6, 0.3, 0.0023])


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, ROWS).astype(float)
    y = (rng.random(ROWS) < 1.0 / (1.0 + np.exp(3.6 - 0.3 * x))).astype(float)
    return x, y


def exact(x: np.ndarray, y: np.ndarray, s: float) -> float:
    """The log-integrand in extended precision: four kinds of rows, each times its number."""
    total = -0.5 * np.longdouble(s) ** 2 - 0.5 * np.log(2.0 * np.longdouble(np.pi))
    for value in (0.0, 1.0):
        eta = np.longdouble(THETA[0] + THETA[1] * value) + np.longdouble(THETA[2]) * np.longdouble(s)
        ones, zeros = int(((x == value) & (y == 1.0)).sum()), int(((x == value) & (y == 0.0)).sum())
        total -= ones * np.log1p(np.exp(-eta)) + zeros * np.log1p(np.exp(eta))
    return float(total)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 2e-19, reason="needs long doubles of 80 bits")
@pytest.mark.parametrize("weight", [1.0, 2.0], ids=["unit", "weighted"])
def test_they_are_added_up_without_a_bias(rows, weight):
    # one sum over all rows is off by some 3e-7 here, and differs so much from point to point
    x, y = rows
    X = np.column_stack([np.ones(ROWS), x])
    weights = np.full(ROWS, weight)
    problem = _core.Problem(
        np.array([0, ROWS]), X, weights * y, weights * (1.0 - y), np.zeros(ROWS), np.ones(1), "binomial_logit"
    )
    s, out = np.linspace(-0.5, 0.5, 12), np.empty((1, 12))
    _core.integrands(problem, _core.gaussian(), THETA, None, s[None, :].copy(), out, 1)
    heights = -0.5 * s**2 - 0.5 * np.log(2.0 * np.pi)
    want = np.array([weight * (exact(x, y, value) - height) + height for value, height in zip(s, heights, strict=True)])
    assert np.abs(out[0] - want).max() < 1e-8 * weight
