"""Several random effects of many clusters, whose fits begin with a sample of them; and effects without end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import IntegrationError
from clusterglm.fit import mixed_looks, mixed_search, mixed_task


def simulated(m: int, size: int, family: str = "binomial") -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g, x = np.repeat(np.arange(m), size), rng.normal(size=m * size)
    b = rng.normal(size=(m, 2)) @ np.linalg.cholesky([[0.8, 0.2], [0.2, 0.4]]).T
    eta = -0.5 + 0.7 * x + b[g, 0] + b[g, 1] * x
    y = rng.poisson(np.exp(eta)) if family == "poisson" else (rng.random(len(g)) < 1.0 / (1.0 + np.exp(-eta)))
    return pd.DataFrame({"y": y.astype(int), "x": x, "id": g})


@pytest.mark.parametrize("rule", ["auto", "laplace"])
@pytest.mark.parametrize(
    ("family", "term"), [("binomial", "(x | id)"), ("poisson", "(x || id)"), ("binomial", "(0 + x | id)")]
)
def test_a_sample_leads_to_the_same_maximum(family: str, term: str, rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulated(2_000, 4, family)
    formula = f"y ~ x + {term}"
    fast = cg.random_effects(formula, data, family=family, quadrature=rule)
    with monkeypatch.context() as patch:
        patch.setattr(mixed_looks, "SAMPLES_FOR_EFFECTS", (10**9, 10**9))
        want = cg.random_effects(formula, data, family=family, quadrature=rule)
    assert fast.fit.optimization.evaluations < want.fit.optimization.evaluations
    assert fast.loglik == pytest.approx(want.loglik, abs=2e-6)
    se = np.sqrt(np.diag(want.fit.covariance))
    assert np.abs((fast.fit.theta - want.fit.theta) / se).max() < 2e-4
    np.testing.assert_allclose(np.sqrt(np.diag(fast.fit.covariance)), se, rtol=2e-4)
    many = cg.random_effects(formula, data, family=family, quadrature=rule, control=cg.Control(n_threads=2))
    assert many.loglik == fast.loglik
    np.testing.assert_array_equal(many.fit.theta, fast.fit.theta)


def test_effects_that_separate_within_clusters_are_refused_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The likelihood rises with their standard deviations without end; points are chosen twice, to confirm it."""
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(60), 6), rng.normal(size=360)
    side = np.sign(rng.normal(size=60))
    data = pd.DataFrame({"y": ((x - 0.7 * rng.normal(size=60)[g]) * side[g] > 0.0).astype(int), "x": x, "id": g})
    chosen: list[int] = []
    choose = mixed_search.choose
    monkeypatch.setattr(mixed_search, "choose", lambda *given: chosen.append(1) or choose(*given))
    evaluated = mixed_task.MixedTask.evaluate
    evaluations: list[int] = []

    def counted(task: Any, theta: Any, plan: Any, order: int = 2) -> Any:
        if order == 2 and any(part.places is not None for part in plan):
            evaluations.append(1)
        return evaluated(task, theta, plan, order)

    monkeypatch.setattr(mixed_task.MixedTask, "evaluate", counted)
    with pytest.raises(IntegrationError, match="still growing"):
        cg.random_effects("y ~ x + (x | id)", data)
    assert len(chosen) == 2
    assert not evaluations  # with derivatives, by lattices
