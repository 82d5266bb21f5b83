"""Linear mixed models and least squares: other programs' numbers, closed forms, and everything after the fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import (
    ClusterError,
    ClusterGLMError,
    DesignError,
    FormulaError,
    OptionError,
    PredictionWarning,
    ResponseError,
)

GOLDEN = Path(__file__).parent.parent / "golden"
FITS = json.loads((GOLDEN / "linear_mixed.json").read_text())


def table(name: str) -> pd.DataFrame:
    data = pd.read_csv(GOLDEN / "data" / f"{name}.csv")
    return data.assign(temp10=(data.temp - 200.0) / 10.0) if "temp" in data else data


def formula_of(call: str) -> str:
    """The formula of an R call."""
    (whole,) = re.findall(r"^\w+\((.*?), data", call)
    fixed, _, random = whole.partition(", random = ~ ")
    return f"{fixed} + ({random})" if random else fixed


def fitted(formula: str, data: pd.DataFrame, **options: Any) -> Any:
    return cg.random_effects(formula, data, family="gaussian", **options)


def simulated(seed: int = 0, m: int = 12, size: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(m), size)
    x, h = rng.normal(size=len(g)), rng.integers(0, 5, len(g))
    y = 1.0 + 0.5 * x + rng.normal(size=m)[g] + 0.8 * rng.normal(size=5)[h] + 0.4 * rng.normal(size=m)[g] * x
    return pd.DataFrame(
        {"y": y + rng.normal(size=len(g)), "x": x, "g": g, "h": h, "k": g * 3 + rng.integers(0, 2, len(g))}
    )


@pytest.fixture(scope="module")
def sleep() -> Any:
    return fitted("Reaction ~ Days + (Days | Subject)", table("sleepstudy"))


@pytest.fixture(scope="module")
def crossed() -> Any:
    return fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", table("penicillin"))


# Other programs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITS)
def test_other_programs(name: str) -> None:
    """Log-likelihoods to 1e-6; estimates of nlme and glmmTMB to 1e-5, of lmer where its optimiser has gone that far."""
    known = FITS[name]
    fit = fitted(formula_of(known["call"]), table(known["data"]), reml=known["reml"])
    assert fit.converged
    assert fit.loglik == pytest.approx(known["logLik"], abs=1e-6)
    tolerance = 1e-5 if known["package"] != "lme4" else 1e-4
    np.testing.assert_allclose(fit.params, list(known["coef"].values()), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fit.bse, list(known["se"].values()), rtol=tolerance)
    assert fit.family_parameters["residual_sd"] == pytest.approx(known["residual_sd"], rel=tolerance)
    if known.get("varcor"):
        ours = fit.variance_components.query("kind == 'sd'")["estimate"]
        theirs = [sd for sds in known["varcor"].values() for sd in sds.values()]
        np.testing.assert_allclose(sorted(ours), sorted(theirs), rtol=tolerance)
    assert fit.singular == known["singular"]


def test_profile_intervals_of_lme4(sleep: Any) -> None:
    """`confint(fm1)` in section 4.3 of Bates, Maechler, Bolker and Walker, Journal of Statistical Software 67, 2015."""
    published = {
        "(Intercept)": (237.680695505, 265.129515),
        "Days": (7.358653, 13.575919),
        "sd(Subject: (Intercept))": (14.3814, 37.7160),
        "sd(Subject: Days)": (3.8012, 8.7534),
        "cor(Subject: (Intercept),Days)": (-0.4815, 0.6850),
        "residual_sd": (22.8983, 28.8580),
    }
    found = sleep.conf_int(method="profile")
    assert list(found.index) == list(published)
    np.testing.assert_allclose(found.to_numpy(), list(published.values()), rtol=2e-5, atol=1e-4)


def test_mixedlm_of_statsmodels() -> None:
    models = pytest.importorskip("statsmodels.formula.api")
    data = table("sleepstudy")
    for reml in (False, True):
        ours = fitted("Reaction ~ Days + (Days | Subject)", data, reml=reml)
        theirs = models.mixedlm("Reaction ~ Days", data, groups="Subject", re_formula="~Days").fit(reml=reml)
        assert ours.loglik == pytest.approx(theirs.llf, abs=1e-4)
        np.testing.assert_allclose(ours.params, theirs.fe_params, rtol=1e-5)
        np.testing.assert_allclose(ours.effects_covariance(), theirs.cov_re, rtol=1e-3)


# Closed forms ---------------------------------------------------------------------------------------------------------


def test_a_balanced_one_way_layout_is_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    m, k = 9, 5
    g = np.repeat(np.arange(m), k)
    y = 3.0 + rng.normal(size=m)[g] + rng.normal(size=m * k)
    data = pd.DataFrame({"y": y, "g": g})
    means = y.reshape(m, k).mean(axis=1)
    within = ((y - means[g]) ** 2).sum() / (m * (k - 1))
    between = k * ((means - y.mean()) ** 2).sum()
    for reml, divisor in ((True, m - 1), (False, m)):
        fit = fitted("y ~ 1", data, cluster="g", reml=reml)
        assert fit.family_parameters["residual_sd"] == pytest.approx(np.sqrt(within), rel=1e-9)
        variance = (between / divisor - within) / k
        assert variance > 0.0
        assert fit.sigma == pytest.approx(np.sqrt(variance), rel=1e-8)
        assert fit.icc == pytest.approx(variance / (variance + within), rel=1e-8)
        assert fit.bse["(Intercept)"] == pytest.approx(np.sqrt(between / divisor / (m * k)), rel=1e-8)


def test_least_squares() -> None:
    data = simulated()
    fit = cg.pooled("y ~ x", data, family="gaussian")
    X, y, n = np.column_stack([np.ones(len(data)), data.x]), data.y.to_numpy(), len(data)
    beta, (rss,), *_ = np.linalg.lstsq(X, y, rcond=None)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-12)
    sd = np.sqrt(rss / n)
    assert fit.family_parameters["residual_sd"] == pytest.approx(sd, rel=1e-12)
    assert fit.loglik == pytest.approx(-0.5 * n * (np.log(2 * np.pi * sd**2) + 1), rel=1e-13)
    assert fit.deviance == pytest.approx(rss, rel=1e-12)
    np.testing.assert_allclose(fit.bse, sd * np.sqrt(np.diag(np.linalg.inv(X.T @ X))), rtol=1e-10)
    low, high = fit.conf_int(method="profile").loc["residual_sd"]
    for end in (low, high):  # n log(s) + rss / (2 s^2) has risen by half a quantile
        rise = n * np.log(end / sd) + 0.5 * rss / end**2 - 0.5 * n
        assert rise == pytest.approx(0.5 * 3.841458820694124, abs=1e-5)
    rows = cg.pooled("y ~ x", data, family="gaussian", cluster="g")
    left = y - X @ beta
    meat = sum(np.outer(*[X[i].T @ left[i]] * 2) for i in (data.g.to_numpy() == k for k in range(12)))
    bread = np.linalg.inv(X.T @ X)
    np.testing.assert_allclose(rows.cov("robust", parameters="coefficients"), 12 / 11 * bread @ meat @ bread, rtol=1e-9)


def test_reml_does_not_mind_how_covariates_are_coded() -> None:
    data = simulated().assign(z=lambda d: 1e3 * d.x + 5e4, f=lambda d: np.where(d.x > 0, "a", "b"))
    one, other = (fitted(f"y ~ {x} + f + (1 | g)", data, reml=True) for x in ("x", "z"))
    assert one.sigma == pytest.approx(other.sigma, rel=1e-7)
    np.testing.assert_allclose(one.family_parameters, other.family_parameters, rtol=1e-8)
    assert one.params["x"] == pytest.approx(1e3 * other.params["z"], rel=1e-7)
    assert one.loglik == pytest.approx(other.loglik + np.log(1e3), abs=1e-6)
    levels = fitted("y ~ 0 + f + x + (1 | g)", data, reml=True)  # the determinant of this recoding is 1
    assert levels.loglik == pytest.approx(one.loglik, abs=1e-8)


def test_units_do_not_matter() -> None:
    data = simulated()
    far = data.assign(y=1e6 + 1e-3 * data.y, x=data.x / 1e2 + 7.0)
    one, other = fitted("y ~ x + (x | g) + (1 | h)", data), fitted("y ~ x + (x | g) + (1 | h)", far)
    assert other.loglik == pytest.approx(one.loglik + len(data) * np.log(1e3), abs=1e-5)
    np.testing.assert_allclose(other.bse["x"], 0.1 * one.bse["x"], rtol=1e-5)
    shown = other.conf_int(method="profile").loc["residual_sd"] / one.conf_int(method="profile").loc["residual_sd"]
    np.testing.assert_allclose(shown, 1e-3, rtol=1e-5)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (1 | g/k)"])
def test_weights_are_repeats(formula: str) -> None:
    data = simulated().assign(w=lambda d: 1 + np.arange(len(d)) % 2, c=lambda d: 1 + d.g % 3)
    weighted = fitted(formula, data, weights="w", cluster_weights="c")
    rows = [data.loc[data.index.repeat(data.w)].assign(copy=copy) for copy in range(1, 4)]
    written = pd.concat([part[part.c >= copy] for copy, part in zip(range(1, 4), rows, strict=True)])
    written["g"] = written["g"] + 100 * written["copy"]
    written["k"] = written["k"] + 1000 * written["copy"]
    plain = fitted(formula, written)
    assert weighted.loglik == pytest.approx(plain.loglik, abs=1e-7)
    np.testing.assert_allclose(weighted.bse, plain.bse, rtol=1e-5)
    np.testing.assert_allclose(weighted.cov("robust"), plain.cov("robust"), rtol=1e-4, atol=1e-8)
    assert weighted.n_obs == len(written)
    assert len(weighted.simulate(seed=1)) == len(written)
    assert fitted(formula, data, weights="w", cluster_weights="c", reml=True).loglik == pytest.approx(
        fitted(formula, written, reml=True).loglik, abs=1e-7
    )


# After the fit --------------------------------------------------------------------------------------------------------


def joint(fit: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of all effects given the data, written out; levels one after another, factor by factor."""
    effects, L, s2 = fit.fit.effects, fit.fit.factor, fit.fit.residual_sd**2
    S, wide, prior = L @ L.T, [], []
    for levels, factor in zip(effects.groupings, fit.fit.task.statistics.factors, strict=True):
        own, k = factor.columns, len(levels.labels)
        Z = np.zeros((len(levels.codes), k * len(own)))
        for b, column in enumerate(own):
            Z[np.arange(len(Z)), levels.codes * len(own) + b] = effects.Z[:, column]
        wide.append(Z)
        prior.append(np.kron(np.eye(k), S[np.ix_(own, own)]))
    from scipy.linalg import block_diag

    Z, G = np.hstack(wide), block_diag(*prior)
    V = Z @ G @ Z.T + s2 * np.eye(len(Z))
    left = fit.data.a - fit.data.X @ fit.fit.beta
    across = G @ Z.T @ np.linalg.inv(V)
    return across @ left, G - across @ Z @ G


