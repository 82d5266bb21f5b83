"""Nonparametric maximum likelihood: derivatives, the proof of its end, and other distributions as lower bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp

import clusterglm as cg
from clusterglm.data.identical import merge_identical
from clusterglm.data.prepare import ModelData, prepare
from clusterglm.data.request import Request
from clusterglm.data.weighing import Weighing
from clusterglm.errors import OptionError
from clusterglm.fit import npml
from clusterglm.fit.npml import fit_npml
from clusterglm.inference.distribution.mass_points import fitted_mixture
from clusterglm.likelihood.mixture import Mixture, MixtureLikelihood, gradient_values
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
    return prepare(formula, data, Request(model, cluster="id", mass_points=True, **options))


@EACH_RESPONSE
def test_derivatives(model: Any) -> None:
    frame = simulate(model.family).assign(w=lambda d: 1.0 + d.id % 3, y=lambda d: d.y + int(model.least))
    data = built(frame, model, offset="o", cluster_weights="w")
    likelihood = MixtureLikelihood(data.X, data, model)
    weights = np.array([0.5, 0.3, 0.2])
    begin = Mixture(np.array([0.3]), np.array([-0.7, 0.9, 6.0]), weights, np.array([True, True, False]))

    def by_hand(theta: np.ndarray) -> float:
        at = begin.at(theta)
        eta = data.X @ at.beta + data.offset
        rows = model.value(eta[:, None] + at.points, data.a[:, None], data.b[:, None])
        log_f = np.add.reduceat(rows, data.starts[:-1], axis=0)
        return float(data.cluster_weights @ logsumexp(log_f, b=at.weights, axis=1))

    theta, h = begin.theta, 1e-5
    here = likelihood.evaluate(begin)
    assert here.value == pytest.approx(by_hand(theta), rel=1e-12)
    np.testing.assert_allclose(likelihood.scores(begin).sum(axis=0), here.score, atol=1e-9)
    for j, step in enumerate(h * np.eye(len(theta))):
        up, down = (likelihood.evaluate(begin.at(theta + sign * step)) for sign in (1, -1))
        assert (up.value - down.value) / (2 * h) == pytest.approx(here.score[j], abs=1e-6, rel=1e-7)
        np.testing.assert_allclose((up.score - down.score) / (2 * h), here.hessian[j], atol=2e-5, rtol=1e-6)


def test_points_at_infinity() -> None:
    model = response("binomial")
    data = built(simulate("binomial"), model)
    likelihood = MixtureLikelihood(data.X, data, model)
    beta, far = np.array([0.4]), np.array([True, False])
    limit = Mixture(beta, np.array([0.2, np.inf]), np.array([0.8, 0.2]), far)
    near = Mixture(beta, np.array([0.2, 35.0]), np.array([0.8, 0.2]), far)
    np.testing.assert_allclose(likelihood.mixed_values(limit), likelihood.mixed_values(near), atol=1e-12)
    np.testing.assert_allclose(likelihood.scores(limit), likelihood.scores(near), atol=1e-12)


@EACH_RESPONSE
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_distribution_is_more_likely(model: Any, seed: int) -> None:
    frame = simulate(model.family, seed=seed).assign(y=lambda d: d.y + int(model.least))
    data = built(frame, model)
    fit = fit_npml(data, model, np.zeros(1), Control())
    assert fit.optimization.converged
    # the gradient function is nowhere above zero, on a grid of its own, and zero at the points
    likelihood, mixture = MixtureLikelihood(data.X, data, model), fitted_mixture(fit)
    total = likelihood.mixed_values(mixture)
    assert gradient_values(likelihood, fit.beta, total, np.linspace(-25.0, 25.0, 3001)).max() <= 2e-6
    inside = np.isfinite(fit.points)
    at_points = gradient_values(likelihood, fit.beta, total, fit.points[inside])
    np.testing.assert_allclose(at_points, 0.0, atol=2e-6)
    assert fit.weights.sum() == pytest.approx(1.0)
    assert np.all(np.diff(fit.points) > 0.0)
    for distribution in ("gaussian", "logistic", "cauchy"):
        other = cg.random_effects(
            "y ~ x", frame, cluster="id", family=model.family, link=model.link, distribution=distribution
        )
        assert fit.loglik >= other.loglik - 1e-6


def test_where_the_distribution_is_not_unique() -> None:
    """Clusters of one design: any distribution with the right moments is as likely; the end is found all the same."""
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(1000), 5)
    x = np.tile(np.arange(5.0) - 2.0, 1000)
    y = rng.random(5000) < 1.0 / (1.0 + np.exp(-0.5 * x - rng.normal(size=1000)[ids]))
    model = response("binomial")
    data = built(pd.DataFrame({"y": y.astype(int), "x": x, "id": ids}), model)
    merged = merge_identical(data, model, always=True)
    assert merged.n_clusters == 32
    assert merged.cluster_weights.sum() == 1000.0
    fit = fit_npml(data, model, np.zeros(1), Control())
    assert fit.optimization.converged
    # conditional logistic regression is the same estimate where all totals are as likely as they can be (Lindsay,
    # Clogg and Grego, JASA 86, 1991)
    conditional = cg.conditional("y ~ x", {"y": y.astype(int), "x": x, "id": ids}, cluster="id")
    assert fit.beta[0] == pytest.approx(conditional.params["x"], abs=1e-5)
    assert np.sqrt(fit.covariance[0, 0]) == pytest.approx(conditional.bse["x"], rel=1e-4)


def test_merging_changes_nothing() -> None:
    model = response("binomial")
    rng = np.random.default_rng(3)
    frame = simulate("binomial", clusters=300, size=3).assign(x=lambda d: np.round(d.x), o=0.5)
    frame["w"] = np.repeat(rng.choice([1.0, 2.5], 300), 3)
    data = built(frame.sample(frac=1.0, random_state=1), model, offset="o", cluster_weights="w")
    merged = merge_identical(data, model, always=True)
    assert merged.n_clusters < data.n_clusters
    mixture = Mixture(np.array([0.4]), np.array([-1.0, 0.5]), np.array([0.3, 0.7]), np.ones(2, dtype=bool))
    one, other = (MixtureLikelihood(d.X, d, model).evaluate(mixture) for d in (data, merged))
    assert one.value == pytest.approx(other.value, rel=1e-13)
    np.testing.assert_allclose(one.hessian, other.hessian, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_more_points_are_better_until_there_are_enough(family: str) -> None:
    model = response(family)
    frame = simulate(family, seed=2)
    data = built(frame, model)
    best = fit_npml(data, model, np.zeros(1), Control())
    few = [fit_npml(data, model, np.zeros(1), Control(), points=k) for k in (1, 2, 3)]
    assert few[0].loglik == pytest.approx(cg.pooled("y ~ x", frame, family=family).loglik, abs=1e-8)
    heights = [fit.loglik for fit in (*few, best)]
    assert np.all(np.diff(heights) > -1e-6)
    assert all(fit.optimization.converged for fit in few)
    with pytest.raises(OptionError, match="points=0"):
        fit_npml(data, model, np.zeros(1), Control(), points=0)


def test_units_do_not_matter() -> None:
    model = response("binomial")
    frame = simulate("binomial", seed=8)
    one = fit_npml(built(frame, model), model, np.zeros(1), Control())
    other = fit_npml(built(frame.assign(x=2000.0 + 0.01 * frame.x), model), model, np.zeros(1), Control())
    assert other.loglik == pytest.approx(one.loglik, abs=1e-6)
    assert 0.01 * other.beta[0] == pytest.approx(one.beta[0], rel=1e-4)
    finite = np.isfinite(one.points)
    np.testing.assert_allclose(other.points[finite] + 2000.0 * other.beta[0], one.points[finite], atol=1e-3)
    p, k = 1, int(finite.sum())
    # a point's error at x = 0, far from the data, is that of the extrapolation
    assert other.covariance[p, p] == pytest.approx(
        one.covariance[p, p] - 2 * 2e5 * one.covariance[0, p] + 4e10 * one.covariance[0, 0], rel=1e-3
    )
    assert len(other.covariance) == p + k + len(one.points) - 1


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
    assert fit.points[0] == -np.inf
    assert fit.weights[0] == pytest.approx(0.4, abs=1e-3)


def test_no_more_points_are_tried_than_there_are_clusters() -> None:
    """Arms of thousands: a point makes most clusters so unlikely that the gradient function is flat at its ceiling."""
    rng = np.random.default_rng(3)
    n = rng.integers(1_000, 90_000, 26)
    study, arm = np.repeat(np.arange(13), 2), np.tile([0.0, 1.0], 13)
    p = 1.0 / (1.0 + np.exp(4.0 + 0.5 * arm + 1.2 * rng.normal(size=13)[study]))
    frame = pd.DataFrame({"study": study, "arm": arm, "s": rng.binomial(n, p), "n": n})
    model = response("binomial")
    data = prepare("cbind(s, n - s) ~ arm", frame, Request(model, cluster="study", mass_points=True))
    likelihood = MixtureLikelihood(data.X, data, model)
    task = npml._Task(likelihood, np.linspace(-12.0, 4.0, 900), Weighing())
    one = Mixture(np.array([-0.5]), np.array([-3.0]), np.ones(1), np.array([True]))
    _, points, heights = npml._peaks(task, one)
    assert 1 < len(points) <= 13
    assert (heights > 0.0).all()
    fit = cg.nonparametric("cbind(s, n - s) ~ arm", frame, cluster="study")
    assert fit.converged
    assert fit.fit.gradient <= 2e-6
