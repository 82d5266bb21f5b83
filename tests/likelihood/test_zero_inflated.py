"""Zero-inflated kernels: NumPy and core against formulas, differences and integrals that share no code with them."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import nbinom, norm, poisson

from clusterglm.likelihood.evaluation import Evaluation, OwnArrays
from clusterglm.likelihood.plan import Goal, Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.arrays import Array
from clusterglm.model.distribution import Gaussian
from clusterglm.model.response.zeros.inflated import ZeroInflated

KINDS = [False, True]


class Model:
    """Clusters of some sizes, whose rows' own numbers are of two columns."""

    def __init__(self, dispersed: bool, sizes: tuple[int, ...], far: float = 0.0) -> None:
        rng = np.random.default_rng(7)
        n = sum(sizes)
        self.y = rng.poisson(2.0, n) * (rng.random(n) < 0.6) * 1.0
        self.X, self.Z = rng.normal(size=(n, 2)), np.column_stack([np.ones(n), rng.normal(size=n)])
        self.w = np.ones(n) if dispersed else rng.choice([1.0, 2.0, 0.5], n)
        self.offset = 0.3 * rng.normal(size=n) + far * (rng.random(n) < 0.1)
        self.cluster_weights = rng.choice([1.0, 3.0], len(sizes))
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.dispersed, self.response = dispersed, ZeroInflated(names=("a", "b"), dispersed=dispersed)
        self.integrator = integrator_for(Gaussian(), "normal", several_modes=True)
        psi = [np.log(0.6)] if dispersed else []
        self.whole = np.array([0.4, -0.3, *psi, -0.5, 0.8, 0.7])  # (beta, own, sigma)

    def arrays(self, psi: Array) -> tuple[Any, OwnArrays]:
        kernel, a, b, shift = self.response.at(psi).zero_rows(self.w * self.y, self.w, self.Z @ psi[-2:], None)
        Z = np.where(self.y[:, None] == 0.0, self.Z, 0.0)
        if self.dispersed:
            Z = np.column_stack([np.ones(len(Z)), Z])
        numbers = np.array([0, 1, 1] if self.dispersed else [0, 0])
        return kernel, OwnArrays(
            self.starts, a, b, self.offset + shift, self.cluster_weights, Z.shape[1], None, np.ascontiguousarray(Z),
            numbers,
        )  # fmt: skip

    def evaluate(self, whole: Array, rule: Rule, scores: bool = False) -> Any:
        kernel, arrays = self.arrays(whole[2:-1])
        likelihood = self.integrator.likelihood(self.X, arrays, kernel, 1)
        theta, plan = np.append(whole[:2], whole[-1]), (Part(rule),)
        return likelihood.unit_scores(theta, plan) if scores else likelihood.evaluate(theta, plan)


@pytest.mark.parametrize("dispersed", KINDS)
@pytest.mark.parametrize("sizes", [(3, 5, 1, 4, 5, 2), (70, 9), (300, 2, 40)])
@pytest.mark.parametrize("rule", [Rule(1), Rule(5), Rule(25), Rule(65, 9.0)])
def test_derivatives_are_those_of_the_value(dispersed: bool, sizes: tuple[int, ...], rule: Rule) -> None:
    """In coefficients, sigma and parameters of the kernel's numbers: all pairs of these, nodes that move or do not."""
    model, h = Model(dispersed, sizes), 1e-4
    here: Evaluation = model.evaluate(model.whole, rule)
    assert len(here.score) == len(model.whole)
    assert model.evaluate(model.whole, rule, scores=True).sum(axis=0) == pytest.approx(here.score, rel=1e-9, abs=1e-9)
    for k, move in enumerate(np.eye(len(model.whole)) * h):
        ahead, behind = (model.evaluate(model.whole + sign * move, rule) for sign in (1.0, -1.0))
        assert here.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=2e-5)
        assert here.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=2e-6, abs=2e-4)


