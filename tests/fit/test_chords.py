"""Newton's method with few Hessians finds the same maximum, with the Hessian that belongs there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.fit import mixed, mixed_looks
from clusterglm.fit.chords import Chords, Learned
from clusterglm.fit.newton import maximize
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control

GOLDEN = Path(__file__).parent.parent / "golden"
_TOP = np.array([0.7, -0.4, 1.2])


def _own(theta: Array) -> Evaluation:
    """100 times a concave function with third derivatives, whose maximum is known."""
    z = theta - _TOP
    value = -100.0 * float(np.sum(np.cosh(z) - 1.0 + 0.3 * (np.exp(z) - 1.0 - z)) + 0.5 * np.sum(z) ** 2)
    slope = -100.0 * (np.sinh(z) + 0.3 * (np.exp(z) - 1.0) + np.sum(z))
    return Evaluation(value, slope, -100.0 * (np.diag(np.cosh(z) + 0.3 * np.exp(z)) + np.ones((3, 3))))


class _Counted:
    def __init__(self) -> None:
        self.hessians = 0

    def __call__(self, theta: Array) -> Evaluation:
        self.hessians += 1
        return _own(theta)


def _scored(theta: Array) -> Evaluation:
    return replace(_own(theta), hessian=np.full((3, 3), np.nan))


@pytest.mark.parametrize(
    ("bend", "most"),
    [(np.diag([10.0, -20.0, 5.0]), 1), (-400.0 * np.eye(3), 8), (1e4 * np.eye(3), 8)],
    ids=["much the same", "far too curved", "not concave"],
)
@pytest.mark.parametrize("unit", [1.0, 1e-6])
def test_the_maximum_and_its_hessian(bend: Array, most: int, unit: float) -> None:
    """Whatever the other likelihood is like; where it is much like it, with one Hessian."""
    own = _Counted()

    def similar(theta: Array) -> Evaluation:
        return Evaluation(0.0, np.zeros(3), _own(theta).hessian + bend)

    def smaller(function: object, theta: Array) -> Evaluation:
        at = function(theta)  # type: ignore[operator]
        return Evaluation(unit * at.value, unit * at.score, unit * at.hessian)

    objective = Chords(*(lambda theta, f=f: smaller(f, theta) for f in (_scored, own, similar)), unit)  # type: ignore[misc]
    found = maximize(objective, np.zeros(3), Control(), unit=unit)
    assert found.optimization.converged
    np.testing.assert_allclose(found.theta, _TOP, atol=1e-7)
    np.testing.assert_allclose(found.evaluation.hessian, unit * _own(_TOP).hessian, rtol=1e-3)
    assert 1 <= own.hessians <= most


def test_laplace_has_the_hessian_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit by Laplace's approximation is that of Newton's method with the whole Hessian at each step."""
    toenail = pd.read_csv(GOLDEN / "data" / "toenail.csv")
    formula = json.loads((GOLDEN / "several_effects.json").read_text())["toenail_logit_slope"]["formula"]

    def fit() -> mixed.MixedFit:
        return cg.random_effects(formula, toenail, quadrature="laplace").fit

    with monkeypatch.context() as patch:
        patch.setattr(mixed_looks, "Chords", lambda scored, own, *others: own)
        want = fit()
    found = fit()
    assert found.loglik == pytest.approx(want.loglik, abs=1e-8)
    se = np.sqrt(np.diag(want.covariance))
    np.testing.assert_allclose((found.theta - want.theta) / se, 0.0, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), se, rtol=1e-3)


@pytest.mark.parametrize("bend", [np.diag([40.0, -30.0, 20.0]) + 25.0 * np.eye(3)[::-1], np.diag([0.0, -400.0, 60.0])])
def test_a_hessian_that_learns_needs_the_likelihoods_own_once(bend: Array) -> None:
    """However far the other likelihood's stays from it; in fewer steps than without learning, and with no own one
    where the maximum is only sought roughly."""

    def similar(theta: Array) -> Evaluation:
        return Evaluation(0.0, np.zeros(3), _own(theta).hessian + bend)

    learned, own = Learned(), _Counted()
    roughly = Chords(_scored, own, similar, 1.0, 0.02, learned)
    near = maximize(roughly, np.zeros(3), Control(), tolerance=0.02)
    assert own.hessians == 0
    found = maximize(Chords(_scored, own, similar, 1.0, 1e-6, learned), near.theta, Control())
    assert found.optimization.converged
    assert own.hessians == 1
    np.testing.assert_allclose(found.theta, _TOP, atol=1e-7)
    np.testing.assert_allclose(found.evaluation.hessian, _own(_TOP).hessian, rtol=1e-3)
    assert near.optimization.evaluations + found.optimization.evaluations <= 14


def test_what_is_learned_is_the_change_of_the_score() -> None:
    """The secant equation holds where the score falls along a step; where it rises the Hessian stays negative."""
    step, before = np.array([0.3, -0.2, 0.1]), np.diag([-4.0, -9.0, -2.0])
    known = Learned(np.zeros(3), before)
    known.learn(step, change := np.array([-1.5, 1.0, -0.1]))
    assert known.hessian is not None
    np.testing.assert_allclose(known.hessian @ step, change)
    known.learn(step, -change)
    assert np.linalg.eigvalsh(known.hessian).max() < 0.0
