"""Published examples of R's emmeans, clubSandwich, marginaleffects and performance, to their printed digits.

Where the figures were read: emmeans 1.10.1 ("Sophisticated models", help pages of `contrast` and `emmeans`) at
github.com/rvlenth/emmeans, docs/; Lenth's answer 369532 at stats.stackexchange.com; clubSandwich 0.5.7 (help pages of
`coef_test`, `conf_int`, `linear_contrast` and `vcovCR.lm`) at github.com/jepusto/clubSandwich, reference/;
marginaleffects ("Slopes") at github.com/vincentarelbundock/marginaleffects, docs/vignettes/slopes.md; performance's
README at github.com/easystats/performance. Data: R's warpbreaks and ChickWeight, nlme's Oats, plm's Produc, and
palmerpenguins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg

DATA = Path(__file__).parents[1] / "golden" / "data"
EXCLUDED = (1, 2, 3, 5, 8, 13, 21, 34, 55)  # of Oats, as the vignette leaves rows out


NUMERICAL = 0.55  # of the last digit: marginaleffects differentiates by steps forward (0.00234494 for 0.00235)


def printed(values: Any, figures: str, units: float = 0.50001) -> None:
    """Each value rounds to what stands in its place, whose digits count; "<" before a bound."""
    for value, figure in zip(np.asarray(values, dtype=float).tolist(), figures.split(), strict=True):
        if figure.startswith("<"):
            assert value < float(figure[1:])
            continue
        decimals = len(figure.partition(".")[2])
        assert abs(value - float(figure)) <= units * 10.0**-decimals, (value, figure)


# emmeans --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oats() -> Any:
    table = pd.read_csv(DATA / "oats.csv").drop(index=[i - 1 for i in EXCLUDED])
    table["nitro"] = table["nitro"].astype("category")
    return cg.random_effects("yield ~ Variety + nitro + (1 | Block/Variety)", table, family="gaussian", reml=True)


def test_emmeans_of_oats_after_kenward_and_roger(oats: Any) -> None:
    means = oats.adjusted_means("nitro", over="balanced", df="kenward_roger")
    table = means.to_frame()
    printed(table["estimate"], "78.9 97.0 114.2 124.1")
    printed(table["std_error"], "7.29 7.14 7.14 7.07")
    printed(table["df"], "7.78 7.19 7.19 6.95")
    printed(table["conf_low"], "62.0 80.3 97.4 107.3")
    printed(table["conf_high"], "95.8 113.8 131.0 140.8")
    trends = means.contrasts("polynomial", adjust=None).to_frame()
    printed(trends["estimate"], "152.69 -8.27 -6.32")
    printed(trends["std_error"], "15.58 6.95 15.21")
    printed(trends["df"][:2], "43.2 44.2")
    assert trends["df"][2] == pytest.approx(42.8, abs=0.052)  # 42.7486, at the maximum that lmer comes near to
    printed(trends["z"], "9.802 -1.190 -0.415")
    printed(trends["pvalue"], "<.0001 0.2402 0.6800")


def test_emmeans_of_oats_after_satterthwaite(oats: Any) -> None:
    table = oats.adjusted_means("nitro", over="balanced", df="satterthwaite").to_frame()
    printed(table["std_error"], "7.28 7.13 7.13 7.07")
    printed(table["df"], "7.28 6.72 6.72 6.49")
    printed(table["conf_low"], "61.8 80.0 97.2 107.1")
    printed(table["conf_high"], "96 114 131 141")
    normal = oats.adjusted_means("nitro", over="balanced").to_frame()
    printed(normal["conf_low"], "64.6 83.1 100.2 110.2")
    printed(normal["conf_high"], "93.2 111.0 128.2 137.9")


def test_emmeans_of_varieties_and_their_differences_by_tukey(oats: Any) -> None:
    means = oats.adjusted_means("Variety", over="balanced", df="kenward_roger")
    table = means.to_frame()
    printed(table["estimate"], "105.2 108.5 96.9")
    printed(table["std_error"], "7.53 7.48 7.64")
    printed(table["df"], "8.46 8.28 8.81")
    printed(table["conf_low"], "88.0 91.3 79.6")
    printed(table["conf_high"], "122 126 114")
    pairs = means.contrasts(adjust="tukey").to_frame()
    printed(pairs["estimate"], "-3.23 8.31 11.54")
    printed(pairs["std_error"], "6.55 6.71 6.67")
    printed(pairs["df"], "9.56 9.80 9.80")
    printed(pairs["z"], "-0.493 1.238 1.729")
    printed(pairs["pvalue"], "0.8764 0.4595 0.2431")


@pytest.fixture(scope="module")
def breaks() -> Any:
    table = pd.read_csv(DATA / "warpbreaks.csv")
    table["tension"] = pd.Categorical(table["tension"], categories=["L", "M", "H"])
    return cg.pooled("breaks ~ wool * tension", table, family="gaussian", reml=True)


def test_emmeans_of_warpbreaks(breaks: Any) -> None:
    summary = breaks.summary(df="satterthwaite").coefficients
    printed(summary.estimate, "44.556 -16.333 -20.556 -20.000 21.111 10.556")
    printed(summary.se, "3.647 5.157 5.157 5.157 7.294 7.294")
    printed(summary.z, "12.218 -3.167 -3.986 -3.878 2.895 1.447")
    printed(summary.p, "<2.435e-16 0.002677 0.000228 0.000320 0.005698 0.154327")
    table = breaks.adjusted_means(["wool", "tension"], over="balanced", df="satterthwaite").to_frame()
    table = table.sort_values(["tension", "wool"], kind="stable", key=lambda s: s.map("LMHAB".index))
    printed(table["estimate"], "44.55556 28.22222 24.00000 28.77778 24.55556 18.77778")
    printed(table["std_error"], " ".join(["3.646761"] * 6))
    printed(table["conf_low"], "37.22325 20.88992 16.66769 21.44547 17.22325 11.44547")
    printed(table["conf_high"], "51.88786 35.55453 31.33231 36.11008 31.88786 26.11008")
    means = breaks.adjusted_means("tension", by="wool", over="balanced", df="satterthwaite")
    trends = means.contrasts("polynomial", adjust=None).to_frame()
    printed(trends["estimate"], "-20.00 21.11 -9.44 -10.56")
    printed(trends["std_error"], "5.16 8.93 5.16 8.93")
    printed(trends["z"], "-3.878 2.363 -1.831 -1.182")
    printed(trends["pvalue"], "0.0003 0.0222 0.0733 0.2432")
    own = means.contrasts({"mid.vs.ends": [-0.5, 1.0, -0.5], "lo.vs.hi": [1, 0, -1]}, adjust=None).to_frame()
    printed(own["estimate"], "-10.56 20.00 5.28 9.44")
    printed(own["std_error"], "4.47 5.16 4.47 5.16")
    pairs = means.contrasts(adjust="tukey").to_frame()
    printed(pairs["estimate"], "20.556 20.000 -0.556 -0.556 9.444 10.000")
    printed(pairs["z"], "3.986 3.878 -0.108 -0.108 1.831 1.939")
    printed(pairs["pvalue"], "0.0007 0.0009 0.9936 0.9936 0.1704 0.1389")


# clubSandwich ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chicks() -> pd.DataFrame:
    return pd.read_csv(DATA / "chickweight.csv").assign(Diet=lambda d: d.Diet.astype("category"))


def test_clubsandwich_tests_coefficients(chicks: pd.DataFrame) -> None:
    fit = cg.pooled("weight ~ Diet * Time", chicks, family="gaussian", cluster="Chick")
    rows = ["Diet2:Time", "Diet3:Time", "Diet4:Time"]
    table = fit.tidy(cov="CR2", df="satterthwaite").set_index("term").loc[rows]
    printed(table["estimate"], "1.77 4.58 2.87")
    printed(table["std_error"], "1.49 1.35 1.01")
    printed(table["z"], "1.19 3.39 2.85")
    printed(table["df"], "18.8 18.8 18.3")
    printed(table["pvalue"], "0.2497 0.0031 0.0105")
    printed(table["conf_low"], "-1.349 1.751 0.757")
    printed(table["conf_high"], "4.88 7.41 4.99")
    wide = fit.tidy(cov="CR2", df="satterthwaite", level=0.99).set_index("term").loc[rows]
    printed(wide["conf_low"], "-2.4946 0.7115 -0.0237")
    printed(wide["conf_high"], "6.03 8.45 5.77")
    summary = fit.summary(cov="CR2", df="satterthwaite")
    assert summary.coefficients.df is not None
    printed(summary.coefficients.df[-3:], "18.8 18.8 18.3")
    assert "CR2; t with Satterthwaite's degrees of freedom" in str(summary)


def test_clubsandwich_compares_slopes(chicks: pd.DataFrame) -> None:
    fit = cg.pooled("weight ~ 0 + Diet + Time:Diet", chicks, family="gaussian", cluster="Chick")
    slopes = fit.adjusted_means("Diet", slope="Time", cov="CR2", df="satterthwaite", data=chicks)
    later = {"2 - 1": [-1, 1, 0, 0], "3 - 1": [-1, 0, 1, 0], "4 - 1": [-1, 0, 0, 1],
             "3 - 2": [0, -1, 1, 0], "4 - 2": [0, -1, 0, 1], "4 - 3": [0, 0, -1, 1]}  # fmt: skip
    table = slopes.contrasts(later, adjust=None).to_frame()
    printed(table["estimate"], "1.77 4.58 2.87 2.81 1.11 -1.71")
    printed(table["std_error"], "1.49 1.35 1.01 1.70 1.44 1.30")
    printed(table["df"], "18.8 18.8 18.3 18.0 17.9 17.9")
    printed(table["conf_low"], "-1.349 1.751 0.757 -0.756 -1.925 -4.441")
    printed(table["conf_high"], "4.88 7.41 4.99 6.38 4.14 1.02")


def test_clubsandwich_covariances(chicks: pd.DataFrame) -> None:
    fit = cg.pooled("weight ~ Time + Diet:Time", chicks, family="gaussian", cluster="Chick")
    V = fit.cov("CR2", parameters="coefficients").to_numpy()
    printed(V[0], "3.9317840 -0.7851508 -0.2560762 -0.0750498 0.2695861")
    printed(V[1], "-0.7851508 0.4360726 -0.3314209 -0.3436398 -0.3665016")
    printed(np.diag(V), "3.9317840 0.4360726 1.3680862 1.1195632 0.5416587")
    states = pd.read_csv(DATA / "produc.csv")
    formula = "log(gsp) ~ 0 + state + log(pcap) + log(pc) + log(emp) + unemp"  # an intercept for each of 48 states
    V = cg.pooled(formula, states, family="gaussian", cluster="state").cov("CR2", parameters="coefficients")
    V = V.to_numpy()[-4:, -4:]
    printed(V[0], "0.003900840 -0.0007382313 -0.0024837779 -0.00007825846")
    printed(V[1], "-0.0007382313 0.004177767 -0.0040101610 -0.00009960967")
    printed(V[2:, 2:].ravel(), "0.0073152051 0.0001736024 0.0001736024 0.000006745842")


# marginaleffects and performance --------------------------------------------------------------------------------------


def test_marginaleffects_of_penguins() -> None:
    table = pd.read_csv(DATA / "penguins.csv").dropna(subset=["body_mass_g"])
    table["large"] = (table["body_mass_g"] > table["body_mass_g"].median()).astype(int)
    fit = cg.pooled("large ~ bill_length_mm + flipper_length_mm + species", table)
    found = fit.average_effects()
    assert found["contrast"].to_list()[2:] == ["Chinstrap - Adelie", "Gentoo - Adelie"]
    printed(found["estimate"], "0.0276 0.0106 -0.4148 0.0617")
    printed(found["std_error"], "0.00578 0.00235 0.0565 0.107", NUMERICAL)  # as its tidy() prints them, ...
    printed(found["z"], "4.77 4.51 -7.34 0.577")
    printed(found["conf_low"], "0.01625 0.00598 -0.526 -0.148", NUMERICAL)
    printed(found["conf_high"], "0.0389 0.0152 -0.304 0.271")
    assert found["std_error"][3] == pytest.approx(0.10688, rel=2e-4)  # ... beyond which its steps show: 0.10690
    printed([fit.loglik], "-84.92257")
    groups = fit.average_effects("bill_length_mm", by="species")
    printed(groups["estimate"], "0.043532570 0.036793674 0.002872923", 1.0)
    printed(groups["std_error"], "0.00878 0.00976 0.00284")
    printed(groups["conf_low"], "0.0263 0.0177 -0.0027")
    printed(groups["conf_high"], "0.06074 0.05591 0.00845")
    flippers = fit.average_effects("flipper_length_mm", by="species")
    printed(flippers["estimate"], "0.016708310 0.014121843 0.001102661", 1.0)


def test_performance_of_sleepstudy() -> None:
    sleep = pd.read_csv(DATA / "sleepstudy.csv")
    fit = cg.random_effects("Reaction ~ Days + (Days | Subject)", sleep, family="gaussian", reml=True)
    found = fit.r2()
    printed([found.conditional, found.marginal], "0.799 0.279")
