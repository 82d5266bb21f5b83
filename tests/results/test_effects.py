"""Effects as methods of results: against statsmodels' margins, full numerical derivatives, units, and other tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import clusterglm as cg
from clusterglm.errors import DataError, OptionError, PredictionWarning
from clusterglm.inference.predictions.prediction import posterior_modes
from clusterglm.likelihood.scalar.posterior import accurate_intercepts
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult

COLUMNS = ["term", "contrast", "estimate", "std_error", "z", "pvalue", "conf_low", "conf_high"]
RATIO_COLUMNS = ["term", "kind", "estimate", "std_error", "conf_low", "conf_high"]
INTERVAL = ["estimate", "std_error", "conf_low", "conf_high"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(21)
    n, m = 240, 40
    d = pd.DataFrame(
        {
            "x": rng.uniform(0.5, 4.0, n),
            "z": rng.normal(size=n),
            "flag": rng.integers(0, 2, n),
            "g": rng.choice(["a", "b", "c"], n),
            "id": rng.permutation(np.arange(n) % m),
        }
    )
    eta = -1.0 + 0.6 * d.x - 0.5 * d.z + 0.7 * d.flag + 0.4 * (d.g == "b") + rng.normal(size=m)[d.id]
    d["y"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    d["count"] = rng.poisson(np.exp(0.4 * eta))
    return d


@pytest.fixture(scope="module")
def mixed(frame: pd.DataFrame) -> RandomEffectsResult:
    return cg.random_effects("y ~ x*flag + I(x**2) + g", frame, cluster="id")


def moved(fit: RandomEffectsResult, theta: np.ndarray) -> RandomEffectsResult:
    """The result as if other parameters had been estimated."""
    return replace(fit, fit=replace(fit.fit, beta=theta[:-1].copy(), sigma=float(theta[-1])))


def delta(fit: RandomEffectsResult, values: Any, h: float = 1e-4) -> np.ndarray:
    """Covariance of values(result) by differences in every parameter."""
    theta = fit.fit.theta
    columns = []
    for j in range(len(theta)):
        step = h * np.eye(len(theta))[j]
        columns.append((values(moved(fit, theta + step)) - values(moved(fit, theta - step))) / (2.0 * h))
    J = np.stack(columns, axis=-1)
    return J @ fit.fit.covariance @ J.T


# Average effects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("link", "theirs"), [("logit", smf.logit), ("probit", smf.probit)])
def test_pooled_effects_are_those_of_statsmodels(frame: pd.DataFrame, link: str, theirs: Any) -> None:
    """Their derivatives with respect to columns; ours with respect to variables, the same where each is one column."""
    ours = cg.pooled("y ~ x + z + flag + C(g)", frame, link=link).average_effects()
    want = theirs("y ~ x + z + flag + C(g)", frame).fit(disp=0).get_margeff(dummy=True).summary_frame()
    want = want.loc[["x", "z", "flag", "C(g)[T.b]", "C(g)[T.c]"]]
    assert list(ours.columns) == COLUMNS
    assert list(ours.contrast) == ["derivative", "derivative", "1 - 0", "b - a", "c - a"]
    # statsmodels sets one dummy at a time and leaves other levels as they are: factors are compared below
    for name, column in (("estimate", "dy/dx"), ("std_error", "Std. Err."), ("conf_low", "Conf. Int. Low")):
        np.testing.assert_allclose(ours[name][:3], want[column][:3], rtol=1e-6)


def test_levels_are_set_for_every_row(frame: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ x*g + z", frame)
    ours = fit.average_effects("g")
    at = {level: fit.predict(frame.assign(g=level)) for level in "abc"}
    np.testing.assert_allclose(ours.estimate, [(at[level] - at["a"]).mean() for level in "bc"], rtol=1e-12)


def test_pooled_counts(frame: pd.DataFrame) -> None:
    ours = cg.pooled("count ~ x + z", frame, family="poisson").average_effects()
    want = smf.poisson("count ~ x + z", frame).fit(disp=0).get_margeff().summary_frame()
    np.testing.assert_allclose(ours.estimate, want["dy/dx"], rtol=1e-6)
    np.testing.assert_allclose(ours.std_error, want["Std. Err."], rtol=1e-6)


def test_nonlinear_terms_follow_their_variable(frame: pd.DataFrame) -> None:
    """The derivative of the averaged prediction by shifting the variable itself."""
    for formula in ("y ~ bs(x, df=5) + z", "y ~ np.log(x)*z + I(x**2)"):
        fit = cg.pooled(formula, frame)
        with pytest.raises(DataError, match="data=the same table"):
            fit.average_effects("x")
        inside = frame[frame.x.between(frame.x.min() + 1e-3, frame.x.max() - 1e-3)]
        got = fit.average_effects("x", data=inside).estimate[0]
        up, down = (fit.predict(inside.assign(x=inside.x + h)).mean() for h in (1e-4, -1e-4))
        assert got == pytest.approx((up - down) / 2e-4, rel=1e-6)


@pytest.mark.parametrize("kind", ["marginal", "typical"])
@pytest.mark.parametrize(
    ("link", "distribution"), [("logit", "gaussian"), ("probit", "logistic"), ("cloglog", "cauchy")]
)
def test_standard_errors_by_full_differences(frame: pd.DataFrame, kind: str, link: str, distribution: str) -> None:
    fit = cg.random_effects("y ~ x*flag + g", frame, cluster="id", link=link, distribution=distribution)
    got = fit.average_effects(kind=kind)
    V = delta(fit, lambda r: r.average_effects(kind=kind).estimate.to_numpy())
    np.testing.assert_allclose(got.std_error, np.sqrt(np.diag(V)), rtol=1e-5)
    if kind == "marginal":
        up, down = (fit.predict(frame.assign(flag=k), kind="marginal").mean() for k in (1, 0))
        assert got.estimate[got.term == "flag"].item() == pytest.approx(up - down, rel=1e-9)


def test_conditional_effects(mixed: RandomEffectsResult) -> None:
    """At posterior modes, which move with the estimates and have noise of their own."""
    fit, data = mixed.fit, mixed.data
    got = mixed.average_effects("flag", kind="conditional")
    cluster = np.repeat(np.arange(data.n_clusters), np.diff(data.starts))
    j, k = data.names.index("flag"), data.names.index("x:flag")
    x = data.X[:, data.names.index("x")]

    def average(theta: np.ndarray, u: np.ndarray) -> float:
        eta = data.X @ theta[:-1] + u[cluster]
        eta0 = eta - data.X[:, j] * theta[j] - data.X[:, k] * theta[k]
        effect = fit.response.mean(eta0 + theta[j] + x * theta[k]) - fit.response.mean(eta0)
        return float(effect.mean())

    def modes(theta: np.ndarray) -> np.ndarray:
        return accurate_intercepts(data, fit.response, fit.distribution, theta).modes

    found = posterior_modes(data, fit.response, fit.distribution, fit.theta, fit.accurate_intercepts(data))
    theta, h = fit.theta, 1e-5
    assert got.estimate[0] == pytest.approx(average(theta, found.values), rel=1e-8)
    unit = np.eye(len(theta)) * h
    g = np.array(
        [(average(theta + e, modes(theta + e)) - average(theta - e, modes(theta - e))) / (2 * h) for e in unit]
    )
    own = np.eye(len(found.values)) * h
    s = np.array([(average(theta, found.values + e) - average(theta, found.values - e)) / (2 * h) for e in own])
    want = g @ fit.covariance @ g + s**2 @ found.variances
    assert got.std_error[0] == pytest.approx(np.sqrt(want), rel=1e-5)


def test_fixed_effects_of_a_logit_are_those_of_dummies(frame: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ x + flag + z", frame, cluster="id")
    inside = frame[frame.id.isin(fit.cluster_effects.label[fit.cluster_effects.status == "estimated"])]
    names = ["x", "flag", "z"]
    ours = fit.average_effects(clusters="informative")
    dummies = cg.pooled("y ~ x + flag + z + C(id)", inside).average_effects(names)
    assert list(ours.term) == names
    np.testing.assert_allclose(ours.estimate, dummies.estimate, rtol=1e-6)
    np.testing.assert_allclose(ours.std_error, dummies.std_error, rtol=1e-6)


def test_effects_at_corrected_coefficients_are_corrected_too(frame: pd.DataFrame) -> None:
    """Noise in the intercepts flattens an average slope, as integrating over a random intercept would."""
    fit = cg.fixed_effects("y ~ x + z", frame, cluster="id", bias_correction="analytical")
    mean = fit.predict()
    plain = (mean * (1.0 - mean)).mean() * fit.params.x
    assert fit.average_effects().estimate[0] > 1.05 * plain


def test_fixed_effects_of_counts_are_those_of_dummies(frame: pd.DataFrame) -> None:
    """Effects and standard errors of a Poisson model with a dummy for each cluster."""
    ours = cg.fixed_effects("count ~ x + z", frame, cluster="id", family="poisson").average_effects()
    dummies = cg.pooled("count ~ x + z + C(id)", frame, family="poisson").average_effects(["x", "z"])
    np.testing.assert_allclose(ours.estimate, dummies.estimate, rtol=1e-6)
    np.testing.assert_allclose(ours.std_error, dummies.std_error, rtol=1e-6)


def test_units_of_a_covariate_do_not_matter(frame: pd.DataFrame, mixed: RandomEffectsResult) -> None:
    grams = cg.random_effects("y ~ x*flag + I(x**2) + g", frame.assign(x=1000.0 * frame.x), cluster="id")
    one, other = mixed.average_effects(), grams.average_effects()
    factor = np.where(one.term == "x", 1000.0, 1.0)
    for name in ("estimate", "std_error", "conf_low", "conf_high"):
        np.testing.assert_allclose(other[name] * factor, one[name], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(other.z, one.z, rtol=1e-5)


def test_other_tables(frame: pd.DataFrame, mixed: RandomEffectsResult) -> None:
    want = mixed.average_effects()
    for same in (frame, pl.from_pandas(frame)):
        np.testing.assert_allclose(mixed.average_effects(data=same).estimate, want.estimate, rtol=1e-7)
    shuffled = frame.sample(frac=1.0, random_state=1)
    for kind in ("marginal", "typical", "conditional"):
        pd.testing.assert_frame_equal(
            mixed.average_effects(kind=kind, data=shuffled), mixed.average_effects(kind=kind), rtol=1e-7
        )
    half = frame[:100].astype({"x": object})
    half.loc[3, "x"] = None
    half["x"] = half["x"].astype(float)
    with pytest.warns(PredictionWarning, match="1 of 100 rows"):
        got = mixed.average_effects("flag", data=half)
    whole = half.dropna()
    up, down = (mixed.predict(whole.assign(flag=k), kind="marginal").mean() for k in (1, 0))
    assert got.estimate[0] == pytest.approx(up - down, rel=1e-9)
    with pytest.warns(PredictionWarning, match="not seen"):
        mixed.average_effects("flag", "conditional", data=frame.assign(id=np.where(frame.id == 3, 999, frame.id))[::-1])
    with pytest.raises(DataError, match="without a row"):
        mixed.average_effects(data=whole.assign(x=np.nan))


def test_weights_count_rows(frame: pd.DataFrame) -> None:
    twice = pd.concat([frame, frame[:60]])
    one = cg.pooled("y ~ x + flag", twice).average_effects()
    other = cg.pooled("y ~ x + flag", frame.assign(w=1.0 + (np.arange(240) < 60)), weights="w").average_effects()
    np.testing.assert_allclose(other[INTERVAL], one[INTERVAL], rtol=1e-7)


def test_within_and_between(frame: pd.DataFrame) -> None:
    """The cluster's mean stays: only the part within moves."""
    fit = cg.pooled("y ~ within(x) + between(x) + z", frame, cluster="id")
    with pytest.raises(DataError, match="data=the same table"):
        fit.average_effects("x")
    got = fit.average_effects("x", data=frame).estimate[0]
    p = fit.predict()
    assert got == pytest.approx((p * (1 - p)).mean() * fit.params["within(x)"], rel=1e-8)


