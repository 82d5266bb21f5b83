"""Kernels with parameters of their own: derivatives of the core against differences of its values, and their NumPy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import gamma, norm

from clusterglm.likelihood.evaluation import Evaluation, OwnArrays
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Cauchy, Gaussian, Logistic
from clusterglm.model.family import with_own
from clusterglm.model.response.base import Response
from clusterglm.model.response.binomial_logit import BinomialLogit
from clusterglm.model.response.binomial_probit import BinomialProbit
from clusterglm.model.response.own.base import OwnParameters

WITHOUT_WEIGHTS = ("truncated_negative_binomial", "negative_binomial1", "beta_binomial")
PLAIN = ("negative_binomial", "gamma", *WITHOUT_WEIGHTS)
FAMILIES = [("ordinal", "probit"), *((family, None) for family in PLAIN)]


class Model:
    """A few clusters of some sizes, at working values that move the rows' numbers."""

    def __init__(
        self, family: str, link: str | None, sizes: tuple[int, ...], distribution: Any, far: float = 0.0
    ) -> None:
        rng = np.random.default_rng(4)
        n = sum(sizes)
        found = with_own(family, link)
        assert found is not None
        response: OwnParameters = found.of_levels(("a", "b", "c", "d"))
        y = rng.integers(0, 4, n) + (0.5 if response.continuous else 0.0)
        w = rng.choice([1.0, 2.0, 0.5], n) if family not in WITHOUT_WEIGHTS else np.ones(n)
        self.a, self.b = response.rows(y + response.least, np.full(n, 5.0), w)
        self.response, self.starts = response, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.X, self.offset = rng.normal(size=(n, 2)), 0.3 * rng.normal(size=n) + far * (rng.random(n) < 0.1)
        self.cluster_weights = rng.choice([1.0, 3.0], len(sizes))
        self.integrator = integrator_for(distribution, "normal")
        self.psi = np.array([-0.8, 0.1, 1.3]) if family == "ordinal" else np.array([np.log(0.6)])
        self.theta = np.array([0.4, -0.3, 0.7])

    def at(self, coordinates: Array, theta: Array, nodes: int, scores: bool = False) -> Any:
        """The core's evaluation at coordinates of the kernel, given in place of those of psi."""
        rows = self.response.at(self.psi).kernel_rows(self.a, self.b)
        own = coordinates[len(coordinates) - rows.own :]
        if rows.columns is None:
            there = self.response.at(own).kernel_rows(self.a, self.b)
            a, b, shift = there.a, there.b, there.shift
            X, beta = self.X, theta[:-1]
        else:
            assert rows.groups is not None
            a, b, shift = rows.a, np.where(rows.groups >= 0, own[rows.groups], rows.b), 0.0
            X = np.ascontiguousarray(np.hstack([self.X, rows.columns]))
            beta = np.append(theta[:-1], coordinates[: rows.columns.shape[1]])
        arrays = OwnArrays(self.starts, a, b, self.offset + shift, self.cluster_weights, rows.own, rows.groups)
        likelihood = self.integrator.likelihood(X, arrays, rows.response, 1)
        plan, at = (Part(Rule(nodes)),), np.append(beta, theta[-1])
        return likelihood.unit_scores(at, plan) if scores else likelihood.evaluate(at, plan)

    def evaluate(self, whole: Array, nodes: int, scores: bool = False) -> Any:
        """The same at (beta, coordinates, sigma)."""
        return self.at(whole[2:-1], np.append(whole[:2], whole[-1]), nodes, scores)

    @property
    def whole(self) -> Array:
        return np.concatenate([self.theta[:2], self.response.coordinates(self.psi).value, self.theta[2:]])


@pytest.mark.parametrize(("family", "link"), FAMILIES)
@pytest.mark.parametrize("sizes", [(3, 5, 1, 4, 5, 2), (70, 9), (300, 2, 40)])
@pytest.mark.parametrize("distribution", [Gaussian(), Logistic(), Cauchy()])
@pytest.mark.parametrize("nodes", [1, 4, 25])
def test_derivatives_are_those_of_the_value(
    family: str, link: str | None, sizes: Any, distribution: Any, nodes: int
) -> None:
    if nodes == 1 and isinstance(distribution, Cauchy):
        pytest.skip("clusters with two modes, between which differences jump")
    model, h = Model(family, link, sizes, distribution), 1e-4
    whole = model.whole
    here: Evaluation = model.evaluate(whole, nodes)
    assert len(here.score) == len(whole)
    assert model.evaluate(whole, nodes, scores=True).sum(axis=0) == pytest.approx(here.score, rel=1e-9, abs=1e-9)
    for k, move in enumerate(np.eye(len(whole)) * h):
        ahead, behind = model.evaluate(whole + move, nodes), model.evaluate(whole - move, nodes)
        assert here.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=2e-5)
        assert here.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=2e-6, abs=2e-4)


@pytest.mark.parametrize(("family", "link"), FAMILIES)
@pytest.mark.parametrize("sizes", [(3, 5, 1, 4), (70, 9)])
def test_far_out_the_slow_formulas_agree(family: str, link: str | None, sizes: Any) -> None:
    """Rows out of the range of the fast ones put their whole cluster through the others."""
    model, h = Model(family, link, sizes, Gaussian(), far=400.0), 1e-3
    whole = model.whole
    here = model.evaluate(whole, 9)
    assert np.isfinite(here.hessian).all()
    near = Model(family, link, sizes, Gaussian(), far=200.0)
    for each in (model, near):
        here = each.evaluate(whole, 9)
        for k, move in enumerate(np.eye(len(whole)) * h):
            ahead, behind = each.evaluate(whole + move, 9), each.evaluate(whole - move, 9)
            size = 1e-7 * (1.0 + abs(here.value))
            assert here.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-5, abs=size / h)


