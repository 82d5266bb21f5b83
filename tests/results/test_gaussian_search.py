"""Maxima of linear mixed models: none that is higher is missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg


@pytest.mark.parametrize("formula", ["y ~ x + cs(0 + f | a)", "y ~ x + (x | a) + (1 | b)", "y ~ x + (x | a) + (x | b)"])
def test_no_higher_maximum_is_missed(formula: str) -> None:
    """Small data, whose likelihoods have several maxima, many of them singular: against quasi-Newton from many starts.

    With one correlation of several effects the search had ended at standard deviations some of which were negative, and
    at correlations that ran to their end without a word of it.
    """
    from scipy.optimize import minimize

    rng = np.random.default_rng(4)
    for reml in (False, True, False, True):
        n = 40
        a, b, x = rng.integers(0, 4, n), rng.integers(0, 6, n), rng.normal(size=n)
        y = x + rng.normal(size=4)[a] + 0.5 * rng.normal(size=6)[b] * x + rng.normal(size=n)
        data = pd.DataFrame({"y": y, "x": x, "a": a, "b": b, "f": rng.choice(list("pqr"), n)})
        fit = cg.random_effects(formula, data, family="gaussian", reml=reml)
        assert fit.converged
        assert (fit.variance_components.query("kind == 'sd'")["estimate"] >= 0.0).all()
        task, best = fit.fit.task, -np.inf

        def objective(theta: np.ndarray, task: Any = task) -> tuple[float, np.ndarray]:
            found = task.evaluate(theta)
            return (-found.value, -found.score) if np.isfinite(found.value) else (1e10, np.zeros(len(theta)))

        for scale in (0.1, 1.0, 3.0):
            for _ in range(2):
                start = np.abs(rng.normal(size=len(fit.fit.phi))) * scale
                found = minimize(objective, start, jac=True, method="BFGS")
                scales = found.x[task.exponents == 1.0]
                if "cs(" not in formula or (scales >= 0.0).all() or (scales <= 0.0).all():
                    best = max(best, -found.fun)
        assert fit.loglik >= best - 1e-5