def test_what_cannot_be_had(frame: pd.DataFrame, mixed: RandomEffectsResult) -> None:
    with pytest.raises(OptionError, match="did you mean 'flag'"):
        mixed.average_effects("flags")
    with pytest.raises(OptionError, match="kind"):
        mixed.average_effects(kind="population")
    with pytest.raises(OptionError, match="without covariates"):
        cg.pooled("y ~ 1", frame).average_effects()
    with pytest.raises(OptionError, match="level"):
        mixed.average_effects(level=95)
    with pytest.raises(OptionError, match="kind"):
        cg.fixed_effects("y ~ x", frame, cluster="id").average_effects(kind="marginal")


def test_infinite_means_are_said(frame: pd.DataFrame) -> None:
    heavy = cg.random_effects("count ~ x", frame, cluster="id", family="poisson", distribution="cauchy")
    got = heavy.average_effects()
    assert got.estimate.isna().all()
    assert "infinite" in got.note[0]
    assert np.isfinite(heavy.average_effects(kind="typical").estimate).all()
    with pytest.raises(OptionError, match="infinite"):
        heavy.marginal_coefficients()


# Ratios, coefficients and heterogeneity --------------------------------------------------------------------------


def test_ratios(pooled: PooledResult, counts: RandomEffectsResult, frame: pd.DataFrame) -> None:
    got = pooled.ratios(level=0.9)
    assert list(got.columns) == RATIO_COLUMNS
    assert list(got.kind) == ["odds", "odds ratio", "odds ratio", "odds ratio"]
    np.testing.assert_allclose(got.estimate, np.exp(pooled.params))
    np.testing.assert_allclose(got[["conf_low", "conf_high"]], np.exp(pooled.conf_int(level=0.9)))
    assert counts.ratios().kind[1] == "rate ratio"
    conditional = cg.conditional("y ~ x + z", frame, cluster="id")
    assert set(conditional.ratios().kind) == {"odds ratio"}
    with pytest.raises(OptionError, match="probit"):
        cg.pooled("y ~ x", frame, link="probit").ratios()


