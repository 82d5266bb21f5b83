"""Results as data frames: ratios, robust errors, and the names of R's broom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import OptionError

FORMULA, WITHIN = "y ~ trt + I(week > 2)", "y ~ I(week > 2)"


@pytest.fixture(scope="module")
def bacteria() -> pd.DataFrame:
    return cg.datasets.load("bacteria")


@pytest.fixture(scope="module")
def fits(bacteria: pd.DataFrame) -> dict[str, Any]:
    return {
        "pooled": cg.pooled(FORMULA, bacteria, cluster="ID"),
        "fixed_effects": cg.fixed_effects(WITHIN, bacteria, cluster="ID"),
        "conditional": cg.conditional(WITHIN, bacteria, cluster="ID"),
        "random_effects": cg.random_effects(FORMULA, bacteria, cluster="ID"),
        "nonparametric": cg.nonparametric(FORMULA, bacteria, cluster="ID"),
    }


KINDS = ("pooled", "fixed_effects", "conditional", "random_effects", "nonparametric")


@pytest.mark.parametrize("kind", KINDS)
def test_ratios_are_those_of_ratios(fits: dict[str, Any], kind: str) -> None:
    fit = fits[kind]
    columns = ["term", "estimate", "std_error", "conf_low", "conf_high"]
    for cov in ("observed", "robust"):
        tidy, known = fit.tidy(level=0.9, exponentiate=True, cov=cov), fit.ratios(level=0.9, cov=cov)
        pd.testing.assert_frame_equal(tidy[columns][: len(known)], known[columns])
        plain = fit.tidy(level=0.9, cov=cov)
        np.testing.assert_array_equal(tidy["pvalue"], plain["pvalue"])
        pd.testing.assert_frame_equal(tidy[len(known) :], plain[len(known) :])  # sigma is no logarithm


@pytest.mark.parametrize("kind", KINDS)
def test_robust_errors_are_those_of_the_robust_covariance(fits: dict[str, Any], kind: str) -> None:
    tidy, robust = fits[kind].tidy(cov="robust"), np.sqrt(np.diag(fits[kind].cov("robust")))
    np.testing.assert_allclose(tidy["std_error"], robust[: len(tidy)])
    p = len(fits[kind].params)
    np.testing.assert_allclose(tidy["z"][:p], tidy["estimate"][:p] / tidy["std_error"][:p])


def test_without_intervals(fits: dict[str, Any]) -> None:
    for fit in fits.values():
        assert set(fit.tidy()) - set(fit.tidy(conf_int=False)) == {"conf_low", "conf_high"}


@pytest.mark.parametrize("kind", KINDS)
def test_tidy_with_the_names_of_broom(fits: dict[str, Any], kind: str) -> None:
    fit = fits[kind]
    broom, plain = fit.tidy(names="broom"), fit.tidy()
    numbers = ["estimate", "std.error", "statistic", "p.value", "conf.low", "conf.high"]
    assert list(broom.columns) == ["effect", "group", "term", *numbers]
    np.testing.assert_array_equal(broom[numbers], plain.drop(columns=["component", "term"], errors="ignore"))
    p = len(fit.params)
    assert list(broom["effect"]) == ["fixed"] * p + ["ran_pars"] * (len(broom) - p)
    assert broom["group"][:p].isna().all()
    if kind == "random_effects":
        assert broom.loc[p, "term"] == "sd__(Intercept)"
        assert broom.loc[p, "group"] == "ID"


def test_only_the_sigma_of_a_gaussian_is_called_a_standard_deviation(bacteria: pd.DataFrame) -> None:
    fit = cg.random_effects(FORMULA, bacteria, cluster="ID", distribution="cauchy")
    assert fit.tidy(names="broom")["term"].iloc[-1] == "scale__(Intercept)"


def test_glance_with_the_names_of_broom(fits: dict[str, Any]) -> None:
    for fit in fits.values():
        row = fit.glance(names="broom").iloc[0]
        assert (row["nobs"], row["logLik"], row["AIC"], row["BIC"]) == (fit.n_obs, fit.loglik, fit.aic, fit.bic)
        assert (row["deviance"], row["df.residual"]) == (fit.deviance, fit.df_resid)
    assert fits["random_effects"].glance(names="broom").loc[0, "sigma"] == fits["random_effects"].sigma


@pytest.mark.parametrize("kind", KINDS)
def test_augment_with_the_names_of_broom(fits: dict[str, Any], kind: str) -> None:
    fit = fits[kind]
    plain, broom = fit.augment(), fit.augment(names="broom")
    np.testing.assert_array_equal(broom.index, plain.index)
    np.testing.assert_array_equal(broom[".fitted"], plain["linear_predictor"])
    assert (broom[".offset"] == 0.0).all()
    assert (broom[".weights"] == 1.0).all()
    if kind == "conditional":  # no means without intercepts
        assert not {".mu", ".resid", ".fixed"} & set(broom)
        return
    np.testing.assert_array_equal(broom[".mu"], plain["mean"])
    np.testing.assert_allclose(broom[".resid"], fit.residuals("deviance"))
    if kind == "random_effects":
        np.testing.assert_allclose(broom[".fixed"], fit.predict(kind="typical", scale="link"))
        assert not np.allclose(broom[".fixed"], broom[".fitted"])
    else:
        assert ".fixed" not in broom


def test_residuals_and_offsets_are_in_the_users_order() -> None:
    epil = cg.datasets.load("epil").sample(frac=1.0, random_state=1, ignore_index=True).assign(o=lambda d: d.index / 99)
    fit = cg.random_effects("y ~ trt", epil, cluster="subject", family="poisson", offset="o")
    table = fit.augment(names="broom")
    np.testing.assert_allclose(table[".offset"], epil["o"])
    np.testing.assert_array_equal(table["cluster"], epil["subject"])
    assert np.array_equal(np.sign(table[".resid"]), np.sign(epil["y"] - table[".mu"]))


def test_refusals(fits: dict[str, Any], bacteria: pd.DataFrame) -> None:
    fit = fits["random_effects"]
    for ask in (fit.tidy, fit.glance, fit.augment):
        with pytest.raises(OptionError, match="'plain', 'broom'"):
            ask(names="R")
    with pytest.raises(OptionError, match="'observed', 'robust'"):
        fit.tidy(cov="hc3")
    with pytest.raises(OptionError, match="probit"):
        cg.pooled(FORMULA, bacteria, link="probit").tidy(exponentiate=True)