FORMULAS = ("y ~ x + (x | g)", "y ~ x + (x | g) + (1 | k)", "y ~ x + (x | g) + (1 | h)", "y ~ x + (1 | k) + (1 | h)")


@pytest.mark.parametrize("formula", FORMULAS)
def test_effects_given_the_data(formula: str) -> None:
    fit = fitted(formula, simulated())
    mean, covariance = joint(fit)
    table = fit.random_effects
    np.testing.assert_allclose(table["mean"], mean, atol=1e-7)
    np.testing.assert_allclose(table["sd"], np.sqrt(np.diag(covariance)), atol=1e-7)


@pytest.mark.parametrize("formula", FORMULAS)
def test_errors_of_conditional_predictions(formula: str) -> None:
    """Henderson's mean squared error of prediction, plus what the covariance parameters add through the effects."""
    from clusterglm.inference.predictions.gaussian import known_effects, slopes_of_effects, variances

    fit = fitted(formula, simulated())
    mean, covariance = joint(fit)
    effects, codes = fit.fit.effects, [levels.codes for levels in fit.fit.effects.groupings]
    known = known_effects(fit.fit)
    rows, at = np.zeros((len(effects.Z), len(mean))), 0
    for levels, factor in zip(effects.groupings, known.task.statistics.factors, strict=True):
        for b, column in enumerate(factor.columns):
            rows[np.arange(len(rows)), at + levels.codes * len(factor.columns) + b] = effects.Z[:, column]
        at += len(levels.labels) * len(factor.columns)
    np.testing.assert_allclose(known.effects(effects.Z, codes), rows @ mean, atol=1e-9)
    found = variances(fit.fit, known, effects.Z, codes)
    np.testing.assert_allclose(found, np.einsum("ij,jk,ik->i", rows, covariance, rows), rtol=1e-6)
    slopes = slopes_of_effects(fit.fit, known)
    for k in range(len(fit.fit.theta)):
        step = 1e-6 * np.eye(len(fit.fit.theta))[k]
        moved = [means_at(fit, fit.fit.theta + sign * step) for sign in (1.0, -1.0)]
        for slope, up, down in zip(slopes, *moved, strict=True):
            np.testing.assert_allclose(slope[..., k], (up - down) / 2e-6, atol=2e-6)