def test_ratios_keep_units(frame: pd.DataFrame) -> None:
    one = cg.pooled("y ~ x", frame).ratios()
    other = cg.pooled("y ~ x", frame.assign(x=10.0 * frame.x)).ratios()
    np.testing.assert_allclose(other.conf_high[1] ** 10, one.conf_high[1], rtol=1e-7)


@pytest.mark.parametrize(
    ("link", "distribution"), [("logit", "gaussian"), ("probit", "gaussian"), ("cloglog", "logistic")]
)
def test_summaries_by_full_differences(frame: pd.DataFrame, link: str, distribution: str) -> None:
    fit = cg.random_effects("y ~ x + flag", frame, cluster="id", link=link, distribution=distribution)
    table = fit.marginal_coefficients()
    V = delta(fit, lambda r: r.marginal_coefficients().estimate.to_numpy())
    np.testing.assert_allclose(table.std_error, np.sqrt(np.diag(V)), rtol=1e-5)
    found = [fit.intraclass_correlation(), *(fit.intraclass_correlation("response", at=at) for at in (None, -1.0))]
    for got, options in zip(found, ({}, {"scale": "response"}, {"scale": "response", "at": -1.0}), strict=True):
        v = delta(fit, lambda r, o=options: np.array([r.intraclass_correlation(**o).estimate]))
        assert got.std_error == pytest.approx(np.sqrt(v[0, 0]), rel=1e-5)
        assert 0.0 < got.conf_low < got.estimate < got.conf_high < 1.0
    assert found[0].estimate == fit.icc
    if link == "probit":
        np.testing.assert_allclose(table.estimate, fit.params / np.hypot(1.0, fit.sigma), rtol=1e-9)
        return
    v = delta(fit, lambda r: np.array([r.median_odds_ratio().estimate]))
    assert fit.median_odds_ratio().std_error == pytest.approx(np.sqrt(v[0, 0]), rel=1e-6)
    ior = fit.interval_odds_ratio("flag")
    V = delta(fit, lambda r: r.interval_odds_ratio("flag").estimate.to_numpy())
    np.testing.assert_allclose(ior.std_error, np.sqrt(np.diag(V)), rtol=1e-5)
    assert list(ior.columns) == ["term", *INTERVAL]


