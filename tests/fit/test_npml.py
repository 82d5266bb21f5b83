"""Nonparametric maximum likelihood: derivatives, the proof of its end, and other distributions as lower bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import clusterglm as cg
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.fit.npml import _evaluate, _gradient_at, _State, _task, fit_npml
from clusterglm.model.control import Control
from clusterglm.model.family import RESPONSES, response

EACH_RESPONSE = pytest.mark.parametrize("model", RESPONSES.values(), ids=RESPONSES.keys())


def simulate(family: str, clusters: int = 60, size: int = 4, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(clusters), size)
    x = rng.normal(size=len(ids))
    eta = 0.5 * x + rng.normal(size=clusters)[ids]
    y = rng.random(len(ids)) < 1.0 / (1.0 + np.exp(-eta)) if family == "binomial" else rng.poisson(np.exp(eta))
    return pd.DataFrame({"y": np.asarray(y, dtype=int), "x": x, "id": ids, "o": 0.1 * x**2})


def built(data: pd.DataFrame, model: Any, formula: str = "y ~ x", **options: Any) -> ModelData:
    return prepare(formula, data, cluster="id", family_response=model, fixed_effects=True, **options)


@EACH_RESPONSE
def test_derivatives(model: Any) -> None:
    data = built(simulate(model.family), model, offset="o")
    task = _task(data, data.X, model, np.array([0.3]))
    inside = np.array([True, True, False])
    far = task.low if model.family == "poisson" else task.high

    def at(theta: np.ndarray) -> Any:
        logits = np.append(theta[3:], 0.0)
        state = _State(theta[:1], np.array([theta[1], theta[2], far]), np.exp(logits - logsumexp(logits)))
        return _evaluate(task, state, inside)

    theta, h = np.array([0.3, -0.7, 0.9, 1.2, 0.8]), 1e-5
    here = at(theta)
    for j, step in enumerate(h * np.eye(5)):
        up, down = at(theta + step), at(theta - step)
        assert (up.value - down.value) / (2 * h) == pytest.approx(here.score[j], abs=1e-6)
        np.testing.assert_allclose((up.score - down.score) / (2 * h), here.hessian[j], atol=1e-5)


@EACH_RESPONSE
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_distribution_is_more_likely(model: Any, seed: int) -> None:
    frame = simulate(model.family, seed=seed)
    data = built(frame, model)
    fit = fit_npml(data, model, np.zeros(1), Control())
    assert fit.optimization.converged
    # the gradient function is nowhere above zero, on a grid of its own, and zero at the points
    task = _task(data, data.X, model, fit.beta)
    state = _State(fit.beta, fit.points, fit.weights)
    grid = np.linspace(task.low, task.high, 3001)
    assert _gradient_at(task, state, grid).max() <= 2e-6
    inside = ~fit.at_end
    np.testing.assert_allclose(_gradient_at(task, state, fit.points[inside]), 0.0, atol=2e-6)
    assert fit.weights.sum() == pytest.approx(1.0)
    assert np.all(np.diff(fit.points) > 0.0)
    for distribution in ("gaussian", "logistic", "cauchy"):
        other = cg.random_effects(
            "y ~ x", frame, cluster="id", family=model.family, link=model.link, distribution=distribution
        )
        assert fit.loglik >= other.loglik - 1e-6


def test_where_it_starts_does_not_matter() -> None:
    model = response("binomial")
    data = built(simulate("binomial", seed=4), model)
    fits = [fit_npml(data, model, np.array([start]), Control()) for start in (-1.0, 0.0, 2.0)]
    for other in fits[1:]:
        assert other.loglik == pytest.approx(fits[0].loglik, abs=1e-6)
        np.testing.assert_allclose(other.beta, fits[0].beta, atol=1e-3)


def test_weights_stand_for_repeated_clusters() -> None:
    model = response("binomial")
    frame = simulate("binomial", seed=5)
    twice = pd.concat([frame, frame[frame.id < 20].assign(id=lambda d: d.id + 1000)])
    one = fit_npml(built(twice, model), model, np.zeros(1), Control())
    weighted = frame.assign(w=np.where(frame.id < 20, 2.0, 1.0))
    other = fit_npml(built(weighted, model, cluster_weights="w"), model, np.zeros(1), Control())
    assert other.loglik == pytest.approx(one.loglik, abs=1e-6)
    np.testing.assert_allclose(other.beta, one.beta, atol=1e-4)
    np.testing.assert_allclose(other.covariance, one.covariance, rtol=1e-2)


def test_two_clear_groups_are_found() -> None:
    rng = np.random.default_rng(6)
    ids = np.repeat(np.arange(200), 40)
    group = rng.random(200) < 0.3
    x = rng.normal(size=8000)
    y = rng.poisson(np.exp(0.4 * x + np.where(group, 1.5, -0.5)[ids]))
    model = response("poisson")
    fit = fit_npml(built(pd.DataFrame({"y": y, "x": x, "id": ids}), model), model, np.zeros(1), Control())
    heavy = fit.weights > 0.05
    np.testing.assert_allclose(fit.points[heavy], [-0.5, 1.5], atol=0.06)
    np.testing.assert_allclose(fit.weights[heavy], [1.0 - group.mean(), group.mean()], atol=0.02)
    assert fit.beta[0] == pytest.approx(0.4, abs=0.03)


def test_zero_inflation_is_a_point_at_minus_infinity() -> None:
    rng = np.random.default_rng(7)
    ids = np.repeat(np.arange(150), 5)
    y = np.where(np.arange(150)[ids] < 60, 0, rng.poisson(4.0, 750))
    model = response("poisson")
    frame = pd.DataFrame({"y": y, "x": rng.normal(size=750), "id": ids})
    fit = fit_npml(built(frame, model), model, np.zeros(1), Control())
    assert fit.at_end[0]
    assert fit.weights[0] == pytest.approx(0.4, abs=1e-3)
