"""Effects drawn given the parameters and the data, against the moments that quadrature gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import clusterglm as cg

sys.path.insert(0, str(Path(__file__).parent))
from clustered import clustered


def moments(fit, theta, n):
    made, rng = fit._effect_draws(fit._sampled()), np.random.default_rng(1)
    found = [made.draw(theta, rng) for _ in range(n)]
    drawn = np.array([effects for effects, _ in found])
    return drawn.mean(axis=0), drawn.std(axis=0), np.mean([error for _, error in found])


@pytest.mark.parametrize("distribution", ["gaussian", "student_t(4)", "logistic"])
def test_intercepts(distribution) -> None:
    fit, n = cg.random_effects("y ~ x", clustered(), cluster="id", distribution=distribution), 2000
    mean, sd, error = moments(fit, fit.fit.theta, n)
    assert error < 5e-3
    exact = fit.random_effects
    assert np.abs((mean[:, 0] - exact["mean"]) / exact["sd"]).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(sd[:, 0], exact["sd"], rtol=0.12)


@pytest.mark.parametrize("formula", ["y ~ x + (x | id)", "y ~ x + (1 | id/k)"])
def test_several(formula) -> None:
    fit, n = cg.random_effects(formula, clustered(20, 6), quadrature=9), 800
    likelihood = fit._sampled()
    theta = likelihood.coordinates.theta(likelihood.start)
    at = likelihood.fit_at(theta)
    mean, sd, error = moments(fit, theta, n)
    assert error < 0.01
    exact, L = at.posterior, at.factor
    wanted = exact.means @ L.T
    spread = np.sqrt(np.einsum("ij,mjk,ik->mi", L, exact.covariances, L))
    assert np.abs((mean - wanted) / spread).max() < 5.0 / np.sqrt(n)
    np.testing.assert_allclose(sd, spread, rtol=0.12)