def test_contrasts(mixed: RandomEffectsResult) -> None:
    one = mixed.interval_odds_ratio({"x": 2.0, "flag": 1.0})
    row = np.zeros(len(mixed.params))
    row[[mixed.data.names.index("x"), mixed.data.names.index("flag")]] = 2.0, 1.0
    pd.testing.assert_frame_equal(one, mixed.interval_odds_ratio(row))
    q = np.sqrt(2.0) * 1.2815515655446004 * mixed.sigma
    np.testing.assert_allclose(np.log(one.estimate), row @ mixed.params.to_numpy() + np.array([-q, q]), rtol=1e-10)
    assert 0.0 < one.attrs["opposed"] < 0.5
    for bad in ("flagg", {"nothing": 1.0}, [1.0, 2.0], None):
        with pytest.raises(OptionError, match="contrast="):
            mixed.interval_odds_ratio(bad)
    with pytest.raises(OptionError, match="coverage"):
        mixed.interval_odds_ratio("flag", coverage=80)
    with pytest.raises(OptionError, match="latent"):
        mixed.intraclass_correlation(at=0.0)
    with pytest.raises(OptionError, match="at="):
        mixed.intraclass_correlation("response", at=np.inf)


def test_on_the_boundary(at_zero: RandomEffectsResult) -> None:
    pooled = at_zero.pooled
    for kind in ("marginal", "typical", "conditional"):
        got = at_zero.average_effects(kind=kind)
        np.testing.assert_allclose(got[INTERVAL], pooled.average_effects()[INTERVAL], rtol=1e-8)
        assert "sigma = 0" in got.note[0]
    table = at_zero.marginal_coefficients()
    np.testing.assert_allclose(table.estimate, at_zero.params, rtol=1e-10)
    np.testing.assert_allclose(table.std_error, at_zero.bse, rtol=1e-10)
    for got, value in (
        (at_zero.median_odds_ratio(), 1.0),
        (at_zero.intraclass_correlation(), 0.0),
        (at_zero.intraclass_correlation("response"), 0.0),
    ):
        assert got.estimate == value
        assert np.isnan([got.std_error, got.conf_low, got.conf_high]).all()
        assert "sigma = 0" in str(got)


