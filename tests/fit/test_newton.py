"""The trust region where second derivatives are out of all proportion."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.fit.newton import _Model, maximize
from clusterglm.likelihood.evaluation import Evaluation
from clusterglm.model.arrays import Array
from clusterglm.model.control import Control


@pytest.mark.parametrize("curvature", [1e3, 8.93e19, 1e200])
def test_absurd_curvature_does_not_keep_the_search_busy_for_ever(curvature: float) -> None:
    """As of a Cauchy model's log-likelihood for sigma near zero: the step must stay a number, and the search end."""

    def objective(theta: Array) -> Evaluation:
        hessian = np.diag([-1.0, curvature if theta[1] == 0.0 else -1.0])
        slope = 50.0 if theta[1] == 0.0 else 2.0 - theta[1]
        value = -0.5 * (theta[0] - 1.0) ** 2 - 0.5 * (theta[1] - 2.0) ** 2
        return Evaluation(value, np.array([1.0 - theta[0], slope]), hessian)

    found = maximize(objective, np.zeros(2), Control(), radius=1.0)
    assert np.isfinite(found.theta).all()
    assert found.optimization.status == ("converged" if curvature < 1e4 else "stalled")


@pytest.mark.parametrize("radius", [1e-6, 2.0, 1e6])
@pytest.mark.parametrize("curvature", [-7e20, -1e3, -1e-8])
def test_step_is_finite_and_fills_the_radius(curvature: float, radius: float) -> None:
    """With a curvature of -7e20 the shift that makes the model concave is lost in rounding."""
    model = _Model(
        np.array([curvature, -170.0, 211.0])[np.argsort([curvature, -170.0, 211.0])],
        np.eye(3),
        np.array([310.0, 8.5e-05, -2e-4]),
    )
    step, promise = model.step(radius)
    assert np.isfinite(step).all()
    assert np.linalg.norm(step) == pytest.approx(radius, rel=2e-3)
    assert promise > 0.0


@pytest.mark.parametrize("tiny", [1e-310, 1e-200, 1e-120])
def test_a_nearly_singular_model_warns_of_nothing(tiny: float) -> None:
    """As of separated responses, whose likelihood is flat in the end."""
    step, promise = _Model(np.array([tiny, 10.0 * tiny]), np.eye(2), np.array([1.0, 0.5])).step(2.0)
    assert np.linalg.norm(step) == pytest.approx(2.0, rel=2e-3)
    assert promise > 0.0


@pytest.mark.parametrize("begin", [1e-4, 0.5])
def test_a_step_that_leaves_nothing_is_not_evaluated(begin: float) -> None:
    """By a bound of third derivatives: the value and the gradient after it are those that were promised."""
    seen: list[float] = []

    def objective(theta: Array) -> Evaluation:
        x = float(theta[0])
        seen.append(x)
        return Evaluation(-0.5 * x**2 + 0.1 * x**3, np.array([-x + 0.3 * x**2]), np.array([[-1.0 + 0.6 * x]]))

    plain = maximize(objective, np.array([begin]), Control(), radius=2.0)
    count = len(seen)
    seen.clear()
    found = maximize(objective, np.array([begin]), Control(), radius=2.0, bend=1.0)
    assert len(seen) == found.optimization.evaluations < count
    assert found.optimization.converged
    assert found.optimization.gradient_norm <= 1e-6
    assert abs(found.theta[0]) <= found.optimization.gradient_norm
    assert found.evaluation.value == pytest.approx(plain.evaluation.value, abs=1e-11)