def means_at(fit: Any, theta: np.ndarray) -> list[np.ndarray]:
    from dataclasses import replace

    from clusterglm.inference.predictions.gaussian import known_effects

    beta, phi, (sd,) = fit.fit.parameters.split(theta)
    return list(known_effects(replace(fit.fit, beta=beta, phi=phi, residual_sd=float(sd))).means)


def test_scores_of_clusters_are_those_of_single_ones() -> None:
    from clusterglm.inference.predictions.gaussian import known_effects
    from clusterglm.inference.uncertainty.gaussian import mixed_scores

    data = simulated()
    fit = fitted("y ~ x + (x | g) + (1 | k)", data, weights=1.0 + np.arange(len(data)) % 2)
    scores = mixed_scores(fit.fit, known_effects(fit.fit))
    here = fit.fit.task.whole(np.zeros(2), fit.fit.phi, fit.fit.residual_sd)
    np.testing.assert_allclose(scores.sum(axis=0), here.score, atol=1e-8)
    from dataclasses import replace

    from clusterglm.data.clusters import rows_of
    from clusterglm.fit.gaussian import task_of

    rows, starts = rows_of(fit.data.starts, np.array([3]))
    one = replace(
        fit.data, X=fit.data.X[rows], a=fit.data.a[rows], b=fit.data.b[rows], offset=fit.data.offset[rows],
        weights=fit.data.weights[rows], starts=starts, labels=fit.data.labels[[3]], cluster_weights=np.ones(1),
        effects=fit.fit.effects.taken(rows, starts),
    )  # fmt: skip
    alone = task_of(one, False, fit.fit.beta).whole(np.zeros(2), fit.fit.phi, fit.fit.residual_sd)
    np.testing.assert_allclose(scores[3], alone.score, atol=1e-9)