def test_sigma_held_fixed(frame: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x + flag", frame, cluster="id", sigma=0.8, fix_sigma=True)
    assert fit.median_odds_ratio().std_error == 0.0
    assert fit.intraclass_correlation().std_error == 0.0
    assert fit.intraclass_correlation("response", at=0.3).std_error == 0.0
    assert fit.intraclass_correlation("response").std_error > 0.0
    for note in (
        fit.median_odds_ratio().note,
        fit.intraclass_correlation("response").note,
        *fit.average_effects().note,
        *fit.marginal_coefficients().note,
        *fit.interval_odds_ratio("x").note,
    ):
        assert "held fixed" in note


def test_cauchy(cauchy: RandomEffectsResult) -> None:
    got = cauchy.intraclass_correlation()
    assert np.isnan(got.estimate)
    assert "variance" in got.note
    assert cauchy.median_odds_ratio().estimate == pytest.approx(np.exp(2.0 * cauchy.sigma), rel=1e-12)
    assert 0.0 < cauchy.intraclass_correlation("response").estimate < 1.0


def test_names_of_median_ratios(counts: RandomEffectsResult, logit: RandomEffectsResult) -> None:
    assert counts.median_odds_ratio().name == "median rate ratio"
    assert logit.median_odds_ratio().name == "median odds ratio"
    assert np.isnan(counts.intraclass_correlation().estimate)
    assert counts.intraclass_correlation("response").conf_low > 0.0


def test_marginal_coefficients_are_near_a_population_averaged_fit() -> None:
    """Large clusters with a known truth: estimates of a pooled model aim at the marginal coefficients."""
    rng = np.random.default_rng(3)
    m, n = 1500, 6
    d = pd.DataFrame({"id": np.repeat(np.arange(m), n), "x": rng.normal(size=m * n)})
    eta = 0.5 + d.x - 1.0 + 1.5 * rng.normal(size=m)[d.id]
    d["y"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    table = cg.random_effects("y ~ x", d, cluster="id").marginal_coefficients()
    gee = sm.GEE.from_formula("y ~ x", "id", d, family=sm.families.Binomial(), cov_struct=sm.cov_struct.Exchangeable())
    want = gee.fit()
    assert (np.abs(table.estimate.to_numpy() - want.params) < 0.5 * want.bse.to_numpy()).all()
    np.testing.assert_allclose(table.std_error, want.bse, rtol=0.1)


def test_robust_covariances_serve_effects_and_ratios(frame: pd.DataFrame, mixed: RandomEffectsResult) -> None:
    """The gradient of the averages, taken from two covariances that are known."""
    found = {cov: mixed.average_effects("x", "typical", cov=cov) for cov in ("observed", "robust")}
    ratio = found["robust"].std_error[0] / found["observed"].std_error[0]
    assert ratio != 1.0
    assert 0.5 < ratio < 2.0
    term = mixed.ratios(cov="robust").set_index("term").loc["x"]
    assert term.std_error / term.estimate == pytest.approx(np.sqrt(mixed.cov("robust").loc["x", "x"]))
    with pytest.raises(OptionError, match="cov="):
        mixed.average_effects(cov="sandwich")


@pytest.mark.parametrize("term", ["I(x > 2)", "x + I(x > 2)", "x + I(x > 2.000001)", "np.floor(x)"])
def test_no_derivative_across_a_step(frame: pd.DataFrame, term: str) -> None:
    """Whether a row lies on the step or none does."""
    rounded = frame.assign(x=frame.x.round(1))
    fit = cg.pooled(f"y ~ {term} + z", rounded)
    with pytest.raises(DataError, match="enters by steps"):
        fit.average_effects("x", data=rounded)
    assert np.isfinite(fit.average_effects("z", data=rounded).estimate).all()


def test_corners_are_not_steps(frame: pd.DataFrame) -> None:
    rounded = frame.assign(x=frame.x.round(1))
    fit = cg.pooled("y ~ x + np.maximum(x - 2.0, 0.0)", rounded)
    assert np.isfinite(fit.average_effects("x", data=rounded).estimate).all()


def test_rows_alike_in_the_design_may_differ_in_their_variables() -> None:
    """x and -x in x^2: what they have in common is no reason to take one for the other."""
    rng = np.random.default_rng(0)
    d = pd.DataFrame({"id": rng.integers(0, 200, 6000), "x": rng.choice([-2.0, -1.0, 1.0, 2.0, 3.0], 6000)})
    d["y"] = (rng.random(6000) < 1.0 / (1.0 + np.exp(1.0 - 0.2 * d.x**2))).astype(int)
    for verb, kind in ((cg.random_effects, "marginal"), (cg.fixed_effects, "conditional")):
        fit = verb("y ~ I(x**2)", d, cluster="id")
        found = fit.average_effects("x", data=d)["estimate"].iloc[0]
        above, below = (fit.predict(d.assign(x=d.x + step), kind).mean() for step in (1e-4, -1e-4))
        assert found == pytest.approx((above - below) / 2e-4, abs=1e-6)
