"""The soft penalty of several random effects: derivatives, the authors' example, maxima found without derivatives."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import clusterglm as cg
from clusterglm.fit.mixed import MixedFit, task_of
from clusterglm.fit.mixed_task import choose
from clusterglm.fit.penalty import JeffreysPenalty
from clusterglm.fit.soft import SoftPenalty, losses_of
from clusterglm.model.covariance import Covariance, CovarianceTerm
from clusterglm.model.family import RESPONSES

DATA = Path(__file__).parent.parent / "golden" / "data"
TIGHT: dict[str, Any] = {"quadrature": cg.Quadrature("auto", tolerance=1e-8), "control": cg.Control(tol=1e-9)}
# The authors' draft (their repository softpen_supplementary, CC BY 4.0), table of the conditional inference data, by
# Laplace's approximation: coefficients, log l_11, l_21, log l_22; and standard errors of the last three.
DRAFT = [6.22, 0.00, -2.17, -4.37, 2.17, 0.00, 3.64, -2.87, -0.63, -0.60, -1.21]
DRAFT_ERRORS = [2.48, 1.69, 1.30]


def loss(x: float) -> float:
    return -0.5 * x * x if abs(x) <= 1.0 else 0.5 - abs(x)


class Objective:
    """A logit model's log-likelihood over a dense product rule, and the penalty, at (beta, L by row, diagonal in logs).

    Parameters
    ----------
    levels : list of (ndarray (n,), ndarray (n, d), bool)
        One for each grouping factor, outer first: groups, columns, and whether effects are correlated.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray, levels: list[tuple[Any, Any, bool]], points: int = 45) -> None:
        self.X, self.y, self.levels, self.points = X, y, levels, points

    def factors(self, theta: np.ndarray) -> list[np.ndarray]:
        found, rest = [], list(theta[self.X.shape[1] :])
        for _, Z, correlated in self.levels:
            d = Z.shape[1]
            L = np.zeros((d, d))
            for i in range(d):
                for j in range(i + 1) if correlated else [i]:
                    L[i, j] = np.exp(rest.pop(0)) if i == j else rest.pop(0)
            found.append(L)
        return found

    def _rule(self, d: int) -> tuple[np.ndarray, np.ndarray]:
        z = np.linspace(-7.0, 7.0, self.points)
        u = np.stack(np.meshgrid(*[z] * d, indexing="ij"), axis=-1).reshape(-1, d)
        w = np.exp(-0.5 * (u**2).sum(axis=1))
        return u, w / w.sum()

    def loglik(self, theta: np.ndarray) -> float:
        eta, (L, *inner) = self.X @ theta[: self.X.shape[1]], self.factors(theta)
        groups, Z, _ = self.levels[0]
        u, w = self._rule(Z.shape[1])
        at = eta[:, None] + Z @ L @ u.T
        sign = np.where(self.y == 1, -1.0, 1.0)
        if not inner:
            logs = -np.logaddexp(0.0, sign[:, None] * at)
        else:
            children, Z2, _ = self.levels[1]
            u2, w2 = self._rule(Z2.shape[1])
            both = -np.logaddexp(0.0, sign[:, None, None] * (at[:, :, None] + (Z2 @ inner[0] @ u2.T)[:, None, :]))
            names, where = np.unique(children, return_inverse=True)
            sums = np.zeros((len(names), *both.shape[1:]))
            np.add.at(sums, where, both)
            logs = np.log(np.exp(sums) @ w2)  # of each child
            groups = np.array([groups[children == name][0] for name in names])
        names, where = np.unique(groups, return_inverse=True)
        whole = np.zeros((len(names), len(u)))
        np.add.at(whole, where, logs)
        top = whole.max(axis=1)
        return float((top + np.log(np.exp(whole - top[:, None]) @ w)).sum())

    def penalty(self, theta: np.ndarray) -> float:
        (n, p), eta = self.X.shape, self.X @ theta[: self.X.shape[1]]
        w = 1.0 / (1.0 + np.exp(eta)) / (1.0 + np.exp(-eta))
        jeffreys = 0.5 * np.linalg.slogdet((self.X * w[:, None]).T @ self.X)[1]
        return float(2.0 * np.sqrt(p / n) * (jeffreys + sum(loss(x) for x in theta[p:])))

    def maximum(self, start: np.ndarray) -> tuple[np.ndarray, float]:
        found = minimize(lambda t: -self.loglik(t) - self.penalty(t), start, method="BFGS", options={"gtol": 1e-5})
        return np.asarray(found.x), -float(found.fun)