@pytest.mark.parametrize("dispersed", KINDS)
def test_far_out_the_slow_formulas_agree(dispersed: bool) -> None:
    for far in (200.0, 400.0):
        model, h = Model(dispersed, (3, 5, 1, 4), far=-far), 1e-4
        here = model.evaluate(model.whole, Rule(65, 9.0))
        assert np.isfinite(here.hessian).all()
        for k, move in enumerate(np.eye(len(model.whole)) * h):
            ahead, behind = (model.evaluate(model.whole + sign * move, Rule(65, 9.0)) for sign in (1.0, -1.0))
            difference = (ahead.value - behind.value) / (2.0 * h)
            assert here.score[k] == pytest.approx(difference, rel=1e-5, abs=1e-8 * (1.0 + abs(here.value)) / h)


def log_zero(x: mpmath.mpf, w: mpmath.mpf, size: float) -> mpmath.mpf:
    m = mpmath.exp(x) if size == 0.0 else size * mpmath.log(1 + mpmath.exp(x))
    return mpmath.log(mpmath.exp(w) + mpmath.exp(-m))


@pytest.mark.parametrize("size", [0.0, 1.7, 40.0])
@pytest.mark.parametrize("w", [-30.0, -1.0, 0.0, 2.5, 40.0])
@pytest.mark.parametrize("x", [-20.0, -1.0, 0.3, 2.0, 4.0])
def test_a_zero_by_mpmath(size: float, w: float, x: float) -> None:
    mpmath.mp.dps = 60
    response = ZeroInflated(names=("a",), dispersed=size > 0.0)
    at = response.at(np.array([-np.log(size), w]) if size > 0.0 else np.array([w]))
    kernel, a, b, _ = at.zero_rows(np.zeros(1), np.ones(1), np.array([w]), None)
    found = [float(each[0]) for each in kernel.derivatives(np.array([x]), a, b)]
    exact = [float(mpmath.diff(lambda t: log_zero(t, w, size), x, k)) for k in range(5)]
    scale = max(1.0, float(np.exp(min(x, 4.0)))) ** 4
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-13 * scale)
    own = kernel.own_derivatives(np.array([x]), a, b)
    of_w = [float(each[-1][0]) for each in (own.first, own.crossed, own.second)]
    exact = [float(mpmath.diff(lambda t, v: log_zero(t, v, size), (x, w), order)) for order in ((0, 1), (1, 1), (0, 2))]
    assert of_w == pytest.approx(exact, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("dispersed", KINDS)
def test_core_and_numpy_are_the_same_rows(dispersed: bool) -> None:
    """Values and pooled sums of the core, from probabilities of scipy's."""
    from clusterglm.likelihood.evaluation import core_problem
    from clusterglm.likelihood.pooled import evaluate_pooled

    model = Model(dispersed, (3, 5, 1, 4))
    kernel, arrays = model.arrays(model.whole[2:-1])
    found = evaluate_pooled(core_problem(model.X, arrays, kernel), model.whole[:2])
    eta, w = model.X @ model.whole[:2] + model.offset, model.Z @ model.whole[-3:-1]
    own, one = model.response.at(model.whole[2:-1]), np.ones(len(eta))
    weights = model.w * np.repeat(model.cluster_weights, np.diff(model.starts))
    logs = own.log_probability(model.y, eta, w)
    left_out = -np.logaddexp(0.0, w) + np.where(model.y > 0.0, own.count.log_constants(model.y, one, one), 0.0)
    mu, pi = np.exp(eta), expit(w)
    pmf = nbinom(1.0 / 0.6, 1.0 / (1.0 + 0.6 * mu)).pmf if dispersed else poisson(mu).pmf
    direct = np.log(np.where(model.y == 0.0, pi, 0.0) + (1.0 - pi) * pmf(model.y))
    assert logs == pytest.approx(direct, rel=1e-12, abs=1e-13)
    shift = np.where(model.y > 0.0, model.y * np.log(0.6), 0.0) if dispersed else 0.0
    assert found.value == pytest.approx(float(weights @ (direct - left_out + shift)), rel=1e-12)


def cluster_integral(y: Array, eta: Array, w: float, sigma: float, alpha: float = 0.0) -> float:
    """By sums over 40,001 points, of probabilities of scipy's."""
    u = np.linspace(-10.0, 10.0, 40_001)
    mu, pi = np.exp(eta[:, None] + sigma * u), expit(w)
    pmf = poisson(mu).pmf(y[:, None]) if alpha == 0.0 else nbinom(1.0 / alpha, 1.0 / (1.0 + alpha * mu)).pmf(y[:, None])
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(y[:, None] == 0.0, pi, 0.0) + (1.0 - pi) * pmf).sum(axis=0) + norm.logpdf(u)
    return float(np.logaddexp.reduce(logs) + np.log(u[1] - u[0]))