def test_predictions(crossed: Any) -> None:
    data = table("penicillin")
    assert np.ptp(crossed.predict()) == 0.0
    np.testing.assert_array_equal(crossed.predict(kind="marginal"), crossed.predict())
    given = crossed.predict(data, "conditional", level=0.95)
    np.testing.assert_allclose(given["estimate"], crossed.predict(kind="conditional"))
    effects = crossed.random_effects.set_index(["group", "label"])["mean"]
    first = data.iloc[0]
    expected = crossed.params["(Intercept)"] + effects["plate", first.plate] + effects["sample", first["sample"]]
    assert given["estimate"].iloc[0] == pytest.approx(expected)
    alone = crossed.predict(data.head(1), "conditional", effects=["plate"])
    assert alone.iloc[0] == pytest.approx(expected - effects["sample", first["sample"]])
    new = data.head(2).assign(plate=["new", "a"])
    with pytest.warns(PredictionWarning, match="not seen"):
        assert np.isnan(crossed.predict(new, "conditional").iloc[0])
    averaged = crossed.predict(new, "conditional", unseen="marginal", level=0.95)
    assert averaged["estimate"].iloc[0] == pytest.approx(expected - effects["plate", first.plate])
    assert averaged["std_error"].iloc[0] > 0.8 > averaged["std_error"].iloc[1]
    assert "not seen" in averaged["status"].iloc[0]
    cluster = crossed.predict(kind="marginal", level=0.95, interval="cluster").iloc[0]
    half = 1.959963984540054 * np.sqrt(crossed.bse.iloc[0] ** 2 + sum(crossed.variance_components["estimate"] ** 2))
    assert cluster["high"] - cluster["low"] == pytest.approx(2.0 * half)
    with pytest.raises(OptionError, match="history="):
        crossed.predict(data, history=data)


