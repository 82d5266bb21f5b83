"""Effects with one correlation: maxima of their own structure, the highest of several."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import clusterglm as cg
from clusterglm.fit.boundary import vanishing
from clusterglm.fit.mixed_task import MixedTask
from clusterglm.model.covariance import Covariance
from clusterglm.model.covariance.whole import CovarianceTerm


def three_kinds(seed: int) -> pd.DataFrame:
    """Twelve rows of each of few clusters, four of each kind; standard deviations 1, .2 and .1."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(8, 25))
    g, kind = np.repeat(np.arange(m), 12), np.tile(np.repeat([0, 1, 2], 4), m)
    rho = rng.uniform(-0.45, 0.9)
    u = rng.normal(size=(m, 3)) @ np.linalg.cholesky((1.0 - rho) * np.eye(3) + rho).T * [1.0, 0.2, 0.1]
    y = (rng.random(len(g)) < 1.0 / (1.0 + np.exp(-u[g, kind]))).astype(int)
    return pd.DataFrame({"y": y, "f": np.array(["a", "b", "c"])[kind], "g": g})


@pytest.mark.parametrize("seed", [0, 1, 8, 12, 15])
def test_maxima_are_the_highest_of_the_structure(seed: int) -> None:
    """Against L-BFGS-B with bounds from six places; standard deviations once ended below zero."""
    fit = cg.random_effects("y ~ 1 + cs(0 + f | g)", three_kinds(seed), quadrature="laplace")
    assert (fit.variance_components["estimate"].iloc[:3] >= 0.0).all()
    data = fit.data.rows
    task = MixedTask.of(data, fit.response, data.X, np.ones(3), 1)
    plan = task.likelihood.by_nodes(1)

    def minus(theta: np.ndarray) -> tuple[float, np.ndarray]:
        there = task.evaluate(theta, plan, 1)
        return -there.value, -there.score

    bounds = [(None, None), *[(0.0, None)] * 3, (-11.0, 12.6)]
    starts = [np.array([0.0, sd, sd, sd, t]) for sd in (0.3, 1.0) for t in (-2.0, 0.5, 3.0)]
    ends = [minimize(minus, start, jac=True, method="L-BFGS-B", bounds=bounds).fun for start in starts]
    assert fit.loglik > data.constant - min(ends) - 1e-4


def test_one_of_two_effects_is_turned_with_the_correlation() -> None:
    two = three_kinds(3).query("f != 'c'")
    fit = cg.random_effects("y ~ 1 + cs(0 + f | g)", two)
    any_covariance = cg.random_effects("y ~ 1 + (0 + f | g)", two)
    assert fit.loglik == pytest.approx(any_covariance.loglik, abs=1e-5)
    assert (fit.variance_components["estimate"].iloc[:2] >= 0.0).all()


def test_a_correlation_of_what_does_not_vary_is_held() -> None:
    """Of no effects that vary, and of one alone; its information is 0, which once was no positive definite matrix."""
    covariance = Covariance((CovarianceTerm("g", ("a", "b", "c"), "cs"),))
    for sds, held in (((0.0, 0.0, 0.0), [True] * 4), ((0.0, 0.7, 1e-5), [True, False, True, True])):
        assert vanishing(covariance, np.array([*sds, 0.4]), 3e-4).tolist() == held
    assert not vanishing(covariance, np.array([0.5, 0.7, 0.6, 0.4]), 3e-4).any()
    two = vanishing(covariance, np.array([0.0, 0.7, 0.6, 0.4]), 3e-4)
    assert two.tolist() == [True, False, False, False]