def small(seed: int = 5, m: int = 14, size: int = 6) -> pd.DataFrame:
    """Of which the maximum of the likelihood alone is singular: a correlation of 1 or -1."""
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(m), size), rng.normal(size=m * size).round(2)
    eta = 0.3 + 0.5 * x + rng.normal(size=m)[g] * (1.0 + 0.8 * x)
    return pd.DataFrame({"y": (rng.random(len(x)) < 1 / (1 + np.exp(-eta))) * 1, "x": x, "g": g})


def parameters(fit: Any) -> np.ndarray:
    """As `Objective` has them."""
    L, pattern = fit.fit.factor.copy(), fit.fit.effects.covariance.pattern
    np.fill_diagonal(L, np.log(np.diag(L)))
    return np.append(fit.params, L[pattern])


@cache
def of_small() -> Any:
    return cg.random_effects("y ~ x + (x | g)", small(), penalty="soft", **TIGHT)


# Derivatives ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["us", "diag", "homdiag", "cs"])
def test_derivatives(structure: str) -> None:
    """In the coefficients and entries of L, and in the parameters of a structure, in units of their own."""
    rng = np.random.default_rng(5)
    X = np.column_stack([np.ones(25), rng.normal(size=25)])
    scale = np.full(3, 1.7) if structure == "homdiag" else np.array([0.6, 1.7, 3.0])
    covariance = Covariance((CovarianceTerm("g", ("a", "b", "c"), structure),))
    prior = JeffreysPenalty(X, np.ones(25), np.zeros(25), RESPONSES["binomial_logit"])
    penalty = SoftPenalty(prior, 0.7, losses_of(covariance, scale))
    k = int(covariance.pattern.sum())
    for theta in (rng.normal(size=2 + k), 4.0 * rng.normal(size=2 + k), 0.2 * rng.normal(size=2 + k)):
        here, h = penalty.evaluate(theta), 1e-5
        ends = [(penalty.evaluate(theta + h * e), penalty.evaluate(theta - h * e)) for e in np.eye(2 + k)]
        np.testing.assert_allclose(here.score, [(a.value - b.value) / (2 * h) for a, b in ends], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(here.hessian, [(a.score - b.score) / (2 * h) for a, b in ends], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("terms", ["(x | g)", "(x || g)", "cs(0 + f | g)", "homdiag(0 + f | g)", "(1 | g/h)"])
def test_derivatives_in_the_parameters_of_a_covariance(terms: str) -> None:
    """By the chain rule; and what is maximised is the sum."""
    data = small().assign(f=np.tile(["a", "b"], 42), h=np.arange(84) // 3)
    fit: MixedFit = cg.random_effects(f"y ~ x + {terms}", data, penalty="soft").fit
    task = task_of(fit)
    rng = np.random.default_rng(1)
    theta, h = fit.theta + 0.05 * rng.random(len(fit.theta)), 1e-5
    here = task.penalty_at(theta)
    ends = [(task.penalty_at(theta + h * e), task.penalty_at(theta - h * e)) for e in np.eye(len(theta))]
    np.testing.assert_allclose(here.score, [(a.value - b.value) / (2 * h) for a, b in ends], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(here.hessian, [(a.score - b.score) / (2 * h) for a, b in ends], rtol=1e-6, atol=1e-7)
    plan = choose(task.likelihood, task.entries(theta), cg.Quadrature("auto")).plan
    whole, plain = task.evaluate(theta, plan), replace(task, penalty=None).evaluate(theta, plan)
    for each in ("value", "score", "hessian"):
        parts = getattr(plain, each) + getattr(here, each)
        np.testing.assert_allclose(getattr(whole, each), parts, rtol=1e-12, atol=1e-12)


def test_signs_of_columns_do_not_matter() -> None:
    fit = of_small()
    task, theta = task_of(fit.fit), fit.fit.theta
    plan = choose(task.likelihood, task.entries(theta), cg.Quadrature("auto")).plan
    here = task.evaluate(theta, plan)
    for signs in ([-1, -1, 1], [1, 1, -1], [-1, -1, -1]):
        flip = np.append([1, 1], signs)  # columns of L, whose entries stand row by row
        there = task.evaluate(flip * theta, plan)
        assert there.value == pytest.approx(here.value, abs=1e-10)
        np.testing.assert_allclose(flip * there.score, here.score, atol=1e-8)
        np.testing.assert_allclose(task.reflect(flip * theta), theta, rtol=1e-15)


# Maxima --------------------------------------------------------------------------------------------------------------


def test_digits_of_the_authors() -> None:
    """Printed to two decimals; one of them, where the optimiser stopped, lies .006 from the maximum."""
    data = pd.read_csv(DATA / "inference.csv")
    formula = "response ~ type * validity * counterexamples + (counterexamples | code)"
    options: dict[str, Any] = {"quadrature": "laplace", "control": cg.Control(tol=1e-9)}
    fit = cg.random_effects(formula, data, penalty="soft", **options)
    np.testing.assert_allclose(parameters(fit), DRAFT, atol=0.006)
    L, covariance = fit.fit.factor, fit.fit.covariance[8:, 8:]
    errors = np.sqrt(np.diag(covariance)) / [L[0, 0], 1.0, L[1, 1]]
    np.testing.assert_allclose(errors, DRAFT_ERRORS, atol=0.006)
    assert not fit.singular
    with pytest.raises(cg.errors.SeparationError, match="penalty='soft'"):
        cg.random_effects(formula, data, **options)


def test_a_maximum_without_derivatives() -> None:
    """And the estimates are inside where the likelihood alone has a correlation of 1."""
    data, fit = small(), of_small()
    assert cg.random_effects("y ~ x + (x | g)", data).singular
    X = np.column_stack([np.ones(len(data)), data.x])
    objective = Objective(X, data.y.to_numpy(), [(data.g.to_numpy(), X, True)])
    theta, value = objective.maximum(np.array([0.0, 0.0, -0.3, 0.1, -0.5]))
    np.testing.assert_allclose(parameters(fit), theta, atol=2e-4)
    assert fit.penalized_loglik == pytest.approx(value, abs=1e-6)
    assert fit.loglik == pytest.approx(objective.loglik(parameters(fit)), abs=1e-6)
    assert fit.penalty == "soft"
    assert not fit.singular
    assert np.isfinite(fit.cov()).all().all()


def test_standard_errors_are_of_the_responses_in_logarithms() -> None:
    data, fit = small(), of_small()
    X = np.column_stack([np.ones(len(data)), data.x])
    objective = Objective(X, data.y.to_numpy(), [(data.g.to_numpy(), X, True)])
    theta, h = parameters(fit), 2e-3
    unit = h * np.eye(len(theta))
    hessian = [[(objective.loglik(theta + a + b) - objective.loglik(theta + a - b) - objective.loglik(theta - a + b)
                 + objective.loglik(theta - a - b)) / (4 * h * h) for b in unit] for a in unit]  # fmt: skip
    errors, L = np.sqrt(np.diag(np.linalg.inv(-np.array(hessian)))), fit.fit.factor
    found = np.sqrt(np.diag(fit.fit.covariance)) / [1.0, 1.0, L[0, 0], 1.0, L[1, 1]]
    np.testing.assert_allclose(found, errors, rtol=1e-3)


def test_nested_factors_each_by_itself() -> None:
    data = small(8, 10, 6).assign(h=lambda d: d.g * 2 + np.tile([0, 0, 0, 1, 1, 1], 10))
    fit = cg.random_effects("y ~ x + (x | g) + (1 | g:h)", data, penalty="soft", **TIGHT)
    X = np.column_stack([np.ones(len(data)), data.x])
    levels = [(data.g.to_numpy(), X, True), (data.h.to_numpy(), X[:, :1], True)]
    objective = Objective(X, data.y.to_numpy(), levels, points=29)
    theta = parameters(fit)
    top = objective.loglik(theta) + objective.penalty(theta)
    assert fit.penalized_loglik == pytest.approx(top, abs=1e-5)
    h = 1e-3
    for e in h * np.eye(len(theta)):  # a maximum: no slope in any direction
        ends = [objective.loglik(t) + objective.penalty(t) for t in (theta + e, theta - e)]
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(0.0, abs=2e-4)


@pytest.mark.parametrize(("terms", "other"), [("cs(0 + f | g)", "(0 + f | g)"), ("homdiag(0 + f | g)", "(1 | g:f)")])
def test_the_same_model_in_other_words(terms: str, other: str) -> None:
    data = small(4, 20, 6).assign(f=np.tile(["a", "b"], 60))
    one, two = (cg.random_effects(f"y ~ x + {each}", data, penalty="soft", **TIGHT) for each in (terms, other))
    assert one.penalized_loglik == pytest.approx(two.penalized_loglik, abs=1e-6)
    np.testing.assert_allclose(one.params, two.params, atol=1e-5)


def test_one_effect_is_a_random_intercept() -> None:
    data = small().assign(one=1.0)
    one, two = (cg.random_effects(f"y ~ x + ({each} | g)", data, penalty="soft", **TIGHT) for each in ("0 + one", "1"))
    np.testing.assert_allclose(one.params, two.params, atol=1e-6)
    np.testing.assert_allclose(one.bse, two.bse, rtol=1e-5)
    assert one.variance_components.estimate[0] == pytest.approx(two.sigma, abs=1e-6)
    assert one.variance_components.std_error[0] == pytest.approx(two.sigma_se, rel=1e-5)
    assert one.penalized_loglik == pytest.approx(two.penalized_loglik, abs=1e-7)


def test_units_of_covariates_do_not_matter() -> None:
    """Those of coefficients never do: Jeffreys' prior is invariant; effects have the units of their columns."""
    data = small().assign(w=lambda d: 1000.0 + 70.0 * d.x)
    one, two = (
        cg.random_effects(f"y ~ {each} + (1 | g) + (0 + x | g)", data, penalty="soft", **TIGHT) for each in "xw"
    )
    assert two.params["w"] * 70.0 == pytest.approx(one.params["x"], abs=1e-5)
    np.testing.assert_allclose(one.variance_components.estimate, two.variance_components.estimate, atol=1e-5)


def test_weights_and_grouped_rows_count_trials() -> None:
    data = small().assign(x=lambda d: (d.x > 0) * 1, n=1)
    plain = cg.random_effects("y ~ x + (x | g)", data, penalty="soft", **TIGHT)
    cells = data.groupby(["g", "x"]).agg(s=("y", "sum"), n=("n", "sum")).reset_index().assign(f=lambda d: d.n - d.s)
    once = data.groupby(["g", "x", "y"]).n.sum().reset_index()
    for again in (
        cg.random_effects("cbind(s, f) ~ x + (x | g)", cells, penalty="soft", **TIGHT),
        cg.random_effects("y ~ x + (x | g)", once, weights="n", penalty="soft", **TIGHT),
    ):
        np.testing.assert_allclose(again.fit.theta, plain.fit.theta, atol=1e-6)


def test_with_many_rows_it_is_maximum_likelihood() -> None:
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(1500), 6), rng.normal(size=9000)
    b = rng.normal(size=(1500, 2)) @ np.array([[1.0, 0.0], [0.3, 0.7]]).T
    y = (rng.random(9000) < 1 / (1 + np.exp(-0.5 - x - b[g, 0] - b[g, 1] * x))) * 1
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    soft, plain = (cg.random_effects("y ~ x + (x | g)", data, **o) for o in ({"penalty": "soft"}, {}))
    apart = (soft.fit.theta - plain.fit.theta) / np.sqrt(np.diag(plain.fit.covariance))
    np.testing.assert_allclose(apart, 0.0, atol=0.03)
    np.testing.assert_allclose(soft.bse, plain.bse, rtol=1e-2)


# Separation ----------------------------------------------------------------------------------------------------------


def separated(kind: str, m: int = 15, size: int = 6) -> pd.DataFrame:
    """By a covariate; by a covariate within each cluster, in either direction; all equal in each cluster."""
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(m), size), rng.normal(size=m * size).round(1) + 0.05
    turned = np.where(g % 3 == 0, -1.0, 1.0)
    y = {"fixed": x > 0.0, "within": turned * x > 0.0, "equal": g % 2 == 0}[kind] * 1
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": np.arange(m * size) // 2})


@pytest.mark.parametrize("terms", ["(x | g)", "(x || g)", "(1 | g/h)"])
@pytest.mark.parametrize("kind", ["fixed", "within", "equal"])
def test_separated_responses(terms: str, kind: str) -> None:
    fit = cg.random_effects(f"y ~ x + {terms}", separated(kind), penalty="soft", quadrature="laplace")
    assert fit.converged
    assert not fit.singular
    assert np.isfinite(fit.conf_int()).all().all()
    assert (fit.variance_components.estimate.abs() < 1e4).all()


def test_slopes_that_separate_within_clusters() -> None:
    """Without the penalty they are refused; with it the score is zero by a rule of 40,001 points."""
    data = separated("within", 10, 5)
    with pytest.raises(cg.errors.IntegrationError, match="penalty='soft'"):
        cg.random_effects("y ~ x + (0 + x | g)", data)
    with pytest.warns(cg.errors.AccuracyWarning, match="integrals are known to"):
        fit = cg.random_effects("y ~ x + (0 + x | g)", data, penalty="soft")
    X = np.column_stack([np.ones(50), data.x])
    objective = Objective(X, data.y.to_numpy(), [(data.g.to_numpy(), X[:, 1:], False)], points=40_001)
    theta, h = parameters(fit), 1e-3
    assert theta[-1] > 4.0
    for e in h * np.eye(3):
        ends = [objective.loglik(t) + objective.penalty(t) for t in (theta + e, theta - e)]
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(0.0, abs=2e-4)