def test_residuals_and_shares(sleep: Any, crossed: Any) -> None:
    data, sd = table("sleepstudy"), sleep.family_parameters["residual_sd"]
    left = data["Reaction"] - sleep.predict(kind="conditional")
    np.testing.assert_allclose(sleep.residuals(), left, atol=1e-9)
    np.testing.assert_allclose(sleep.residuals("pearson"), left / sd, atol=1e-9)
    away = sleep.residuals("quantile", "marginal").to_numpy()
    assert 0.8 < away.std() < 1.2
    shares = crossed.intraclass_correlation().groupby("group")["estimate"].first()
    sds = crossed.variance_components.set_index("group")["estimate"]
    total = (sds**2).sum() + crossed.family_parameters["residual_sd"] ** 2
    np.testing.assert_allclose(shares, (sds**2 / total)[shares.index])
    nested = fitted("strength ~ 1 + (1 | batch/cask)", table("pastes"))
    of = nested.intraclass_correlation().groupby("group")["estimate"].first()
    assert of["batch:cask"] > of["batch"] > 0.0
    one = fitted("Reaction ~ Days + (1 | Subject)", data)
    found = one.intraclass_correlation().iloc[0]
    assert found["estimate"] == pytest.approx(one.icc)
    V, names = one.cov(), ["sd(Subject: (Intercept))", "residual_sd"]
    s, e = one.sigma, one.family_parameters["residual_sd"]
    gradient = 2.0 * s * e / (s**2 + e**2) ** 2 * np.array([e, -s])
    assert found["std_error"] == pytest.approx(np.sqrt(gradient @ V.loc[names, names] @ gradient), rel=1e-9)


def test_simulated_data_have_the_covariance_of_the_model(crossed: Any) -> None:
    draws = crossed.simulate(4000, seed=1).to_numpy()
    plate, sample = (table("penicillin")[name].to_numpy() for name in ("plate", "sample"))
    found = np.cov(draws)
    sd = crossed.variance_components.set_index("group")["estimate"]
    same_plate = (plate[0] == plate) & (sample[0] != sample)
    same_sample = (plate[0] != plate) & (sample[0] == sample)
    assert found[0, same_plate].mean() == pytest.approx(sd["plate"] ** 2, abs=0.15)
    assert found[0, same_sample].mean() == pytest.approx(sd["sample"] ** 2, abs=0.25)
    assert found[0, 0] == pytest.approx((sd**2).sum() + crossed.family_parameters["residual_sd"] ** 2, abs=0.3)


