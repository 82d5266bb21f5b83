"""The interval of a new cluster against closed forms, draws, and how often it holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, ndtr, ndtri

import clusterglm as cg
from clusterglm.inference.predictions.new_cluster import new_cluster_ends
from clusterglm.model.distribution import distribution as read_distribution

X = np.array([[1.0, 0.3], [1.0, -2.0], [0.0, 0.0]])
ETA = np.array([0.5, -1.0, 2.0])
HALF = np.array([[0.3, 0.0, 0.0], [0.1, 0.2, 0.0], [-0.1, 0.05, 0.25]])
V = HALF @ HALF.T


def test_gaussian_intercepts_in_closed_form() -> None:
    known = V.copy()
    known[2, :] = known[:, 2] = np.nan  # sigma was held
    low, high = new_cluster_ends(X, ETA, known, 1.3, read_distribution("gaussian"), 0.9)
    spread = np.sqrt(1.3**2 + np.einsum("ij,jk,ik->i", X, V[:2, :2], X))
    np.testing.assert_allclose(low, ETA + ndtri(0.05) * spread, rtol=1e-8)
    np.testing.assert_allclose(high, ETA + ndtri(0.95) * spread, rtol=1e-8)
    low, high = new_cluster_ends(X[:2], ETA[:2], known, 0.0, read_distribution("cauchy"), 0.9)
    spread = np.sqrt(np.einsum("ij,jk,ik->i", X[:2], V[:2, :2], X[:2]))
    np.testing.assert_allclose([low, high], [ETA[:2] + sign * ndtri(0.95) * spread for sign in (-1, 1)], rtol=1e-8)


@pytest.mark.parametrize(
    "name",
    ["gaussian", "logistic", "cauchy", "laplace", "bridge", "log_gamma", "student_t(3)", "gaussian_mixture(0.3, 3)"],
)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 5.0])
def test_ends_are_quantiles_of_draws(name: str, scale: float) -> None:
    """The errors of the estimates much smaller than, as large as, and larger than the spread of the intercept."""
    sigma, n, rng = 0.6, 400_000, np.random.default_rng(4)
    covariance = V * np.outer([scale, scale, min(scale, 1.0)], [scale, scale, min(scale, 1.0)])
    family = read_distribution(name)
    low, high = new_cluster_ends(X, ETA, covariance, sigma, family, 0.9)
    error = rng.multivariate_normal(np.zeros(3), covariance, n, method="cholesky")
    score = error[:, 2] / sigma
    if family.scale_family:
        v = sigma * np.exp(score) * family.rvs(rng, n)
    else:  # the shape follows sigma: by the same draw of the normal scale at a few values of sigma
        at = np.unique(np.round(score, 2))
        place = np.searchsorted(at, np.round(score, 2))
        v = np.empty(n)
        for k, value in enumerate(at):
            which = np.flatnonzero(place == k)
            v[which] = family.draw(rng, len(which), sigma * float(np.exp(value)))
    for i in range(3):
        total = ETA[i] + error[:, :2] @ X[i] + v
        se = np.sqrt(0.05 * 0.95 / n)
        assert abs((total < low[i]).mean() - 0.05) < 4.0 * se
        assert abs((total > high[i]).mean() - 0.05) < 4.0 * se


def test_many_rows_in_blocks() -> None:
    rng = np.random.default_rng(2)
    many = np.column_stack([np.ones(20_000), rng.normal(size=20_000)])
    eta = rng.normal(size=20_000)
    found = new_cluster_ends(many, eta, V, 0.8, read_distribution("gaussian"), 0.95)
    few = new_cluster_ends(many[-3:], eta[-3:], V, 0.8, read_distribution("gaussian"), 0.95)
    np.testing.assert_allclose(np.array(found)[:, -3:], few, rtol=1e-9)


def test_it_holds_new_clusters_as_often_as_it_says() -> None:
    """120 studies of 40 clusters: without the errors of the estimates fewer are held."""
    rng, held, plain = np.random.default_rng(12), [], []
    new = pd.DataFrame({"x": [1.0]})
    for _ in range(120):
        u = rng.normal(size=40)
        data = pd.DataFrame({"id": np.repeat(np.arange(40), 20), "x": np.tile(np.arange(20) % 2, 40)})
        data["y"] = (rng.random(800) < expit(-0.5 + 0.5 * data.x + u[data.id])).astype(int)
        fit = cg.random_effects("y ~ x", data, cluster="id")
        found = fit.predict(new, kind="marginal", level=0.9, interval="cluster", scale="link")
        held.append(ndtr(found.high[0]) - ndtr(found.low[0]))  # a new cluster lies at a standard normal
        middle, reach = fit.predict(new, scale="link")[0], ndtri(0.95) * fit.sigma
        plain.append(ndtr(middle + reach) - ndtr(middle - reach))
    assert abs(np.mean(held) - 0.9) < 0.012
    assert np.mean(held) - np.mean(plain) > 0.008
