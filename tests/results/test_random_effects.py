"""What a random-intercept result holds, says and predicts."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import expit

import clusterglm as cg
from clusterglm.model.printing import WIDEST
from clusterglm.results.models.random_effects import RandomEffectsResult


def test_estimates_are_the_exact_ones(exact: dict[str, Any], logit: RandomEffectsResult) -> None:
    golden = exact["bacteria_logit_gaussian"]
    pd.testing.assert_series_equal(
        logit.params[list(golden["coef"])], pd.Series(golden["coef"]), rtol=1e-5, check_names=False
    )
    assert logit.sigma == pytest.approx(golden["sigma"], rel=1e-5)
    np.testing.assert_allclose([*logit.bse[list(golden["coef"])], logit.sigma_se], golden["se"], rtol=1e-5)
    assert logit.loglik == pytest.approx(golden["logLik"], abs=1e-6)


def test_criteria(logit: RandomEffectsResult) -> None:
    assert (logit.n_parameters, logit.n_obs, logit.n_clusters, logit.df_resid) == (5, 220, 50, 215)
    assert (logit.nobs, logit.llf) == (logit.n_obs, logit.loglik)
    assert logit.aic == pytest.approx(10 - 2 * logit.loglik)
    assert logit.bic == pytest.approx(5 * np.log(220) - 2 * logit.loglik)
    assert logit.deviance == pytest.approx(-2 * logit.loglik)  # 0/1 data: the saturated model has log-likelihood 0


def test_deviance_of_counts_is_relative_to_the_saturated_model(exact: dict[str, Any], epil: pd.DataFrame) -> None:
    golden = exact["epil_log_gaussian"]
    fit = cg.random_effects(golden["formula"], epil, cluster="subject", family="poisson")
    y = epil["y"].to_numpy(float)
    poisson = np.where(y > 0, y * np.log(np.maximum(y, 1)), 0.0) - y
    full = poisson.sum() - sum(float(np.log(np.arange(1, int(k) + 1)).sum()) for k in y)
    assert fit.loglik == pytest.approx(golden["logLik"], abs=1e-6)
    assert fit.deviance == pytest.approx(-2 * (golden["logLik"] - full), abs=1e-5)


def test_coefficient_tables_agree(logit: RandomEffectsResult) -> None:
    np.testing.assert_allclose(logit.tvalues, logit.params / logit.bse)
    pd.testing.assert_series_equal(logit.tvalues, logit.zvalues)
    tidy = logit.tidy(level=0.9)
    assert list(tidy.term) == [*logit.params.index, "sigma"]
    assert list(tidy.component)[-2:] == ["coefficient", "random_intercept"]
    np.testing.assert_allclose(tidy.pvalue[:-1], logit.pvalues)
    np.testing.assert_allclose(tidy[["conf_low", "conf_high"]], logit.conf_int(level=0.9))
    assert 0 < tidy.conf_low.iloc[-1] < logit.sigma < tidy.conf_high.iloc[-1]
    glance = logit.glance()
    assert len(glance) == 1
    assert glance.loc[0, "clustering_p_value"] == logit.clustering_test.pvalue


def test_covariance(logit: RandomEffectsResult) -> None:
    cov = logit.cov_params()
    assert list(cov.columns) == list(cov.index) == [*logit.params.index, "sigma"]
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), [*logit.bse, logit.sigma_se])
    np.testing.assert_allclose(np.linalg.inv(-cov), logit.fit.hessian, rtol=1e-8, atol=1e-12)
    with pytest.raises(cg.errors.OptionError, match="'observed', 'robust'"):
        logit.cov("hc3")


@pytest.mark.parametrize("fixture", ["logit", "cauchy", "counts"])
def test_robust_covariance_is_made_of_scores_that_sum_to_zero(fixture: str, request: pytest.FixtureRequest) -> None:
    from clusterglm.inference.uncertainty.covariance import marginal_scores

    result: RandomEffectsResult = request.getfixturevalue(fixture)
    scores = marginal_scores(result.data, result.fit)
    np.testing.assert_allclose(scores.sum(axis=0), 0.0, atol=1e-5)
    m = result.n_clusters
    A = result.cov().to_numpy()
    np.testing.assert_allclose(result.cov("robust"), m / (m - 1) * A @ (scores.T @ scores) @ A, rtol=1e-10)


def test_marginal_scores_are_derivatives_of_single_clusters(bacteria: pd.DataFrame) -> None:
    from clusterglm.inference.uncertainty.covariance import marginal_scores
    from clusterglm.likelihood.reference import marginal

    fit = cg.random_effects("yy ~ late", bacteria, cluster="ID", quadrature=7)
    d = fit.data

    def values(theta: np.ndarray) -> np.ndarray:
        arrays = (d.starts, d.X, d.a, d.b, d.offset, d.cluster_weights)
        return marginal(*arrays, theta, fit.response, fit.distribution, "normal", 7)[3]

    theta, h = fit.fit.theta, 1e-5
    numerical = np.column_stack([(values(theta + h * e) - values(theta - h * e)) / (2 * h) for e in np.eye(3)])
    np.testing.assert_allclose(marginal_scores(d, fit.fit), numerical, atol=1e-7)


def test_scale_standard_deviation_and_icc(
    logit: RandomEffectsResult, cauchy: RandomEffectsResult, counts: RandomEffectsResult
) -> None:
    assert logit.random_effects_sd == logit.sigma
    assert logit.icc == pytest.approx(logit.sigma**2 / (logit.sigma**2 + np.pi**2 / 3))
    assert np.isinf(cauchy.random_effects_sd)
    assert cauchy.icc is not None
    assert np.isnan(cauchy.icc)
    assert counts.random_effects_sd == pytest.approx(counts.sigma * np.pi / np.sqrt(3))
    assert counts.icc is None


def test_clustering_test(logit: RandomEffectsResult) -> None:
    test = logit.clustering_test
    assert test.statistic == pytest.approx(2 * (logit.loglik - logit.pooled.loglik))
    assert 0.003 < test.pvalue < 0.0035


def test_posterior_moments_of_a_fit_by_laplace(bacteria: pd.DataFrame) -> None:
    """One point has no spread: moments are integrals by another rule, here a sum over a dense grid."""
    fit = cg.random_effects("yy ~ late", bacteria, cluster="ID", quadrature="laplace")
    table = fit.random_effects.set_index("label")
    u = np.linspace(-12, 12, 4001) * fit.sigma
    intercept, late = fit.fit.theta[:2]
    fixed = intercept + late * bacteria.late.to_numpy()
    sign = 2 * bacteria.yy.to_numpy() - 1
    for label in table.index[::7]:
        own = bacteria.ID.eq(label).to_numpy()
        log_density = (
            -(np.logaddexp(0, -sign[own, None] * (fixed[own, None] + u))).sum(axis=0) - (u / fit.sigma) ** 2 / 2
        )
        density = np.exp(log_density - log_density.max())
        density /= density.sum()
        mean = density @ u
        assert table.loc[label, "mean"] == pytest.approx(mean, abs=1e-6)
        assert table.loc[label, "sd"] == pytest.approx(np.sqrt(density @ (u - mean) ** 2), abs=1e-6)


def test_random_effects_follow_labels(bacteria: pd.DataFrame, logit: RandomEffectsResult) -> None:
    table = logit.random_effects
    assert list(table.columns) == ["label", "mode", "mean", "sd"]
    assert sorted(table.label) == sorted(bacteria.ID.unique())
    share = bacteria.groupby("ID").yy.mean()
    by_label = table.set_index("label")
    assert (by_label["mode"][share.index[share == 1.0]] > 0).all()
    assert (by_label["mode"][share.index[share < 0.5]] < 0).all()
    assert ((table.sd > 0) & (table.sd < logit.sigma)).all()


def test_posterior_moments_by_direct_integration(logit: RandomEffectsResult) -> None:
    d, k = logit.data, 3
    rows = slice(d.starts[k], d.starts[k + 1])
    grid = np.linspace(-12, 12, 4001)
    eta = (d.X[rows] @ logit.params.to_numpy())[:, None] + grid
    log_density = logit.response.value(eta, d.a[rows, None], d.b[rows, None]).sum(axis=0) - grid**2 / 2 / logit.sigma**2
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = weight @ grid
    found = logit.random_effects.iloc[k]
    assert found["mean"] == pytest.approx(mean, abs=1e-5)
    assert found["sd"] == pytest.approx(np.sqrt(weight @ (grid - mean) ** 2), abs=1e-5)
    assert found["mode"] == pytest.approx(grid[log_density.argmax()], abs=0.006)


# Printing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["logit", "cauchy", "counts", "at_zero", "pooled"])
def test_summary_fits_the_page(fixture: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(fixture)
    text = str(result)
    assert max(map(len, text.splitlines())) <= WIDEST
    assert text == repr(result) == str(result.summary())
    assert text.isascii()
    assert result._repr_html_().startswith("<div>")


def test_summary_says_all(logit: RandomEffectsResult) -> None:
    text = " ".join(str(logit).split())
    for words in (
        "yy ~ trt + late",
        "binomial, logit",
        "gaussian",
        "220 rows in 50 clusters of 'ID' (2 to 5 rows, median 5)",
        "(Intercept) 3.5790 0.7010 5.105 3.30e-07 ***",
        "sigma: 1.3043 (Std. Error 0.4177)",
        "half chi2 on 0 and half chi2 on 1 df",
        "Log-likelihood: -95.8971 (5 parameters)",
        "AIC 201.79",
        "estimated error of the log-likelihood",
        "Convergence: converged",
    ):
        assert words in text


def test_missing_rows_are_counted(bacteria: pd.DataFrame) -> None:
    holes = bacteria.assign(week=bacteria.week.astype(float), ID=bacteria.ID.astype(object))
    holes.loc[[1, 5, 9], "week"] = np.nan
    holes.loc[[20], "ID"] = None
    fit = cg.random_effects("yy ~ week", holes, cluster="ID")
    assert fit.n_obs == 216
    assert "4 rows" in str(fit)
    assert set(fit.augment().index) == set(range(220)) - {1, 5, 9, 20}


def test_sigma_zero_is_a_result(at_zero: RandomEffectsResult) -> None:
    assert at_zero.sigma == 0.0
    assert at_zero.converged
    assert np.isnan(at_zero.sigma_se)
    assert at_zero.loglik == at_zero.pooled.loglik
    assert at_zero.clustering_test.pvalue == 1.0
    assert at_zero.n_parameters == 3
    pd.testing.assert_series_equal(at_zero.bse, at_zero.pooled.bse)
    for kind in ("observed", "robust"):
        cov = at_zero.cov(kind)
        np.testing.assert_allclose(cov.iloc[:2, :2], at_zero.pooled.cov(kind))
        assert cov["sigma"].isna().all()
    text = " ".join(str(at_zero).split())
    assert "The maximum lies at sigma = 0:" in text
    assert "nan" not in text
    assert (at_zero.random_effects[["mode", "mean", "sd"]] == 0).all(axis=None)
    assert at_zero.random_effects_sd == 0.0
    assert at_zero.icc == 0.0


def test_sigma_zero_by_a_fixed_rule_is_put_with_care(alternating: pd.DataFrame, at_zero: RandomEffectsResult) -> None:
    laplace = cg.random_effects("y ~ x", alternating, cluster="id", quadrature="laplace")
    assert laplace.sigma == 0.0
    assert 'quadrature="auto" can tell' in " ".join(str(laplace).split())
    assert "auto" not in str(at_zero)


def test_cauchy_at_zero_has_no_infinite_spread(alternating: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x", alternating, cluster="id", distribution="cauchy")
    assert (fit.sigma, fit.random_effects_sd) == (0.0, 0.0)


def test_fixed_sigma(bacteria: pd.DataFrame, logit: RandomEffectsResult) -> None:
    fit = cg.random_effects("yy ~ trt + late", bacteria, cluster="ID", sigma=logit.sigma, fix_sigma=True)
    assert fit.sigma == logit.sigma
    np.testing.assert_allclose(fit.params, logit.params, rtol=1e-6)
    assert fit.n_parameters == 4
    assert fit.df_resid == logit.df_resid + 1
    assert np.isnan(fit.clustering_test.pvalue)
    assert "held fixed" in fit.clustering_test.reason
    assert f"{fit.sigma:.5g} (held fixed)" in str(fit)
    H = logit.fit.hessian[:4, :4]  # without sigma to estimate, the coefficients know more
    np.testing.assert_allclose(fit.cov().iloc[:4, :4], np.linalg.inv(-H), rtol=1e-5)
    assert fit.cov("robust").iloc[:4, :4].notna().all(axis=None)
    assert fit.random_effects["mode"].abs().max() > 0.1


def test_report_of_a_fixed_rule(bacteria: pd.DataFrame) -> None:
    text = " ".join(str(cg.random_effects("yy ~ late", bacteria, cluster="ID", quadrature=9)).split())
    assert "adaptive Gauss-Hermite with 9 nodes; error not estimated" in text
    laplace = cg.random_effects("yy ~ late", bacteria, cluster="ID", quadrature="laplace")
    assert "Integration: Laplace; error not estimated" in " ".join(str(laplace).split())
    assert laplace.quadrature.nodes == 1


# Immutability and pickling -------------------------------------------------------------------------------------------


def test_immutable(logit: RandomEffectsResult) -> None:
    with pytest.raises(FrozenInstanceError):
        logit.fit = None  # type: ignore[misc,assignment]
    with pytest.raises(ValueError, match="read-only"):
        logit.fit.beta[0] = 0.0
    before = logit.params.iloc[0]
    coefficients, errors, covariance, intercepts = logit.params, logit.bse, logit.cov(), logit.random_effects
    coefficients.iloc[0] = errors.iloc[0] = covariance.iloc[0, 0] = intercepts.loc[0, "mode"] = 99.0
    assert logit.params.iloc[0] == before
    assert logit.cov().iloc[0, 0] != 99.0
    assert logit.random_effects.loc[0, "mode"] != 99.0


@pytest.mark.parametrize("fixture", ["logit", "cauchy", "counts", "at_zero", "pooled"])
def test_pickle(fixture: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(fixture)
    copy = pickle.loads(pickle.dumps(result))
    assert str(copy) == str(result)
    pd.testing.assert_frame_equal(copy.cov("robust"), result.cov("robust"))
    pd.testing.assert_series_equal(copy.predict(), result.predict())


# Prediction ----------------------------------------------------------------------------------------------------------


def test_predict_follows_the_users_rows(bacteria: pd.DataFrame, logit: RandomEffectsResult) -> None:
    shuffled = bacteria.sample(frac=1, random_state=3).reset_index(drop=True)
    other = cg.random_effects("yy ~ trt + late", shuffled, cluster="ID")
    for intercepts in ("typical", "conditional"):
        mine = logit.predict(kind=intercepts, scale="link")
        assert list(mine.index) == list(range(220))
        np.testing.assert_allclose(
            logit.predict(shuffled, intercepts, scale="link"), other.predict(None, intercepts, scale="link"), atol=1e-6
        )
        np.testing.assert_allclose(logit.predict(bacteria, intercepts, scale="link"), mine, atol=1e-12)
        np.testing.assert_allclose(logit.predict(kind=intercepts), expit(mine))


def test_predict_by_hand(logit: RandomEffectsResult) -> None:
    new = {"trt": ["drug", "placebo"], "late": [1, 0]}
    b = logit.params
    expected = np.array([b["(Intercept)"] + b["trtdrug"] + b["late"], b["(Intercept)"]])
    np.testing.assert_allclose(logit.predict(new, scale="link"), expected)
    np.testing.assert_allclose(logit.predict(new, 0.5, scale="link"), expected + 0.5)
    shifted = logit.predict(new, [1.0, -1.0], scale="link")
    np.testing.assert_allclose(shifted - expected, [1.0, -1.0])


def test_predict_conditional_on_a_known_cluster(logit: RandomEffectsResult) -> None:
    label = logit.random_effects.label.iloc[7]
    new = {"trt": ["drug"], "late": [1], "ID": [label]}
    difference = logit.predict(new, "conditional", scale="link") - logit.predict(new, scale="link")
    assert difference[0] == pytest.approx(logit.random_effects["mode"].iloc[7])


def test_predict_includes_offsets(epil: pd.DataFrame, counts: RandomEffectsResult) -> None:
    moved = counts.predict(epil.assign(lage=epil.lage + 1.0), scale="link") - counts.predict(epil, scale="link")
    np.testing.assert_allclose(moved, 1.0)
    np.testing.assert_allclose(counts.predict(epil), counts.predict())


def test_predict_with_an_offset_column(epil: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ lbase", epil, cluster="subject", family="poisson", offset="lage", quadrature=5)
    np.testing.assert_allclose(fit.predict(epil), fit.predict())
    moved = fit.predict(epil.assign(lage=epil.lage + 1.0), scale="link")
    np.testing.assert_allclose(moved - fit.predict(scale="link"), 1.0)


def test_missing_covariates_give_missing_predictions(logit: RandomEffectsResult) -> None:
    new = {"trt": ["drug", None, "drug"], "late": [1.0, 0.0, None]}
    for scale in ("link", "response"):
        with pytest.warns(cg.errors.PredictionWarning, match="2 of 3 rows"):
            assert list(logit.predict(new, scale=scale).isna()) == [False, True, True]


def test_unseen_cluster(logit: RandomEffectsResult) -> None:
    new = {"trt": ["drug", "drug"], "late": [1, 0], "ID": ["nobody", logit.random_effects.label.iloc[0]]}
    assert len(logit.predict(new)) == 2
    with pytest.warns(cg.errors.PredictionWarning, match="1 of 2 rows .*cluster 'nobody' not seen in the fit"):
        assert list(logit.predict(new, "conditional").isna()) == [True, False]


def test_new_data_without_or_with_missing_clusters(logit: RandomEffectsResult) -> None:
    new: dict[str, Any] = {"trt": ["drug"], "late": [1]}
    with pytest.raises(cg.errors.ClusterError, match="'ID'"):
        logit.predict(new, "conditional")
    with pytest.warns(cg.errors.PredictionWarning, match="missing value in 'ID'"):
        assert logit.predict({**new, "ID": [None]}, "conditional").isna().all()


def test_unseen_level_and_missing_column(logit: RandomEffectsResult) -> None:
    with pytest.warns(cg.errors.PredictionWarning, match="level 'sugar' of 'trt' not seen in the fit"):
        assert logit.predict({"trt": ["sugar"], "late": [1]}).isna().all()
    with pytest.raises(cg.errors.DataError, match="late"):
        logit.predict({"trt": ["drug"]})


@pytest.mark.parametrize("intercepts", ["modes", [0.0, 1.0], np.zeros((220, 2)), [None] * 220])
def test_bad_intercepts(logit: RandomEffectsResult, intercepts: Any) -> None:
    with pytest.raises(cg.errors.OptionError, match="kind"):
        logit.predict(kind=intercepts)


def test_bad_kind(logit: RandomEffectsResult) -> None:
    with pytest.raises(cg.errors.OptionError, match="did you mean 'response'"):
        logit.residuals(kind="respons")


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(lambda c: c, id="int"),
        pytest.param(lambda c: [f"k{k}" for k in c], id="str"),
        pytest.param(lambda c: pd.Categorical([f"k{k}" for k in c]), id="category"),
        pytest.param(lambda c: pd.Timestamp("2024-02-27") + pd.to_timedelta(c, "D"), id="date"),
        pytest.param(lambda c: c % 2 == 0, id="bool"),
        pytest.param(lambda c: c / 4, id="float"),
    ],
)
def test_labels_of_any_type_are_found_again(ids: Any) -> None:
    rng = np.random.default_rng(4)
    codes = rng.permutation(np.repeat(np.arange(12), 10))
    effect = rng.normal(size=12)[codes]
    data = pd.DataFrame({"id": ids(codes), "x": rng.normal(size=120)})
    data["y"] = (rng.random(120) < expit(data.x + 1.5 * effect)).astype(int)
    fit = cg.random_effects("y ~ x", data, cluster="id", quadrature=5, sigma=1.0, fix_sigma=True)
    conditional = fit.predict(data, "conditional", scale="link")
    np.testing.assert_allclose(conditional, fit.predict(None, "conditional", scale="link"))
    shift = (conditional - fit.predict(data, scale="link")).groupby(codes).first()
    labels = pd.Series(data.id.to_numpy()).groupby(codes).first()
    modes = fit.random_effects.set_index(fit.random_effects.label.astype(str))["mode"]
    np.testing.assert_allclose(shift, modes[labels.astype(str)])
    assert shift.abs().min() > 1e-4


def test_labels_are_found_again_in_another_kind_of_table(bacteria: pd.DataFrame) -> None:
    days = {label: date(2024, 1, 1) + timedelta(k) for k, label in enumerate(sorted(bacteria.ID.unique()))}
    columns = {"yy": bacteria.yy.to_list(), "late": bacteria.late.to_list(), "day": [days[k] for k in bacteria.ID]}
    frame = pl.DataFrame(columns)
    fit = cg.random_effects("yy ~ late", frame, cluster="day", quadrature=5)
    expected = fit.predict(None, "conditional", scale="link")
    for table in (frame, frame.to_arrow(), columns):
        np.testing.assert_allclose(fit.predict(table, "conditional", scale="link"), expected)
    with pytest.warns(cg.errors.PredictionWarning, match="2025-01-01"):
        fit.predict({"late": [1], "day": [date(2025, 1, 1)]}, "conditional")


# Rows ----------------------------------------------------------------------------------------------------------------


def test_augment_is_in_the_users_order(bacteria: pd.DataFrame, logit: RandomEffectsResult) -> None:
    table = logit.augment()
    assert list(table.index) == list(range(220))
    assert list(table.cluster) == list(bacteria.ID)
    np.testing.assert_array_equal(table.observed, bacteria.yy)
    np.testing.assert_allclose(table["mean"], logit.predict(kind="conditional"))
    np.testing.assert_allclose(table.residual, logit.residuals())
    np.testing.assert_allclose(table.residual, bacteria.yy - table["mean"])


def test_residuals_at_given_intercepts(bacteria: pd.DataFrame, logit: RandomEffectsResult) -> None:
    shifts = np.random.default_rng(1).normal(size=220)
    mean = logit.predict(kind=shifts)
    np.testing.assert_allclose(logit.residuals("response", shifts), bacteria.yy - mean)
    pearson = (bacteria.yy - mean) / np.sqrt(mean * (1 - mean))
    np.testing.assert_allclose(logit.residuals("pearson", shifts), pearson)


def test_simulate(golden_frame: Any) -> None:
    cbpp = golden_frame("cbpp_grouped")
    fit = cg.random_effects("cbind(incidence, size - incidence) ~ period", cbpp, cluster="herd")
    draws = fit.simulate(400, seed=1)
    pd.testing.assert_frame_equal(draws, fit.simulate(400, seed=1))
    assert not draws.equals(fit.simulate(400, seed=2))
    assert draws.shape == (56, 400)
    assert ((draws >= 0) & (draws.le(cbpp["size"], axis=0))).all(axis=None)
    # Totals of herds vary more than independent rows would: the intercepts are drawn anew.
    mean = draws.mean(axis=1)
    variance = draws.groupby(cbpp.herd.to_numpy()).sum().var(axis=1).sum()
    independent = (mean * (1 - mean / cbpp["size"])).sum()
    assert variance > 1.2 * independent
    assert draws.mean(axis=None) == pytest.approx(cbpp.incidence.mean(), rel=0.15)
