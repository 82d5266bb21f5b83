"""Tests of terms by refitting, updates of formulas, common rows, and R^2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import polygamma
from scipy.stats import chi2

import clusterglm as cg
from clusterglm.data.formulas.formula import updated_formula
from clusterglm.errors import DataError, FormulaError, OptionError

GOLDEN = Path(__file__).parent.parent / "golden" / "data"
BACTERIA = cg.datasets.load("bacteria")


def simulated() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(30), 8)
    d = pd.DataFrame({"g": g, "x": rng.normal(size=240), "z": rng.normal(size=240), "f": rng.choice(list("abc"), 240)})
    d["o"] = rng.normal(scale=0.3, size=240)
    d["w"] = rng.integers(1, 3, 240)
    eta = 0.4 * d.x - 0.3 * d.z + 0.5 * (d.f == "b") + rng.normal(size=30)[g]
    return d.assign(y=(rng.random(240) < 1.0 / (1.0 + np.exp(-eta))).astype(int), k=rng.poisson(np.exp(0.5 * eta)))


DATA = simulated()
FITS = {
    "pooled": ("pooled", "y ~ x + z + f", {"cluster": "g"}),
    "firth": ("pooled", "y ~ x + z + f", {"cluster": "g", "penalty": "firth"}),
    "random_effects": ("random_effects", "y ~ x + z + f", {"cluster": "g"}),
    "in the formula": ("random_effects", "k ~ x + z + f + (1 | g)", {"family": "poisson"}),
    "slopes": ("random_effects", "y ~ x + z + f + (x | g)", {}),
    "fixed_effects": ("fixed_effects", "k ~ x + z + f", {"cluster": "g", "family": "poisson"}),
    "conditional": ("conditional", "y ~ x + z + f", {"cluster": "g"}),
    "weighted": ("random_effects", "y ~ x + z + f + offset(o)", {"cluster": "g", "weights": "w", "link": "probit"}),
    "exposed": ("pooled", "k ~ x + z + f", {"family": "poisson", "offset": "o", "subset": "x < 1.5"}),
}


@pytest.fixture(scope="module")
def fits() -> dict[str, Any]:
    return {name: getattr(cg, verb)(formula, DATA, **options) for name, (verb, formula, options) in FITS.items()}


@pytest.mark.parametrize("name", FITS)
def test_a_term_taken_away_is_the_fit_without_it(fits, name) -> None:
    """With the table and without, the same as a fit from scratch."""
    verb, formula, options = FITS[name]
    direct = getattr(cg, verb)(formula.replace(" + f", ""), DATA, **options)
    for data in (None, DATA):
        smaller = cg.update(fits[name], "~ . - f", data)
        assert smaller.loglik == pytest.approx(direct.loglik, abs=1e-6)
        np.testing.assert_allclose(smaller.params, direct.params, atol=2e-4)
        assert list(smaller.params.index) == list(direct.params.index)
        assert smaller.n_obs == direct.n_obs
        assert type(smaller) is type(direct)
    comparison = cg.compare(cg.update(fits[name], "~ . - f"), fits[name])
    assert comparison.tests[0].df == 2 or comparison.tests[0].reason


@pytest.mark.parametrize("name", FITS)
def test_terms_that_come_and_responses_that_change(fits, name) -> None:
    verb, formula, options = FITS[name]
    found = cg.update(fits[name], "~ . - z + I(x^2)", DATA)
    direct = getattr(cg, verb)(formula.replace(" + z", "") + " + I(x^2)", DATA, **options)
    assert found.loglik == pytest.approx(direct.loglik, abs=1e-6)
    assert set(found.params.index) == set(direct.params.index)
    with pytest.raises(OptionError, match="without data"):
        cg.update(fits[name], "~ . + I(x^2)")


def test_other_arguments_may_change(fits) -> None:
    found = cg.update(fits["random_effects"], ". ~ .", DATA, link="probit", quadrature=7)
    assert found.link == "probit"
    assert found.loglik == pytest.approx(
        cg.random_effects("y ~ x + z + f", DATA, cluster="g", link="probit", quadrature=7).loglik
    )
    with pytest.raises(OptionError, match="without data"):
        cg.update(fits["random_effects"], "~ . - x", link="probit")


@pytest.mark.parametrize("name", FITS)
def test_drop_one_is_compare(fits, name) -> None:
    fit = fits[name]
    table = fit.drop_one().set_index("term")
    assert list(table.index) == ["", "x", "z", "f"]
    assert table.loc["", "aic"] == fit.aic
    for term in "xzf":
        smaller = cg.update(fit, f"~ . - {term}")
        test = cg.compare(smaller, fit).tests[0]
        row = table.loc[term]
        assert row["loglik"] == pytest.approx(smaller.loglik, abs=1e-8)
        assert row["delta"] == pytest.approx(smaller.aic - fit.aic, abs=1e-8)
        if test.reason:
            assert row["reason"] == test.reason.replace("fit 1", "the fit without it").replace("fit 2", "the fit")
        else:
            assert row["lr_pvalue"] == pytest.approx(test.pvalue, rel=1e-5)
            assert row["df"] == test.df


def test_interactions_keep_what_they_stand_on() -> None:
    fit = cg.random_effects("y ~ f * x + z", DATA, cluster="g")
    assert list(fit.drop_one()["term"]) == ["", "z", "f:x"]
    assert list(cg.anova(fit, test="lr")["term"]) == ["f", "x", "z", "f:x"]
    with pytest.raises(OptionError, match="'f:x' is coded anew"):
        cg.update(fit, "~ . - f")
    again = cg.update(fit, "~ . - x", DATA)  # as in R: the interaction takes the main effect up
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-6)
    direct = cg.random_effects("y ~ x + z + f:x", DATA, cluster="g")
    assert cg.update(fit, "~ . - f", DATA).loglik == pytest.approx(direct.loglik, abs=1e-6)
    assert cg.update(fit, "~ . - x:f").loglik == pytest.approx(cg.update(fit, "~ . - x:f", DATA).loglik, abs=1e-6)


def test_factors_without_an_intercept_are_coded_anew() -> None:
    data = DATA.assign(h=np.where(DATA.z > 0, "u", "v"))
    fit = cg.pooled("y ~ 0 + f + h + x", data)
    with pytest.raises(OptionError, match="without an intercept"):
        cg.update(fit, "~ . - f")
    assert list(fit.drop_one()["term"]) == ["", "x"]
    assert cg.update(fit, "~ . - f", data).n_parameters == 3


def test_anova_of_one_fit_and_of_several(fits) -> None:
    fit = fits["random_effects"]
    pd.testing.assert_frame_equal(cg.anova(fit), fit.term_tests())
    pd.testing.assert_frame_equal(cg.anova(fit, cov="robust"), fit.term_tests("robust"))
    lr = cg.anova(fit, test="lr").set_index("term")
    drop = fit.drop_one().set_index("term")
    for term in "xzf":
        assert lr.loc[term, "statistic"] == drop.loc[term, "lr_statistic"]
        assert lr.loc[term, "pvalue"] == pytest.approx(chi2.sf(lr.loc[term, "statistic"], lr.loc[term, "df"]))
    smaller = cg.update(fit, "~ . - z")
    assert cg.anova(smaller, fit).tests[0].pvalue == cg.compare(smaller, fit).tests[0].pvalue
    for wrong, words in (({"test": "F"}, "test"), ({"test": "lr", "cov": "robust"}, "no other covariance")):
        with pytest.raises(OptionError, match=words):
            cg.anova(fit, **wrong)
    with pytest.raises(OptionError, match="anova"):
        cg.anova(3)


def test_updated_fits_predict_and_are_saved(fits, tmp_path) -> None:
    smaller = cg.update(fits["random_effects"], "~ . - f")
    smaller.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    rows = DATA.head(5)
    np.testing.assert_array_equal(again.predict(rows), smaller.predict(rows))
    np.testing.assert_allclose(
        smaller.predict(
            rows, history=DATA.tail(8).assign(g=99)[["g", "x", "z", "y"]], kind="posterior", unseen="marginal"
        ),
        cg.update(fits["random_effects"], "~ . - f", DATA).predict(
            rows, history=DATA.tail(8).assign(g=99)[["g", "x", "z", "y"]], kind="posterior", unseen="marginal"
        ),
        rtol=1e-4,
    )


def test_the_first_rows_are_kept() -> None:
    """A covariate that comes and is missing somewhere takes rows away; one that goes brings none back."""
    data = DATA.assign(m=DATA.o.where(DATA.index % 7 > 0), n=DATA.w.where(DATA.index % 5 > 0))
    fit = cg.pooled("y ~ x + m", data)
    assert cg.update(fit, "~ . - m", data).n_obs == fit.n_obs
    larger = cg.update(fit, "~ . + n", data)
    both = np.flatnonzero(data[["m", "n"]].notna().all(axis=1))
    assert larger.n_obs == len(both)
    np.testing.assert_array_equal(cg.common_rows(fit, larger), both)
    np.testing.assert_array_equal(cg.common_rows(fit, cg.pooled("y ~ n", data)), both)
    some = data.iloc[cg.common_rows(fit, larger)]
    assert cg.compare(cg.pooled("y ~ x + m", some), cg.pooled("y ~ x + m + n", some)).tests[0].df == 1
    with pytest.raises(DataError, match="no row in common"):
        cg.common_rows(cg.pooled("y ~ x", data, subset="x > 0"), cg.pooled("y ~ x", data, subset="x < 0"))
    with pytest.raises(OptionError, match="no fit"):
        cg.common_rows(data)
    with pytest.raises(DataError, match="table of the fit"):
        cg.update(fit, "~ . + n", data.head(10))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("~ . - x", "y ~ x * z + (1 | g) - x"),
        (". ~ . + w", "y ~ x * z + (1 | g) + w"),
        ("log(k) ~ w + .", "log(k) ~ w + x * z + (1 | g)"),
        ("~ w", "y ~ w"),
        ("~ . - x:z - (1 | g) + (x | g)", "y ~ x * z + (1 | g) - x:z - (1 | g) + (x | g)"),
        ("~ -1 + .", "y ~ - 1 + x * z + (1 | g)"),
    ],
)
def test_updated_formulas(change: str, wanted: str) -> None:
    assert updated_formula("y ~ x * z + (1 | g)", change) == wanted


@pytest.mark.parametrize("change", ["x", "~", "~ . ^ 2", "~ x - .", 3])
def test_changes_that_mean_nothing(change: Any) -> None:
    with pytest.raises(FormulaError):
        updated_formula("y ~ x", change)


# R^2 ------------------------------------------------------------------------------------------------------------------


def test_r2_by_its_definition() -> None:
    fit = cg.random_effects("y ~ trt + week", BACTERIA, cluster="ID")
    found = fit.r2()
    fixed = np.var(fit.predict(scale="link"), ddof=1)
    assert found.method == "theoretical"
    assert found.marginal == pytest.approx(fixed / (fixed + fit.sigma**2 + np.pi**2 / 3.0))
    assert found.conditional == pytest.approx((fixed + fit.sigma**2) / (fixed + fit.sigma**2 + np.pi**2 / 3.0))
    assert found.to_frame()["share"].sum() == pytest.approx(1.0)
    null = cg.random_effects("y ~ 1", BACTERIA, cluster="ID")
    p = null.predict(kind="marginal").iloc[0]
    assert fit.r2("delta").residual == pytest.approx(1.0 / (p * (1.0 - p)), rel=1e-5)


def test_r2_of_counts_by_nakagawas_formulas() -> None:
    """Their code (J. R. Soc. Interface 14, 2017, electronic supplement) with our estimates, on the Salamanders."""
    data = pd.read_csv(GOLDEN / "salamanders.csv")
    fit, null = (cg.random_effects(f"count ~ {x} + (1 | site)", data, family="poisson") for x in ("mined", "1"))
    fixed = np.var(fit.predict(scale="link"), ddof=1)
    mean = np.exp(null.params.iloc[0] + 0.5 * null.sigma**2)
    for method, residual in (
        ("trigamma", polygamma(1, mean)),
        ("lognormal", np.log(1.0 + 1.0 / mean)),
        ("delta", 1.0 / mean),
    ):
        found = fit.r2(method)
        assert found.residual == pytest.approx(residual, rel=1e-5)
        assert found.marginal == pytest.approx(fixed / (fixed + fit.sigma**2 + residual), rel=1e-5)
    assert fit.r2().method == "trigamma"


def test_r2_with_slopes_and_nested_factors() -> None:
    """Johnson (2014): the mean of z'Sz over the rows."""
    women = cg.datasets.load("contraception")
    fit = cg.random_effects("use ~ urban + age + (urban | district)", women)
    Z = np.column_stack([np.ones(len(women)), women.urban == "Y"])
    S = fit.effects_covariance().to_numpy()
    assert fit.r2().random == pytest.approx(np.mean(np.einsum("ij,jk,ik->i", Z, S, Z)))
    nested = cg.random_effects("immun ~ kid2p + (1 | comm/mom)", cg.datasets.load("guatemala").head(800), quadrature=5)
    parts = nested.r2().groups
    sds = nested.variance_components["estimate"].to_numpy()
    np.testing.assert_allclose(list(parts.values()), sds**2)


def test_r2_that_there_is_not() -> None:
    with pytest.raises(OptionError, match="no variance"):
        cg.random_effects("y ~ week", BACTERIA, cluster="ID", distribution="cauchy").r2()
    fit = cg.random_effects("y ~ week", BACTERIA, cluster="ID")
    with pytest.raises(OptionError, match="method"):
        fit.r2("trigamma")
    assert not hasattr(cg.pooled("y ~ week", BACTERIA), "r2")