@pytest.mark.parametrize("dispersed", KINDS)
@pytest.mark.parametrize("sigma", [0.3, 1.5, 4.0])
@pytest.mark.parametrize(
    "y", [(0, 0, 0, 0), (0, 0, 3, 0), (0, 25, 0, 0, 30), (0, 0, 0, 0, 0, 0, 0, 1), (60, 75, 0, 58, 0)]
)
def test_rules_hold_what_they_say_where_a_cluster_has_two_modes(
    dispersed: bool, sigma: float, y: tuple[int, ...]
) -> None:
    """Zeros at a mean of 20 are for certain, or the cluster's mean is small: both lie in the integrals."""
    alpha, w = (0.4 if dispersed else 0.0), -1.0
    response = ZeroInflated(values=(*((alpha,) if dispersed else ()), w), names=("a",), dispersed=dispersed)
    counts, n = np.array(y, dtype=np.float64), len(y)
    eta = np.full(n, np.log(20.0))
    kernel, a, b, shift = response.zero_rows(counts, np.ones(n), np.full(n, w), None)
    arrays = OwnArrays(np.array([0, n]), a, b, eta + shift, np.ones(1))
    integrator = integrator_for(Gaussian(), "normal", several_modes=True)
    likelihood: Any = integrator.likelihood(np.zeros((n, 1)), arrays, kernel, 1)
    theta = np.array([0.0, sigma])
    choice = integrator.choose(likelihood, theta, Goal(1e-6, 1), None)
    found = likelihood.evaluate(theta, choice.plan).value
    one = np.ones(n)
    constants = np.where(counts > 0.0, response.count.log_constants(counts, one, one), 0.0)
    constants -= np.logaddexp(0.0, w) + (counts * np.log(alpha) if dispersed else 0.0)
    exact = cluster_integral(counts, eta, w, sigma, alpha)
    assert found + constants.sum() == pytest.approx(exact, abs=1e-9)
    assert choice.error < 1e-6


def test_several_modes_are_seen_where_rules_follow_one() -> None:
    """A cluster whose higher mode is where a search from zero does not begin: Laplace's rule stands there."""
    response = ZeroInflated(values=(-4.0,), names=("a",))
    n = 6
    kernel, a, b, shift = response.zero_rows(np.zeros(n), np.ones(n), np.full(n, -4.0), None)
    arrays = OwnArrays(np.array([0, n]), a, b, np.full(n, 4.0) + shift, np.ones(1))
    likelihood: Any = integrator_for(Gaussian(), "normal", several_modes=True).likelihood(
        np.zeros((n, 1)), arrays, kernel, 1
    )
    mode = likelihood.modes(np.array([0.0, 1.5]))[0]
    s = np.linspace(-9.0, 9.0, 200_001)
    g = -0.5 * s * s + n * np.logaddexp(-4.0, -np.exp(4.0 + 1.5 * s))
    assert mode == pytest.approx(s[np.argmax(g)], abs=1e-3)
    assert mode < -2.0