def test_bootstrap_finds_the_spread_of_the_estimates(sleep: Any) -> None:
    found = sleep.bootstrap(60, seed=1)
    assert found.names == tuple(sleep.conf_int().index)
    assert len(found.replicates) + sum(count for _, count in found.failures) == 60
    np.testing.assert_allclose(found.std_error[:2], sleep.bse, rtol=0.35)
    again = sleep.bootstrap(60, seed=1, n_jobs=2)
    np.testing.assert_array_equal(found.replicates, again.replicates)


def test_singular_maxima_say_so() -> None:
    data = cg.datasets.load("bacteria")
    fit = fitted("week ~ trt", data, cluster="ID")
    assert (fit.sigma, fit.singular) == (0.0, True)
    assert np.isnan(fit.sigma_se)
    assert fit.loglik == pytest.approx(fit.pooled.loglik, abs=1e-9)
    assert "sd(ID: (Intercept)) is 0" in str(fit)
    low, high = fit.conf_int(method="profile").loc["sd(ID: (Intercept))"]
    assert low == 0.0 < high
    cake = fitted("angle ~ recipe + temp10 + (temp10 | replicate) + (1 | replicate:recipe)", table("cake"))
    assert "two effects move as one" in " ".join(str(cake).split())
    assert np.isfinite(cake.bse).all()


def test_comparisons(sleep: Any) -> None:
    data = table("sleepstudy")
    one = fitted("Reaction ~ Days + (1 | Subject)", data)
    found = cg.compare({"pooled": one.pooled, "one": one, "two": sleep})
    assert found.tests[0].boundary
    assert (found.tests[1].df, found.tests[1].boundary) == (2, True)
    assert found.tests[1].statistic == pytest.approx(2.0 * (sleep.loglik - one.loglik))
    restricted = fitted("Reaction ~ Days + (1 | Subject)", data, reml=True)
    assert "does not compare with a full one" in str(cg.compare(one, restricted))
    less = fitted("Reaction ~ 1 + (1 | Subject)", data, reml=True)
    assert "other fixed effects do not compare" in " ".join(str(cg.compare(less, restricted)).split())
    larger = fitted("Reaction ~ Days + (Days | Subject)", data, reml=True)
    assert cg.compare(restricted, larger).tests[0].statistic > 0.0
    counts = cg.pooled("n ~ Days", data.assign(n=data.Reaction.round()), family="poisson")
    lines = cg.pooled("n ~ Days", data.assign(n=data.Reaction.round()), family="gaussian")
    assert "log-density" in " ".join(str(cg.compare(counts, lines)).split())
    p = table("penicillin")
    plates = fitted("diameter ~ 1 + (1 | plate)", p)
    both = fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", p)
    assert cg.compare(plates, both).tests[0].boundary
    swapped = p.assign(plate=p["plate"].sample(frac=1.0, random_state=1).to_numpy())
    other = fitted("diameter ~ 1 + (1 | plate)", swapped)
    assert "levels of grouping factors differ" in " ".join(str(cg.compare(other, both)).split())


