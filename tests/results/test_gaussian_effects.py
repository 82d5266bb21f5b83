"""Means, effects, R2 and fits without terms of normal responses: against the algebra, and published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError

GOLDEN = Path(__file__).parent.parent / "golden" / "data"
FORMULA = "Reaction ~ Days * g + late"
FITS: dict[str, Any] = {
    "least squares": lambda d: cg.pooled(FORMULA, d, cluster="Subject", family="gaussian"),
    "ML": lambda d: cg.random_effects(f"{FORMULA} + (Days | Subject)", d, family="gaussian"),
    "REML": lambda d: cg.random_effects(f"{FORMULA} + (Days | Subject)", d, family="gaussian", reml=True),
    "crossed": lambda d: cg.random_effects(f"{FORMULA} + (1 | Subject) + (1 | batch)", d, family="gaussian"),
}


@pytest.fixture(scope="module")
def sleep() -> pd.DataFrame:
    d = pd.read_csv(GOLDEN / "sleepstudy.csv")
    third = d.Days.map(lambda day: "abc"[int(day) % 3])
    batch = np.random.default_rng(1).integers(0, 6, len(d))
    return d.assign(late=np.where(d.Days > 4, "late", "early"), g=third, batch=batch)


@pytest.fixture(scope="module", params=list(FITS))
def fit(request: pytest.FixtureRequest, sleep: pd.DataFrame) -> Any:
    return FITS[request.param](sleep)


def design(d: pd.DataFrame) -> np.ndarray:
    b, c = (np.asarray(d.g == level, dtype=float) for level in "bc")
    days, late = np.asarray(d.Days, dtype=float), np.asarray(d.late == "late", dtype=float)
    return np.column_stack([np.ones(len(d)), days, b, c, late, days * b, days * c])


def coefficients(fit: Any) -> tuple[np.ndarray, np.ndarray]:
    names = ["(Intercept)", "Days", "gb", "gc", "latelate", "Days:gb", "Days:gc"]
    return fit.params[names].to_numpy(), fit.cov(parameters="coefficients").loc[names, names].to_numpy()


def test_means_are_those_of_the_design(fit: Any, sleep: pd.DataFrame) -> None:
    beta, V = coefficients(fit)
    mean = np.array([design(sleep.assign(g=level)).mean(axis=0) for level in "abc"])
    found = fit.adjusted_means("g").to_frame()
    np.testing.assert_allclose(found.estimate, mean @ beta, rtol=1e-10)
    np.testing.assert_allclose(found.std_error, np.sqrt(np.diag(mean @ V @ mean.T)), rtol=1e-10)
    np.testing.assert_array_equal(fit.adjusted_means("g", kind="typical").to_frame().estimate, found.estimate)


def test_contrasts_and_effects(fit: Any, sleep: pd.DataFrame) -> None:
    beta, V = coefficients(fit)
    high, low = (design(sleep.assign(g=level)).mean(axis=0) for level in "ba")
    effects = fit.average_effects().set_index(["term", "contrast"])
    each = effects.loc[("g", "b - a")]
    assert each.estimate == pytest.approx((high - low) @ beta, rel=1e-9)
    assert each.std_error == pytest.approx(np.sqrt((high - low) @ V @ (high - low)), rel=1e-9)
    contrast = fit.adjusted_means("g").contrasts("reference").to_frame().iloc[0]
    assert abs(contrast.estimate) == pytest.approx(abs(each.estimate), rel=1e-9)
    b, c = (float(np.mean(sleep.g == level)) for level in "bc")
    along = np.array([0.0, 1.0, 0.0, 0.0, 0.0, b, c])
    days = effects.loc[("Days", "derivative")]
    assert days.estimate == pytest.approx(along @ beta, rel=1e-9)
    assert days.std_error == pytest.approx(np.sqrt(along @ V @ along), rel=1e-9)


def test_functions_of_the_residual_standard_deviation(fit: Any) -> None:
    found = fit.delta_method("log(residual_sd)")
    V = fit.cov()
    error = np.sqrt(V.loc["residual_sd", "residual_sd"]) / fit.family_parameters["residual_sd"]
    assert found.std_error.iloc[0] == pytest.approx(error, rel=1e-9)


def test_kinds_that_there_are_not(fit: Any) -> None:
    with pytest.raises(OptionError, match="kind='conditional'"):
        fit.adjusted_means("g", kind="conditional")


def test_fits_without_terms(sleep: pd.DataFrame) -> None:
    whole = FITS["ML"](sleep)
    table = whole.drop_one().set_index("term")
    smaller = cg.random_effects("Reaction ~ Days * g + (Days | Subject)", sleep, family="gaussian")
    assert table.loglik["late"] == pytest.approx(smaller.loglik, abs=1e-8)
    assert table.lr_statistic["late"] == pytest.approx(2.0 * (whole.loglik - smaller.loglik), abs=1e-7)
    with pytest.raises(OptionError, match="drop_one"):
        FITS["REML"](sleep).drop_one()


def test_r2_of_iris_as_performance_has_it() -> None:
    """R's performance 0.10, tests/testthat/test-r2_nakagawa.R: lmer(Sepal.Length ~ Petal.Length + (1 | Species))."""
    iris = pytest.importorskip("sklearn.datasets").load_iris(as_frame=True).frame
    iris.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    model = "sepal_length ~ petal_length + (1 | species)"
    found = cg.random_effects(model, iris, family="gaussian", reml=True).r2()
    assert found.conditional == pytest.approx(0.969409477972726, abs=2e-6)  # lmer stops at some five digits
    assert found.marginal == pytest.approx(0.65846169440315, abs=2e-5)


def test_r2_is_the_partition_of_the_variance(sleep: pd.DataFrame) -> None:
    fit = FITS["REML"](sleep)
    beta, _ = coefficients(fit)
    f = float(np.var(design(sleep) @ beta, ddof=1))
    Z = np.column_stack([np.ones(len(sleep)), sleep.Days])
    r = float(np.mean(np.einsum("ij,jk,ik->i", Z, fit.effects_covariance().to_numpy(), Z)))
    e = fit.family_parameters["residual_sd"] ** 2
    found = fit.r2()
    assert found.marginal == pytest.approx(f / (f + r + e), rel=1e-9)
    assert found.conditional == pytest.approx((f + r) / (f + r + e), rel=1e-9)