@pytest.mark.parametrize("sizes", [(3, 5, 1, 4), (200, 2, 40)])
def test_a_gamma_cluster_as_one_row_is_the_integral_over_its_rows(sizes: tuple[int, ...]) -> None:
    """Against SciPy's densities summed over a fine grid of intercepts."""
    model = Model("gamma", None, sizes, Gaussian())
    model.cluster_weights[:] = 1.0
    (shape,), (*beta, sigma) = np.exp(model.psi), model.theta
    y, w = model.a / model.b, model.b
    grid = np.linspace(-9.0, 9.0, 20_001)
    scale = np.exp(model.X @ beta + model.offset)[:, None] * np.exp(sigma * grid) / shape
    log_p = w[:, None] * gamma.logpdf(y[:, None], shape, scale=scale)
    total = 0.0
    for first, last in pairwise(model.starts):
        g = log_p[first:last].sum(axis=0) + norm.logpdf(grid)
        total += logsumexp(g) + np.log(grid[1] - grid[0])
    without = model.evaluate(model.whole, 60).value
    assert without + model.response.at(model.psi).log_terms(model.a, model.b).sum() == pytest.approx(total, rel=1e-11)


def interval(x: mpmath.mpf, a: float, b: float) -> mpmath.mpf:
    if a > 0.0 and b > 0.0:
        return a * mpmath.log(mpmath.ncdf(x + b) - mpmath.ncdf(x - b))
    return a * mpmath.log(mpmath.ncdf(x)) if a > 0.0 else b * mpmath.log(mpmath.ncdf(-x))


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.4), (2.0, 0.01), (1.0, 3.0), (1.5, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("x", [-30.0, -6.0, -0.3, 0.0, 1.2, 9.0])
def test_interval_of_a_normal_variable(a: float, b: float, x: float) -> None:
    """Values and derivatives of its NumPy, by mpmath."""
    mpmath.mp.dps = 80
    response = with_own("ordinal", "probit")
    assert response is not None
    rows = replace(response, values=(0.0, 1.0), levels=("a", "b", "c")).kernel_rows(np.ones(1), np.ones(1)).response
    found = [float(each[0]) for each in rows.derivatives(np.array([x]), np.array([a]), np.array([b]))]
    exact = [float(mpmath.diff(lambda t: interval(t, a, b), x, k)) for k in range(5)]
    scale = np.maximum(1.0, np.abs(x)) ** np.array([2, 1, 2, 3, 4])
    assert np.array(found) == pytest.approx(exact, rel=1e-9, abs=1e-11 * float(scale.max()) / min(b or 1.0, 1.0))
    own = [float(each[0]) for each in response.own_derivatives(np.array([x]), np.array([a]), np.array([b]))]
    if a > 0.0 and b > 0.0:
        exact = [
            float(mpmath.diff(lambda t, h: interval(t, a, h), (x, b), order)) for order in ((0, 1), (1, 1), (0, 2))
        ]
    else:
        exact = [0.0, 0.0, 0.0]
    assert np.array(own) == pytest.approx(exact, rel=1e-8, abs=1e-10 * float(scale.max()) / min(b or 1.0, 1.0))


@pytest.mark.parametrize("sizes", [(3, 5, 1, 4), (300, 2, 40)])
def test_without_parameters_of_their_own_they_are_kernels_like_any_other(sizes: tuple[int, ...]) -> None:
    """What rules are chosen by; a probit row without an end is one of the binary model."""
    rng = np.random.default_rng(2)
    n = sum(sizes)
    X, y, b = rng.normal(size=(n, 2)), rng.integers(0, 4, n).astype(float), rng.uniform(0.5, 2.0, n)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    integrator, theta, plan = integrator_for(Gaussian(), "normal"), np.array([0.4, -0.3, 0.7]), (Part(Rule(9)),)

    def evaluation(a: Array, b: Array, response: Response) -> Evaluation:
        arrays = OwnArrays(starts, a, b, np.zeros(n), np.ones(len(sizes)))
        return integrator.likelihood(X, arrays, response, 1).evaluate(theta, plan)

    binary = (y > 1.0).astype(float)
    for family, link, a, other, plain in (
        ("negative_binomial", None, y, b, BinomialLogit()),
        ("ordinal", "probit", binary, 1.0 - binary, BinomialProbit()),
    ):
        found = with_own(family, link)
        assert found is not None
        at = found.of_levels(("a", "b", "c")).at(np.array([0.0, 1.0])[: 2 if family == "ordinal" else 1])
        response = at.kernel_rows(np.zeros(3), np.ones(3)).response
        one, expected = evaluation(a, other, response), evaluation(a, other, plain)
        assert one.value == pytest.approx(expected.value, rel=1e-12)
        assert one.score == pytest.approx(expected.score, rel=1e-10, abs=1e-10)
        assert one.hessian == pytest.approx(expected.hessian, rel=1e-9, abs=1e-9)
