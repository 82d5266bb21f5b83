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
