"""What follows a fit with several random effects: where the model is one of random intercepts, the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import AccuracyWarning, OptionError
from clusterglm.results.models.base import Result
from clusterglm.results.models.mixed import MixedEffectsResult

TIGHT = cg.Quadrature("auto", tolerance=1e-8)
PRECISE: dict[str, Any] = {"quadrature": TIGHT, "control": cg.Control(tol=1e-9)}


def simulated(family: str = "binomial", m: int = 50, size: int = 6, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(m), size)
    u = rng.normal(size=(m, 2)) @ np.array([[0.9, 0.0], [0.25, 0.5]]).T
    x, w = rng.normal(size=m * size).round(1), rng.normal(size=m * size).round(1)
    eta = -0.2 + 0.5 * x + 0.4 * w + u[g, 0] + u[g, 1] * x
    y = rng.binomial(1, expit(eta)) if family == "binomial" else rng.poisson(np.exp(eta - 0.3))
    return pd.DataFrame({"y": y, "x": x, "w": w, "g": g, "one": 1.0, "t": np.tile(np.arange(size), m)})


@pytest.fixture(scope="module", params=["binomial", "poisson"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def both(family: str) -> tuple[Result, ...]:
    """The same model as one with a vector of a single effect, and as one with a random intercept."""
    data, written = simulated(family), ("0 + one", "1")
    return tuple(cg.random_effects(f"y ~ x + w + ({one} | g)", data, family=family, **PRECISE) for one in written)


@pytest.fixture(scope="module")
def slopes(family: str) -> MixedEffectsResult:
    return cg.random_effects("y ~ x + w + (x | g)", simulated(family), family=family)


@pytest.fixture(scope="module")
def logit() -> MixedEffectsResult:
    return cg.random_effects("y ~ x + w + (x | g)", simulated())


# Diagnostics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intercepts", ["conditional", "typical", "marginal", 0.3])
@pytest.mark.parametrize("kind", ["response", "pearson", "deviance", "quantile", "simulated"])
def test_residuals_are_those_of_random_intercepts(both: Any, kind: str, intercepts: Any) -> None:
    if (kind, intercepts) == ("deviance", "marginal"):
        with pytest.raises(OptionError, match="over all clusters"):
            both[0].residuals(kind, intercepts)
        return
    one, other = (fit.residuals(kind, intercepts, seed=3, n_sim=20) for fit in both)
    # simulated ranks move by one where a draw does
    np.testing.assert_allclose(one, other, atol=1e-3 if kind != "simulated" else 0.06)


def test_marginal_residuals_against_a_grid(slopes: MixedEffectsResult) -> None:
    """Moments over the effects of each row, by a plain rule in two dimensions."""
    s = np.linspace(-8.0, 8.0, 161)
    u = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    weight = np.exp(-0.5 * (u**2).sum(axis=1))
    weight /= weight.sum()
    data, Z = slopes.data, slopes.fit.effects.Z
    eta = (data.X @ slopes.params.to_numpy())[:, None] + Z @ (u @ slopes.fit.factor.T).T
    mean = slopes.response.mean(eta)
    first, second = mean @ weight, (mean**2) @ weight
    variance = second - first**2 + slopes.response.variance(mean) @ weight
    expected = (data.a - first) / np.sqrt(variance)
    found = slopes.residuals("pearson", "marginal").to_numpy()[data.row_index]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    probability = slopes.response.tails(data.a[:, None], eta, data.trials[:, None])[0] @ weight
    z = slopes.residuals("quantile", "marginal", seed=1).to_numpy()[data.row_index]
    from scipy.special import ndtr

    assert (ndtr(z) <= probability + 1e-9).all()


def test_tests_by_simulation(both: Any, slopes: MixedEffectsResult) -> None:
    if slopes.family == "poisson":
        assert 0.5 < slopes.dispersion_test(30, seed=1).ratio < 2.0
        assert slopes.zero_inflation_test(30, seed=1).expected > 0.0
        for name in ("dispersion_test", "zero_inflation_test"):
            one, other = (getattr(fit, name)(40, seed=2) for fit in both)
            assert one.statistic == pytest.approx(other.statistic, rel=1e-4)
            assert one.expected == pytest.approx(other.expected, rel=2e-2)
    one, other = (fit.calibration() for fit in both)
    np.testing.assert_allclose(one.table(), other.table(), rtol=1e-3, atol=1e-4)
    ends = [fit.residual_envelope(9, seed=1) for fit in both]
    np.testing.assert_allclose(ends[0].residual, ends[1].residual, atol=1e-3)
    verdicts = [[(each.name, each.fine) for each in fit.check(seed=1, n_sim=20).findings] for fit in both]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("kind", ["one_step", "exact"])
def test_influence_is_that_of_random_intercepts(both: Any, kind: str) -> None:
    one, other = (fit.influence(kind, clusters=range(6)) for fit in both)
    np.testing.assert_allclose(one.estimate, other.estimate, atol=1e-4)
    np.testing.assert_allclose(one.se, other.se, rtol=1e-3)
    np.testing.assert_allclose(one.dfbetas, other.dfbetas, atol=2e-3)
    np.testing.assert_allclose(one.cook, other.cook, rtol=1e-2, atol=1e-4)
    if kind == "exact":
        np.testing.assert_allclose(one.displacement, other.displacement, rtol=1e-2, atol=1e-4)


def test_one_step_is_near_what_deletion_does(slopes: MixedEffectsResult) -> None:
    data = simulated(slopes.family)
    one, exact = (slopes.influence(kind, clusters=[0, 7]) for kind in ("one_step", "exact"))
    assert exact.parameters == (*slopes.params.index, "sd(g: (Intercept))", "sd(g: x)", "cor(g: (Intercept),x)")
    np.testing.assert_allclose(one.estimate, slopes._estimates)
    for k, label in enumerate([0, 7]):
        without = cg.random_effects("y ~ x + w + (x | g)", data[data["g"] != label], family=slopes.family)
        np.testing.assert_allclose(exact.deleted[k], without._estimates, atol=2e-4)
        assert exact.displacement[k] > 0.0
    np.testing.assert_allclose(one.dfbetas, exact.dfbetas, atol=0.15)


def test_influence_where_the_covariance_is_singular() -> None:
    rng = np.random.default_rng(12)
    g = np.repeat(np.arange(30), 5)
    data = pd.DataFrame({"x": rng.normal(size=150), "g": g})
    data["y"] = rng.binomial(1, expit(rng.normal(size=30)[g] + 0.5 * data["x"]))
    fit = cg.random_effects("y ~ x + (x || g)", data)
    alone = cg.random_effects("y ~ x + (1 | g)", data)
    assert fit.singular
    one, other = (each.influence() for each in (fit, alone))
    np.testing.assert_allclose(one.cook, other.cook, rtol=1e-2, atol=1e-5)


def test_integrals(both: Any, slopes: MixedEffectsResult) -> None:
    assert slopes.integration_check().adequate
    one, other = (fit.integration_curve((1, 3, 5)) for fit in both)
    np.testing.assert_allclose(one.difference, other.difference, atol=2e-6)
    rough = cg.random_effects("y ~ x + w + (x | g)", simulated(), quadrature=3)
    with pytest.warns(AccuracyWarning, match='quadrature="auto"'):
        found = rough.integration_check()
    assert found.rule == "3 adaptive nodes for each effect"
    accurate = cg.random_effects("y ~ x + w + (x | g)", simulated())
    moved = (accurate._estimates - rough._estimates) / np.sqrt(np.diag(rough.cov()))
    np.testing.assert_allclose(found.shift, moved, atol=0.02)
    with pytest.raises(OptionError, match="nodes"):
        slopes.integration_curve((0,))
