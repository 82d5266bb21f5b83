"""A covariate named like a parameter: nothing is asked of one and told of the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.results.tables.export import as_dict

VERBS = [cg.pooled, cg.random_effects, cg.fixed_effects, cg.conditional, cg.nonparametric]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(30), 6)
    a, b, u = rng.normal(size=180), rng.normal(size=180), rng.normal(size=30)[g]
    return pd.DataFrame({"a": a, "b": b, "g": g, "y": (rng.random(180) < 1 / (1 + np.exp(-(a + 0.5 * b + u)))) * 1})


@pytest.fixture(scope="module")
def fits(table: pd.DataFrame) -> tuple[Any, Any]:
    """Two fits: with a covariate named sigma, and with the same covariate named a."""
    odd = table.rename(columns={"a": "sigma"})
    return cg.random_effects("y ~ sigma + b", odd, cluster="g"), cg.random_effects("y ~ a + b", table, cluster="g")


@pytest.mark.parametrize("verb", VERBS)
def test_coefficients_and_intervals_are_those_of_the_covariate(table: pd.DataFrame, verb: Any) -> None:
    odd = verb("y ~ b + sigma", table.rename(columns={"a": "sigma"}), cluster="g")
    plain = verb("y ~ b + a", table, cluster="g")
    assert list(odd.params.index) == ["sigma" if name == "a" else name for name in plain.params.index]
    np.testing.assert_array_equal(odd.params, plain.params)
    np.testing.assert_array_equal(odd.conf_int(), plain.conf_int())
    assert odd.cov().columns.is_unique
    assert odd.conf_int().index.is_unique


def test_a_sigma_that_is_held_is_none_of_the_intervals(table: pd.DataFrame) -> None:
    held: dict[str, Any] = {"cluster": "g", "sigma": 0.8, "fix_sigma": True}
    odd = cg.random_effects("y ~ b + sigma", table.rename(columns={"a": "sigma"}), **held)
    plain = cg.random_effects("y ~ b + a", table, **held)
    np.testing.assert_array_equal(odd.conf_int(), plain.conf_int())
    with pytest.raises(OptionError, match="`sigma`"):
        odd.profile("sigma")


def test_the_parameter_is_sigma_and_the_covariate_is_quoted(fits: tuple[Any, Any]) -> None:
    odd, plain = fits
    for name, as_plain in (("sigma", "sigma"), ("`sigma`", "a"), ("b", "b")):
        found, known = odd.profile(name, points=5), plain.profile(as_plain, points=5)
        np.testing.assert_array_equal(found.loglik, known.loglik)
        assert found.parameter == name
        for method in ("wald", "profile", "bootstrap"):
            options = {"n_boot": 20, "seed": 1} if method == "bootstrap" else {}
            np.testing.assert_array_equal(
                odd.conf_int(method=method, **options).loc[name], plain.conf_int(method=method, **options).loc[as_plain]
            )
        assert odd.cov("robust").loc[name, "b"] == plain.cov("robust").loc[as_plain, "b"]
    for kind in ("one_step", "exact"):
        found, known = (fit.influence(kind).table() for fit in fits)
        np.testing.assert_array_equal(found.filter(like="`sigma`"), known.filter(regex=r"(^|_)a$"))


def test_tables_and_json_tell_them_apart(fits: tuple[Any, Any]) -> None:
    odd, plain = fits
    rows, known = odd.tidy(), plain.tidy()
    assert list(rows.term) == ["(Intercept)", "sigma", "b", "sigma"]
    assert list(rows.component) == list(known.component)
    np.testing.assert_array_equal(rows.estimate, known.estimate)
    found, same = json.loads(json.dumps(as_dict(odd))), json.loads(json.dumps(as_dict(plain)))
    assert found["random_intercept"] == same["random_intercept"]
    assert isinstance(found["random_intercept"]["conf_low"], float)
    assert found["covariance"]["names"] == ["(Intercept)", "`sigma`", "b", "sigma"]
    assert str(cg.table([odd])).count("sigma") == 2


def test_hypotheses_and_effects_are_of_the_covariate(fits: tuple[Any, Any]) -> None:
    odd, plain = fits
    expected = plain.wald_test("a = 0").statistic
    for hypothesis in ("`sigma` = 0", "sigma = 0"):
        assert odd.wald_test(hypothesis).statistic == expected
    np.testing.assert_array_equal(odd.average_effects("sigma").estimate, plain.average_effects("a").estimate)
    with pytest.raises(OptionError, match="sigma in a hypothesis"):
        plain.wald_test("sigma = 0")


def test_a_saved_fit_keeps_them_apart(fits: tuple[Any, Any], tmp_path: Path) -> None:
    fits[0].save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    pd.testing.assert_frame_equal(again.conf_int(), fits[0].conf_int())


@pytest.mark.parametrize("name", ["sigma", "1", "(Intercept)"])
def test_any_name_will_do(table: pd.DataFrame, tmp_path: Path, name: str) -> None:
    """Everything that takes parameters by name, or from their vector, of a covariate of any name."""
    odd, plain = table.rename(columns={"a": name}), cg.random_effects("y ~ a + b", table, cluster="g")
    fit = cg.random_effects(f"y ~ `{name}` + b", odd, cluster="g")
    called = list(fit.cov())
    assert called[3] == "sigma"
    assert fit.cov().columns.is_unique
    for kind in ("observed", "robust"):
        np.testing.assert_array_equal(fit.cov(kind), plain.cov(kind))
    for method in ("wald", "profile"):
        assert list(fit.conf_int(method=method).index) == called
        np.testing.assert_array_equal(fit.conf_int(method=method), plain.conf_int(method=method))
    np.testing.assert_array_equal(fit.profile(called[1], points=5).loglik, plain.profile("a", points=5).loglik)
    for kind in ("conditional", "marginal", "posterior", "typical"):
        for new, same in ((None, None), (odd, table)):
            found, known = fit.predict(new, kind, level=0.9), plain.predict(same, kind, level=0.9)
            np.testing.assert_array_equal(found.drop(columns="status"), known.drop(columns="status"))
    quoted = called[1] if called[1].startswith("`") else f"`{called[1]}`"
    assert fit.wald_test(f"{quoted} = 0").statistic == plain.wald_test("a = 0").statistic
    assert list(fit.term_tests()["pvalue"]) == list(plain.term_tests()["pvalue"])
    smaller = cg.random_effects("y ~ b", odd, cluster="g")
    known = cg.compare(cg.random_effects("y ~ b", table, cluster="g"), plain)
    assert cg.compare(smaller, fit).tests[0].pvalue == known.tests[0].pvalue
    assert str(cg.table([fit])).count("sigma") == 1 + (name == "sigma")
    np.testing.assert_array_equal(fit.marginal_coefficients().std_error, plain.marginal_coefficients().std_error)
    fit.save(tmp_path / "fit.json")
    pd.testing.assert_frame_equal(
        cg.load(tmp_path / "fit.json").conf_int(method="profile"), fit.conf_int(method="profile")
    )


def test_influence_of_fits_over_files_is_refused_in_words(table: pd.DataFrame, tmp_path: Path) -> None:
    for k in range(3):
        table[(table.g >= 10 * k) & (table.g < 10 * k + 10)].to_parquet(tmp_path / f"{k}.parquet")
    for verb in VERBS[:-1]:
        fit = verb("y ~ a + b", str(tmp_path / "*.parquet"), cluster="g")
        with pytest.raises(
            OptionError, match="the influence of single clusters or rows, of a fit whose 180 rows are not"
        ):
            fit.influence()
