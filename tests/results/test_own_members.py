"""What follows a fit with parameters of its own: checks, envelopes and calibration, and why other members refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    g, h = np.repeat(np.arange(80), 6), np.tile(np.arange(6), 80)
    x = rng.normal(size=480)
    eta = 0.5 + 0.6 * x + 0.5 * rng.normal(size=80)[g]
    mixed, p = np.exp(eta) * rng.gamma(2.0, 0.5, 480), 1.0 / (1.0 + np.exp(-eta))
    table = pd.DataFrame({"g": g, "h": h, "x": x, "t": mixed, "y": rng.poisson(mixed)})
    table["k"] = rng.binomial(8, rng.beta(3.0 * p, 3.0 - 3.0 * p))
    return table.assign(o=np.digitize(eta + rng.logistic(size=480), [-0.5, 0.5, 1.5]))


FORMULAS = {"negative_binomial": "y", "gamma": "t", "beta_binomial": "cbind(k, 8 - k)"}


@pytest.mark.parametrize("family", FORMULAS)
def test_calibration_is_that_of_groups_and_of_a_line(data: pd.DataFrame, family: str) -> None:
    """Groups by hand; a line through fitted pooled means of the model's own link has a slope near 1."""
    fit = cg.random_effects(f"{FORMULAS[family]} ~ x", data, cluster="g", family=family)
    found = fit.calibration(groups=5)
    mean = fit.predict(kind="marginal").to_numpy()
    y = data["k"] / 8.0 if family == "beta_binomial" else data[FORMULAS[family]]
    parts = np.array_split(np.argsort(mean), 5)
    table = found.table()
    np.testing.assert_allclose(table["predicted"], [mean[p].mean() for p in parts], rtol=1e-6)
    np.testing.assert_allclose(table["observed"], [y.to_numpy()[p].mean() for p in parts], rtol=1e-9)
    again = found.recalibration
    assert abs(again.slope - 1.0) < 3.0 * again.slope_se
    drawn = fit.simulate(400, seed=1).to_numpy() / (8.0 if family == "beta_binomial" else 1.0)
    spread = np.array([drawn[p].mean(axis=0).std() for p in parts])
    width = (table["high"] - table["low"]).to_numpy() / (2.0 * 1.96)
    assert 0.7 < np.median(width / spread) < 1.3


def test_an_envelope_where_rows_are_several_kernel_rows_and_factors_cross(data: pd.DataFrame) -> None:
    fit = cg.random_effects("o ~ x + (1 | g) + (1 | h)", data, family="ordinal", quadrature="laplace")
    found = fit.residual_envelope(n_sim=9, seed=1)
    assert found.failures == ()
    z = found.residual
    assert z.shape == (480,)
    assert abs(z.mean()) < 0.2
    assert 0.7 < z.std() < 1.2


def test_median_ratios_are_functions_of_sigma(data: pd.DataFrame) -> None:
    cases: list[tuple[str, str, dict[str, Any]]] = [
        ("y ~ x", "negative_binomial", {}), ("o ~ x", "ordinal", {}), ("Surv(t, t > 0) ~ x", "weibull", {}),
    ]  # fmt: skip
    for formula, family, more in cases:
        fit = cg.random_effects(formula, data, cluster="g", family=family, **more)
        expected = np.exp(np.sqrt(2.0) * 0.6744897501960817 * fit.sigma)
        assert fit.median_odds_ratio().estimate == pytest.approx(expected, rel=1e-9)
        assert "Residuals" in str(fit.check(seed=1, n_sim=9))


def test_what_refuses_says_why(data: pd.DataFrame) -> None:
    counts = cg.random_effects("y ~ x", data, cluster="g", family="negative_binomial")
    ratings = cg.random_effects("o ~ x", data, cluster="g", family="ordinal")
    for fit, name, why in (
        (counts, "chi_squared", "no formula gives"),
        (counts, "survival", "durations"),
        (ratings, "dispersion_test", "categories do not have"),
        (ratings, "augment", "a fitted mean"),
    ):
        with pytest.raises(OptionError, match=why):
            getattr(fit, name)()
