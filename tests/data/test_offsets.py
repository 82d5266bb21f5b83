"""Offsets and exposures: the same fit however they are given, notes where a logarithm was forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import DataError, OptionError

VERBS = [cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional, cg.nonparametric]
COUNTS: dict[str, Any] = {"cluster": "g", "family": "poisson"}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(40), 5)
    d = pd.DataFrame({"g": g, "x": rng.normal(size=200), "time": rng.uniform(0.5, 20.0, 200)})
    d["c"] = rng.poisson(d.time * np.exp(0.3 * d.x + 0.5 * rng.normal(size=40)[g]))
    d["y"] = (rng.random(200) < 0.5) * 1
    return d.assign(log_time=np.log(d.time))


@pytest.mark.parametrize("verb", VERBS)
def test_an_exposure_is_an_offset_of_its_logarithm(table: pd.DataFrame, verb: Any) -> None:
    known = verb("c ~ x", table, offset="log_time", **COUNTS)
    for exposure in ("time", table.time, table.time.to_numpy()):
        fit = verb("c ~ x", table, exposure=exposure, **COUNTS)
        np.testing.assert_allclose(fit.params, known.params, rtol=1e-12)
        assert fit.loglik == pytest.approx(known.loglik, rel=1e-13)
        assert fit.data.notes == ()


def test_select_distribution_takes_an_exposure(table: pd.DataFrame) -> None:
    names = ["gaussian", "nonparametric"]
    one = cg.select_distribution("c ~ x", table, exposure="time", distributions=names, **COUNTS)
    other = cg.select_distribution("c ~ x", table, offset="log_time", distributions=names, **COUNTS)
    pd.testing.assert_frame_equal(one.table, other.table)


def test_new_data_bring_their_exposure(table: pd.DataFrame, tmp_path: Path) -> None:
    fit = cg.random_effects("c ~ x", table, exposure="time", **COUNTS)
    fit.save(tmp_path / "fit.json")
    new = pd.DataFrame({"x": [0.0, 1.0, 1.0, 1.0], "time": [2.0, 7.0, 0.0, np.nan]})
    expected = cg.random_effects("c ~ x", table, offset="log_time", **COUNTS).predict(
        new.iloc[:2].assign(log_time=np.log([2.0, 7.0]))
    )
    for each in (fit, cg.load(tmp_path / "fit.json")):
        with pytest.warns(cg.errors.PredictionWarning, match="the offset is not finite"):
            found = each.predict(new)
        np.testing.assert_allclose(found[:2], expected, rtol=1e-12)
        assert found[2:].isna().all()
    with pytest.raises(DataError, match="'time'"):
        fit.predict(new[["x"]])
    with pytest.raises(DataError, match="exposure= was an array"):
        cg.pooled("c ~ x", table, exposure=table.time, family="poisson").predict(new)


def test_effects_and_plots_find_the_exposure(table: pd.DataFrame) -> None:
    fits = [
        cg.pooled("c ~ x", table, family="poisson", **how) for how in ({"exposure": "time"}, {"offset": "log_time"})
    ]
    one, other = (fit.average_effects("x", data=table) for fit in fits)
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)
    with pytest.raises(OptionError, match="time"):
        fits[0].plot.predictions("x")


def test_files_take_an_exposure(table: pd.DataFrame, tmp_path: Path) -> None:
    for k in range(4):
        table[(table.g >= 10 * k) & (table.g < 10 * k + 10)].to_parquet(tmp_path / f"{k}.parquet")
    files = str(tmp_path / "*.parquet")
    for verb in VERBS[:-1]:
        found, known = (verb("c ~ x", source, exposure="time", **COUNTS) for source in (files, table))
        np.testing.assert_allclose(found.params, known.params, rtol=1e-7)
    with pytest.raises(OptionError, match="exposure= of type Series with data that are not in memory"):
        cg.pooled("c ~ x", files, exposure=table.time, **COUNTS)


def test_missing_exposures_leave_rows_out_and_others_must_be_positive(table: pd.DataFrame) -> None:
    gap = table.assign(time=table.time.where(table.index != 3))
    assert [(d.reason, d.count) for d in cg.pooled("c ~ x", gap, exposure="time", **COUNTS).data.dropped] == [
        ("missing exposure", 1)
    ]
    for bad in (0.0, -1.0, np.inf):
        with pytest.raises(DataError, match=rf"exposure='time' is {bad:g} in row 3 \(1 such rows\)"):
            cg.pooled("c ~ x", table.assign(time=table.time.where(table.index != 3, bad)), exposure="time", **COUNTS)
    with pytest.raises(OptionError, match="offset= and exposure="):
        cg.pooled("c ~ x", table, exposure="time", offset="log_time", **COUNTS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_forgotten_logarithm_is_noted(table: pd.DataFrame, verb: Any) -> None:
    years = table.assign(total=np.linspace(10.0, 130.0, 200))
    for how in ({"formula": "c ~ x + offset(total)"}, {"formula": "c ~ x", "offset": "total"}):
        fit = verb(how["formula"], years, offset=how.get("offset"), **COUNTS)
        assert len(fit.data.notes) == 1
        assert "total" in fit.data.notes[0]
        assert "runs from 10 to 130, as no logarithm of an exposure does" in fit.data.notes[0]
        assert "as no logarithm of an exposure does" in " ".join(str(fit.summary()).split())


def test_a_forgotten_logarithm_is_noted_in_files(table: pd.DataFrame, tmp_path: Path) -> None:
    years = table.assign(total=np.where(table.index == 77, 300.0, 5.0))
    for k, part in enumerate((years[years.g < 20], years[years.g >= 20])):
        part.to_parquet(tmp_path / f"{k}.parquet")
    fit = cg.pooled("c ~ x", str(tmp_path / "*.parquet"), offset="total", **COUNTS)
    assert fit.data.notes == cg.pooled("c ~ x", years, offset="total", **COUNTS).data.notes
    assert "runs from 5 to 300" in fit.data.notes[0]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("response", ["y", "c"])
@pytest.mark.parametrize("value", [1e308, -1e308, 1e7, -1e7])
def test_offsets_with_which_float64_cannot_compute_are_refused(
    table: pd.DataFrame, verb: Any, response: str, value: float
) -> None:
    family = "binomial" if response == "y" else "poisson"
    odd = np.where(np.arange(200) == 7, value, 0.0)
    with pytest.raises(DataError, match="with which float64 can compute") as error:
        verb(f"{response} ~ x", table, cluster="g", family=family, offset=odd)
    assert f"{value:g} in row 7" in str(error.value)
    with pytest.raises(DataError, match=r"offset\(log"):
        verb("c ~ x + offset(total)", table.assign(total=13000 + table.index), **COUNTS)


def test_intercepts_that_no_grid_covers_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="linear predictors that reach over"):
        cg.nonparametric("y ~ x", table, cluster="g", offset=np.where(np.arange(200) == 7, 1e5, 0.0))


def test_a_constant_offset_far_out_is_what_the_intercept_takes_up(table: pd.DataFrame) -> None:
    fit, plain = (cg.pooled("y ~ x", table, offset=offset) for offset in (np.full(200, 1000.0), None))
    np.testing.assert_allclose(fit.params, plain.params - [1000.0, 0.0], rtol=1e-9)
    assert fit.data.notes == ()


OTHERS: dict[str, dict[str, Any]] = {
    "negative_binomial": {}, "negative_binomial1": {}, "gamma": {}, "weibull": {}, "exponential": {},
    "beta_binomial": {}, "gaussian": {}, "truncated_poisson": {}, "truncated_negative_binomial": {},
    "probit": {"family": "binomial", "link": "probit"},
    "cloglog": {"family": "binomial", "link": "cloglog"},
    "ordinal": {"levels": [0, 1, 2]},
    "ordinal_cloglog": {"family": "ordinal", "link": "cloglog", "levels": [0, 1, 2]},
    "zeros": {"family": "poisson", "zero_inflation": "~ 1"},
    "hurdle": {"family": "negative_binomial", "hurdle": "~ 1"},
}  # fmt: skip
RESPONSES = {
    "gamma": "t", "weibull": "Surv(t, y)", "exponential": "Surv(t, y)", "gaussian": "v", "probit": "y", "cloglog": "y",
    "beta_binomial": "cbind(some, 9 - some)", "ordinal": "level", "ordinal_cloglog": "level",
    "truncated_poisson": "k", "truncated_negative_binomial": "k",
}  # fmt: skip


@pytest.fixture(scope="module")
def responses(table: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    known = rng.normal(0.0, 0.3, 200)
    eta = 0.4 + 0.3 * table.x + known + 0.5 * rng.normal(size=40)[table.g]
    mixed = np.exp(eta) * rng.gamma(2.0, 0.5, 200)
    p = 1.0 / (1.0 + np.exp(-eta))
    d = table.assign(known=known, t=mixed, n=rng.poisson(mixed), v=eta + rng.normal(size=200))
    d["k"] = 1 + rng.negative_binomial(1.0, 0.4, 200)
    d["some"] = rng.binomial(9, rng.beta(3.0 * p, 3.0 - 3.0 * p))
    return d.assign(level=np.digitize(eta + rng.logistic(size=200), [0.0, 1.0]))


@pytest.mark.parametrize("verb", [cg.pooled, cg.random_effects])
@pytest.mark.parametrize("name", OTHERS)
def test_a_constant_in_an_offset_far_out_is_what_the_intercept_takes_up(
    responses: pd.DataFrame, verb: Any, name: str
) -> None:
    formula, asked = f"{RESPONSES.get(name, 'n')} ~ x", {"family": name, "cluster": "g"} | OTHERS[name]
    near = verb(formula, responses, offset="known", **asked)
    shifted = [c == "(Intercept)" or "|" in c for c in near.params.index]
    for far in (300.0, -300.0, -2000.0):
        fit = verb(formula, responses, offset=responses.known + far, **asked)
        assert fit.loglik == pytest.approx(near.loglik, abs=1e-7)
        moved = fit.params - near.params
        np.testing.assert_allclose(moved[~np.array(shifted)], 0.0, atol=1e-4)
        np.testing.assert_allclose(np.abs(moved[shifted]), abs(far), rtol=1e-7)


def exponential_of(table: pd.DataFrame, offset: np.ndarray[Any, Any]) -> float:
    """The intercept of the exponential model without covariates: events over time at risk, in logarithms."""
    return float(np.log(table.y.sum()) - np.logaddexp.reduce(np.log(table.t) + offset))


def test_offsets_in_the_wrong_unit_are_fitted_from_where_they_put_the_intercept(responses: pd.DataFrame) -> None:
    """Closed forms: the mean of gamma responses over exp(offset), and of times at risk."""
    offset = np.random.default_rng(4).uniform(-590.0, 590.0, 200)
    fit = cg.pooled("t ~ 1", responses, family="gamma", offset=offset)
    assert fit.optimization.converged
    mean = np.logaddexp.reduce(np.log(responses.t) - offset) - np.log(200.0)
    assert fit.params["(Intercept)"] == pytest.approx(mean, rel=1e-9)
    assert any("as no logarithm of an exposure does" in note for note in fit.data.notes)
    fit = cg.pooled("Surv(t, y) ~ 1", responses, family="exponential", offset=offset)
    assert fit.optimization.converged
    assert fit.params["(Intercept)"] == pytest.approx(exponential_of(responses, offset), rel=1e-9)
    for family, link in (("truncated_poisson", "log"), ("binomial", "cloglog")):
        y = "k" if family != "binomial" else "y"
        fit = cg.pooled(f"{y} ~ 1", responses, family=family, link=link, offset=offset)
        assert fit.optimization.converged
        with pytest.raises(DataError, match="offsets from -1e"):
            cg.pooled(f"{y} ~ 1", responses, family=family, link=link, offset=offset + 100.0)