def test_files_reports_tables_and_the_command_line(sleep: Any, crossed: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli import app

    for k, fit in enumerate((sleep, crossed, sleep.pooled)):
        fit.save(tmp_path / f"{k}.json")
        again = cg.load(tmp_path / f"{k}.json")
        assert str(again) == str(fit)
        np.testing.assert_array_equal(again.predict(level=0.9), fit.predict(level=0.9))
        page = fit.report(tmp_path / f"{k}.html").read_text()
        assert "residual_sd" in page
        assert "Could not be made" not in page
    assert "residual_sd" in str(cg.table({"a": crossed}))
    assert sleep.tidy(names="broom")["term"].tolist()[-1] == "residual_sd"
    path = tmp_path / "p.csv"
    table("penicillin").to_csv(path, index=False)
    command = ["fit", str(path), "diameter ~ 1 + (1 | plate) + (1 | sample)", "--family", "gaussian", "--reml"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    assert "restricted maximum likelihood" in found.output


def test_arrays_and_other_clusters_give_the_same(sleep: Any) -> None:
    data = table("sleepstudy")
    one = fitted("Reaction ~ Days", data, cluster="Subject")
    other = fitted("Reaction ~ Days + (1 | Subject)", data.sample(frac=1.0, random_state=2))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-9)
    assert list(one.random_effects) == ["label", "mode", "mean", "sd"]
    array = fitted("Reaction ~ Days", data, cluster=data["Subject"].to_numpy())
    assert array.loglik == pytest.approx(one.loglik, abs=1e-10)
    offset = fitted("Reaction ~ Days + offset(3 * Days)", data, cluster="Subject")
    assert offset.params["Days"] == pytest.approx(one.params["Days"] - 3.0)
    missing = data.assign(Reaction=data.Reaction.where(data.index != 5))
    assert fitted("Reaction ~ Days + (1 | Subject)", missing).n_obs == 179


# What is refused ------------------------------------------------------------------------------------------------------


def test_refusals() -> None:
    data = simulated().assign(
        row=lambda d: np.arange(len(d)), one=1, text="a", x2=lambda d: 1.0 - 3.0 * d.x, g2=lambda d: d.g + 100
    )
    cases: list[tuple[type[ClusterGLMError], str, str, dict[str, Any]]] = [
        (ClusterError, "none with two responses", "y ~ x + (1 | row)", {}),
        (ClusterError, "only one", "y ~ x + (1 | one)", {}),
        (FormulaError, "group the rows alike", "y ~ x + (1 | g) + (1 | g2)", {}),
        (ResponseError, "type", "text ~ x + (1 | g)", {}),
        (ResponseError, "equal", "one ~ x + (1 | g)", {}),
        (DesignError, "leave nothing", "x2 ~ x + (1 | g)", {}),
        (OptionError, "quadrature", "y ~ x + (1 | g)", {"quadrature": 5}),
        (OptionError, "distribution", "y ~ x + (1 | g)", {"distribution": "cauchy"}),
        (OptionError, "sigma", "y ~ x + (1 | g)", {"sigma": 1.0}),
        (OptionError, "penalty", "y ~ x + (1 | g)", {"penalty": "soft"}),
        (OptionError, "link", "y ~ x + (1 | g)", {"link": "log"}),
        (ClusterError, "cluster_weights", "y ~ x + (1 | g) + (1 | h)", {"cluster_weights": "w"}),
    ]
    data["w"] = 1 + data["h"] % 2
    for kind, words, formula, options in cases:
        chosen = dict(options)
        if "cluster_weights" in chosen:
            chosen["cluster_weights"] = {k: 1 + k % 2 for k in range(12)}
        with pytest.raises(kind, match=words):
            fitted(formula, data, **chosen)
    with pytest.raises(OptionError, match="reml=True"):
        cg.random_effects("h ~ x", data, cluster="g", family="poisson", reml=True)
    with pytest.raises(OptionError, match="continuous scale"):
        cg.fixed_effects("y ~ x", data, cluster="g", family="gaussian")
    infinite = data.assign(y=data.y.where(data.row != 3, np.inf))
    with pytest.raises(ResponseError, match="row 3"):
        fitted("y ~ x + (1 | g)", infinite)


def test_what_is_not_worked_out_says_so(sleep: Any, crossed: Any) -> None:
    for name in ("influence", "calibration", "survival", "ratios", "integration_check", "hausman"):
        with pytest.raises(OptionError, match=f"{name} of a fit with family='gaussian'"):
            getattr(sleep, name)()
    with pytest.raises(OptionError, match="robust"):
        crossed.cov("robust")
    restricted = fitted("Reaction ~ Days + (1 | Subject)", table("sleepstudy"), reml=True)
    with pytest.raises(OptionError, match="reml=False"):
        restricted.conf_int(method="profile")
    with pytest.raises(OptionError, match="variance_components"):
        _ = sleep.sigma
