"""What results predict: kinds of intercepts, standard errors, statuses of rows, histories of new clusters."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
from scipy.special import expit, ndtri

import clusterglm as cg
from clusterglm.errors import ClusterError, DataError, OptionError, PredictionWarning, ResponseError
from clusterglm.likelihood import reference
from clusterglm.results.models.fixed_effects import FixedEffectsResult
from clusterglm.results.models.pooled import PooledResult
from clusterglm.results.models.random_effects import RandomEffectsResult
from clusterglm.results.topics.newdata import RowStatus

KINDS = ("typical", "conditional", "marginal")


def simulate(family: str = "binomial", m: int = 40, size: int = 6, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"id": np.repeat(np.arange(m), size), "x": rng.normal(size=m * size)})
    data["g"] = np.array(["a", "b", "c"])[rng.integers(0, 3, len(data))]
    data["o"] = 0.3 * rng.normal(size=len(data))
    eta = -0.2 + 0.7 * data.x + 0.5 * (data.g == "b") + data.o + 0.8 * rng.normal(size=m)[data.id]
    data["y"] = rng.poisson(np.exp(eta)) if family == "poisson" else (rng.random(len(data)) < expit(eta)).astype(int)
    return data.sample(frac=1.0, random_state=seed).reset_index(drop=True)


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return simulate()


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> RandomEffectsResult:
    return cg.random_effects("y ~ x + g + offset(o)", data, cluster="id")


@pytest.fixture(scope="module")
def fixed(data: pd.DataFrame) -> FixedEffectsResult:
    return cg.fixed_effects("y ~ x + g", data, cluster="id")


def at(result: RandomEffectsResult, theta: np.ndarray) -> RandomEffectsResult:
    """A result, had its estimates been others."""
    return RandomEffectsResult(replace(result.fit, beta=theta[:-1].copy(), sigma=float(theta[-1])), result.data)


# Standard errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", ["response", "link"])
@pytest.mark.parametrize(
    ("family", "link", "distribution"),
    [
        ("binomial", "logit", "gaussian"),
        ("binomial", "probit", "logistic"),
        ("binomial", "cloglog", "student_t(4)"),
        ("poisson", "log", "gaussian"),
    ],
)
def test_standard_errors_are_those_of_the_whole_prediction(
    family: str, link: str, distribution: str, kind: str, scale: str
) -> None:
    """Differences of `predict` as a function of theta; posterior variances by brute force."""
    data = simulate(family, 12)
    result = cg.random_effects(
        "y ~ x + offset(o)", data, cluster="id", family=family, link=link, distribution=distribution
    )
    theta, h = result.fit.theta, 1e-5
    gradient = np.column_stack(
        [
            (
                at(result, theta + e).predict(kind=kind, scale=scale)
                - at(result, theta - e).predict(kind=kind, scale=scale)
            )
            / (2 * h)
            for e in np.eye(len(theta)) * h
        ]
    )
    variance = np.einsum("ij,jk,ik->i", gradient, result.fit.covariance, gradient)
    found = result.predict(kind=kind, scale=scale, level=0.9)
    if kind == "conditional":
        d, f = result.data, result.fit
        moments = reference.dense_intercepts(d.starts, d.X, d.a, d.b, d.offset, theta, f.response, f.distribution)
        own = moments[1] ** 2 + (moments[0] - f.modes) ** 2
        rows = np.argsort(d.row_index)
        eta = result.predict(kind=kind, scale="link").to_numpy()
        slope = f.response.mean_derivative(eta) if scale == "response" else 1.0
        variance += slope**2 * np.repeat(own, np.diff(d.starts))[rows]
    np.testing.assert_allclose(found.std_error, np.sqrt(variance), rtol=2e-5)
    np.testing.assert_array_equal(found.estimate, result.predict(kind=kind, scale=scale))
    assert (found.status == "ok").all()


def test_fixed_effects_as_with_dummies(data: pd.DataFrame, fixed: FixedEffectsResult) -> None:
    known = fixed.cluster_effects.set_index("label").status == "estimated"
    rows = data[data.id.map(known)]
    X = np.column_stack([rows.x, rows.g == "b", rows.g == "c", pd.get_dummies(rows.id)]).astype(float)
    peer = sm.GLM(rows.y.to_numpy(), X, family=sm.families.Binomial()).fit(tol=1e-13, maxiter=100)
    link = peer.get_prediction(X, which="linear")
    found = fixed.predict(scale="link", level=0.95).loc[rows.index]
    np.testing.assert_allclose(found.estimate, link.predicted, atol=1e-6)
    np.testing.assert_allclose(found.std_error, link.se, rtol=1e-5)
    mean = peer.get_prediction(X).summary_frame(alpha=0.05)
    found = fixed.predict(rows, level=0.95)
    np.testing.assert_allclose(found.estimate, mean["mean"], rtol=1e-5)
    np.testing.assert_allclose(found.std_error, mean["mean_se"], rtol=1e-5)
    np.testing.assert_allclose(found.low, mean.mean_ci_lower, rtol=1e-4)
    np.testing.assert_allclose(found.high, mean.mean_ci_upper, rtol=1e-4)


def test_pooled_as_statsmodels(data: pd.DataFrame) -> None:
    result = cg.pooled("y ~ x", data)
    peer = sm.GLM(data.y, sm.add_constant(data.x), family=sm.families.Binomial()).fit(tol=1e-13)
    mean = peer.get_prediction().summary_frame(alpha=0.1)
    found = result.predict(level=0.9)
    for ours, theirs in zip(found.columns[:4], mean.columns, strict=True):
        np.testing.assert_allclose(found[ours], mean[theirs], rtol=1e-5)
    for kind in KINDS:
        pd.testing.assert_frame_equal(result.predict(kind=kind, level=0.9), found)


def test_conditional_likelihood_by_hand(data: pd.DataFrame) -> None:
    result = cg.conditional("y ~ x", data, cluster="id")
    b, se = result.params.x, result.bse.x
    found = result.predict({"x": [0.0, 2.0]}, scale="ratio", level=0.95)
    z = -ndtri(0.025)
    np.testing.assert_allclose(found.estimate, [1.0, np.exp(2 * b)])
    np.testing.assert_allclose(found.std_error, [0.0, np.exp(2 * b) * 2 * se])
    np.testing.assert_allclose(found.high, np.exp([0.0, 2 * b + z * 2 * se]))
    with pytest.raises(TypeError):
        result.predict(kind="typical")  # type: ignore[call-overload]


def test_at_known_intercepts(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    shift = np.random.default_rng(0).normal(size=len(data))
    base = fit.predict(scale="link", level=0.95)
    found = fit.predict(kind=shift, scale="link", level=0.95)
    np.testing.assert_allclose(found.estimate - base.estimate, shift)
    np.testing.assert_allclose(found.std_error, base.std_error)
    np.testing.assert_allclose(fit.predict(data, shift, scale="link", level=0.95).estimate, found.estimate)


def test_sigma_that_was_not_estimated_adds_nothing(data: pd.DataFrame, at_zero: RandomEffectsResult) -> None:
    held = cg.random_effects("y ~ x", data, cluster="id", sigma=1.0, fix_sigma=True)
    found, h = held.predict(kind="marginal", scale="link", level=0.95), 1e-5
    slopes = (held.predict(kind=h, scale="link") - held.predict(kind=-h, scale="link")) / (2 * h)
    np.testing.assert_allclose(slopes, 1.0, rtol=1e-9)
    plain = held.predict(scale="link", level=0.95)
    assert (found.std_error < plain.std_error).all()  # attenuated, and nothing added
    for kind in KINDS:
        pd.testing.assert_frame_equal(at_zero.predict(kind=kind, level=0.95), at_zero.pooled.predict(level=0.95))


def test_standard_errors_do_not_trust_a_coarse_quadrature(data: pd.DataFrame) -> None:
    """By Laplace's approximation the fit knows no posterior variance: it is integrated for the prediction."""
    coarse, fine = (cg.random_effects("y ~ x", data, cluster="id", quadrature=q) for q in ("laplace", "auto"))
    moved = at(coarse, fine.fit.theta)
    moved = RandomEffectsResult(replace(moved.fit, covariance=fine.fit.covariance), moved.data)
    want, found = (r.predict(kind="conditional", level=0.95) for r in (fine, moved))
    pd.testing.assert_frame_equal(found, want, rtol=1e-5)


# Kinds ---------------------------------------------------------------------------------------------------------------


def test_kinds_by_hand(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    link = fit.predict(scale="link")
    modes = fit.random_effects.set_index("label")["mode"]
    np.testing.assert_allclose(fit.predict(kind="conditional", scale="link"), link + data.id.map(modes))
    u = fit.sigma * np.random.default_rng(1).normal(size=200_000)
    draws = expit(link.iloc[:3].to_numpy()[:, None] + u)
    found = fit.predict(kind="marginal")
    assert np.all(np.abs(found.iloc[:3] - draws.mean(axis=1)) < 4 * draws.std(axis=1) / np.sqrt(len(u)))
    np.testing.assert_allclose(expit(fit.predict(kind="marginal", scale="link")), found)
    np.testing.assert_allclose(fit.predict(data, "marginal"), found, atol=1e-14)


def test_marginal_means_agree_with_those_of_the_diagnostics(fit: RandomEffectsResult, data: pd.DataFrame) -> None:
    np.testing.assert_allclose(data.y - fit.residuals("response", "marginal"), fit.predict(kind="marginal"), atol=1e-9)


@pytest.mark.parametrize(("kind", "match"), [("link", "scale='link'"), ("margnal", "did you mean 'marginal'")])
def test_other_kinds(fit: RandomEffectsResult, kind: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        fit.predict(kind=kind)


def test_fixed_effects_know_no_typical_cluster(fixed: FixedEffectsResult) -> None:
    for kind in ("typical", "marginal"):
        with pytest.raises(OptionError, match="'conditional'"):
            fixed.predict(kind=kind)
    with pytest.raises(OptionError, match="scale="):
        fixed.predict(scale="ratio")


@pytest.mark.parametrize("level", [0.0, 1.0, 95, True])
def test_levels_are_shares(fit: RandomEffectsResult, level: Any) -> None:
    with pytest.raises(OptionError, match="level="):
        fit.predict(level=level)


def test_offsets_belong_to_predictions_and_weights_do_not(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    new = data.assign(o=data.o + 0.5)
    for kind in ("typical", "conditional"):
        moved = fit.predict(new, kind, scale="link") - fit.predict(data, kind, scale="link")
        np.testing.assert_allclose(moved, 0.5)
    result = cg.random_effects("y ~ x", data.assign(w=2.0), cluster="id", weights="w", quadrature=5)
    np.testing.assert_allclose(result.predict({"x": [0.0]}, scale="link"), result.params.iloc[0])


def test_counts_without_a_mean() -> None:
    data = simulate("poisson", 20)
    settings: dict[str, Any] = {"cluster": "id", "family": "poisson", "sigma": 1.2, "fix_sigma": True}
    result = cg.random_effects("y ~ x", data, distribution="logistic", **settings)
    with pytest.warns(PredictionWarning, match="120 of 120 rows: no finite mean"):
        assert np.isposinf(result.predict(kind="marginal")).all()
    found = result.predict(kind="marginal", level=0.95)
    assert found.status.str.contains("no finite mean").all()
    assert found.std_error.isna().all()
    assert np.isfinite(result.predict(kind="conditional")).all()


def test_a_posterior_without_variance_is_said() -> None:
    data = simulate(m=30, size=3)
    data.loc[data.id == 0, "y"] = 1
    result = cg.random_effects("y ~ x", data, cluster="id", distribution="cauchy")
    found = result.predict(kind="conditional", level=0.95)[data.id == 0]
    assert (found.status == "the cluster's intercept has no posterior variance").all()
    assert np.isposinf(found.std_error).all()
    assert ((found.low == 0.0) & (found.high == 1.0)).all()


def test_infinite_intercepts_are_predicted_without_standard_error(
    data: pd.DataFrame, fixed: FixedEffectsResult
) -> None:
    found = fixed.predict(level=0.95)
    share = data.groupby("id").y.transform("mean")
    for value, word in ((0.0, "failures"), (1.0, "successes")):
        rows = found[share == value]
        assert (rows.estimate == value).all()
        assert rows.std_error.isna().all()
        assert (rows.status == f"no standard error: the cluster's responses are all {word}").all()
    assert (found.status[(share > 0.0) & (share < 1.0)] == "ok").all()
    assert (share == 1.0).any()


# Rows that cannot be predicted ---------------------------------------------------------------------------------------

NEW: dict[str, list[Any]] = {
    "x": [0.1, None, 0.2, 0.3, 0.4, float("inf"), 0.5],
    "g": ["a", "b", "d", None, "c", "a", "b"],
    "o": [0.0, 0.0, 0.0, 0.0, None, 0.0, 0.0],
    "id": [3, 3, 3, 3, 3, 3, 99],
}


@pytest.mark.parametrize("table", [pd.DataFrame, pl.DataFrame, lambda c: pl.DataFrame(c).to_arrow(), dict])
def test_each_row_says_what_is_missing(fit: RandomEffectsResult, table: Any) -> None:
    found = fit.predict(table(NEW), "conditional", level=0.95)
    assert found.status.to_list() == [
        "ok",
        "missing value in 'x'",
        "level 'd' of 'g' not seen in the fit",
        "missing value in 'g'",
        "missing value in 'o'",
        "a covariate is not finite once transformed",
        "cluster 99 not seen in the fit",
    ]
    assert found.estimate.notna().to_list() == [True] + 6 * [False]
    assert found[["std_error", "low", "high"]].iloc[1:].isna().all(axis=None)
    typical = fit.predict(table(NEW), level=0.95)
    assert typical.status.iloc[-1] == "ok"
    alone = fit.predict({name: values[:1] for name, values in NEW.items()}, "conditional", level=0.95)
    pd.testing.assert_frame_equal(found.iloc[:1], alone.frame)


def test_without_a_level_one_warning_counts_the_reasons(fit: RandomEffectsResult) -> None:
    with pytest.warns(PredictionWarning) as caught:
        found = fit.predict(NEW, "conditional")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "6 of 7 rows cannot be predicted (1: missing value in 'x'" in str(caught[0].message)
    assert "and 3 other reasons" in str(caught[0].message)
    assert found.notna().to_list() == [True] + 6 * [False]


def test_a_single_further_reason_is_one() -> None:
    status = RowStatus(4)
    for row, reason in enumerate("abcd"):
        status.refuse(np.arange(4) == row, reason)
    assert str(status) == "1: a; 1: b; 1: c; and 1 other reason"


def test_many_unseen_clusters_are_summed_up(fit: RandomEffectsResult) -> None:
    new = {"x": [0.0] * 4, "g": ["a"] * 4, "o": [0.0] * 4, "id": [50, 51, 52, None]}
    with pytest.warns(PredictionWarning, match=r"3: clusters not seen in the fit, as 50.*; 1: missing value in 'id'"):
        assert fit.predict(new, "conditional").isna().all()


def test_columns_that_are_missing_altogether_are_errors(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    with pytest.raises(DataError, match="'g'"):
        fit.predict(data[["x", "o", "id"]], level=0.95)
    with pytest.raises(DataError, match="'o'"):
        fit.predict(data[["x", "g", "id"]], level=0.95)
    with pytest.raises(ClusterError, match="cluster column 'id'"):
        fit.predict(data[["x", "g", "o"]], "conditional")


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_rows(data: pd.DataFrame, fit: RandomEffectsResult, kind: str) -> None:
    assert fit.predict(data.iloc[:0], kind).shape == (0,)
    assert fit.predict(data.iloc[:0], kind, level=0.9).shape == (0, 5)


# Histories -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["binomial", "poisson"])
@pytest.mark.parametrize("distribution", ["gaussian", "logistic", "cauchy"])
def test_a_cluster_of_the_fit_from_its_own_rows(family: str, distribution: str) -> None:
    data = simulate(family, 15)
    result = cg.random_effects("y ~ x + g + offset(o)", data, cluster="id", family=family, distribution=distribution)
    renamed = data.assign(id=data.id + 1000)
    want = result.predict(kind="conditional", level=0.95)
    found = result.predict(renamed, level=0.95, history=renamed)
    pd.testing.assert_frame_equal(found, want, rtol=1e-7)
    np.testing.assert_allclose(result.predict(renamed, history=renamed), want.estimate, rtol=1e-8)


def test_a_new_cluster_by_hand(fit: RandomEffectsResult) -> None:
    history = pd.DataFrame({"y": [1, 1, 0], "x": [0.5, -0.2, 0.0], "g": ["a", "c", "b"], "o": 0.1, "id": "new"})
    history["id"] = 500
    known = fit.predict(history, scale="link").to_numpy()
    u = np.linspace(-8.0, 8.0, 400_001)
    log = -0.5 * (u / fit.sigma) ** 2 + np.log(
        expit((2 * history.y.to_numpy() - 1)[:, None] * (known[:, None] + u))
    ).sum(0)
    new = history.drop(columns="y").iloc[:1]
    found = fit.predict(new, scale="link", history=history)
    assert found[0] - known[0] == pytest.approx(u[log.argmax()], abs=5e-5)


def test_histories_come_before_the_fit(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    history = data[data.id == 4].assign(y=1)
    new = data[data.id.isin([4, 5])].drop(columns="y")
    found, own = fit.predict(new, history=history), fit.predict(new, "conditional")
    changed = (new.id == 4).to_numpy()
    assert (found[changed] > own[changed]).all()
    np.testing.assert_allclose(found[~changed], own[~changed])
    elsewhere = fit.predict(new.assign(id=77), history=history, level=0.9)
    assert (elsewhere.status == "cluster 77 not seen in the fit or the history").all()


def test_incomplete_rows_of_a_history_are_counted(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    history = data[data.id == 4].assign(id=500)
    some = history.astype({"y": float})
    some.iloc[0, some.columns.get_loc("y")] = np.nan
    with pytest.warns(PredictionWarning, match=r"1 rows of the history are not complete \(1: missing response 'y'\)"):
        found = fit.predict(history, history=some)
    np.testing.assert_allclose(found, fit.predict(history, history=history.iloc[1:]))
    with pytest.raises(DataError, match="without a complete row"):
        fit.predict(history, history=history.assign(x=np.nan))


def test_histories_of_grouped_data(golden_frame: Any) -> None:
    cbpp = golden_frame("cbpp_grouped")
    result = cg.random_effects("cbind(incidence, size - incidence) ~ period", cbpp, cluster="herd")
    moved = cbpp.assign(herd=cbpp.herd.astype(int) + 100)
    np.testing.assert_allclose(result.predict(moved, history=moved), result.predict(kind="conditional"), rtol=1e-8)


def test_histories_that_cannot_serve(data: pd.DataFrame, fit: RandomEffectsResult, fixed: FixedEffectsResult) -> None:
    with pytest.raises(OptionError, match="without data="):
        fit.predict(history=data)
    with pytest.raises(OptionError, match="kind='marginal'"):
        fit.predict(data, "marginal", history=data)
    with pytest.raises(ClusterError, match="cluster column"):
        fit.predict(data, history=data.drop(columns="id"))
    with pytest.raises(DataError, match="'y'"):
        fit.predict(data, history=data.drop(columns="y"))
    with pytest.raises(ResponseError, match="y"):
        fit.predict(data, history=data.assign(y=2))
    with pytest.raises(TypeError):
        fixed.predict(data, history=data)  # type: ignore[call-overload]


def test_histories_of_a_response_of_words(data: pd.DataFrame, fit: RandomEffectsResult) -> None:
    """A history may show one level only; numbers will do, too."""
    words = cg.random_effects("y ~ x + g + offset(o)", data.assign(y=np.where(data.y == 1, "yes", "no")), cluster="id")
    new = data[data.id < 3].assign(id=lambda d: d.id + 100)
    for level, number in (("yes", 1), ("no", 0)):
        want = fit.predict(new, history=new.assign(y=number))
        np.testing.assert_allclose(words.predict(new, history=new.assign(y=level)), want)
        np.testing.assert_allclose(words.predict(new, history=new.assign(y=number)), want)
    with pytest.raises(ResponseError, match=r"'maybe' \(row 0\)\n  needed: 'no' or 'yes'"):
        words.predict(new, history=new.assign(y="maybe"))


@pytest.mark.parametrize("kind", ["typical", "marginal", "conditional"])
def test_robust_intervals(data: pd.DataFrame, fit: RandomEffectsResult, kind: str) -> None:
    """By differences of the prediction in the parameters: with V and with the sandwich, the rest is the same."""
    observed, robust = (fit.predict(kind=kind, scale="link", level=0.95, cov=cov) for cov in ("observed", "robust"))
    np.testing.assert_array_equal(observed.estimate, robust.estimate)
    V, S = (fit.cov(cov).to_numpy() for cov in ("observed", "robust"))
    if kind == "typical":
        X = fit.data.X[np.argsort(fit.data.row_index)]
        p = X.shape[1]
        np.testing.assert_allclose(robust.std_error, np.sqrt(np.einsum("ij,jk,ik->i", X, S[:p, :p], X)))
    assert (robust.std_error != observed.std_error).all()
    assert not np.allclose(V, S)
    with pytest.raises(OptionError, match="cov="):
        fit.predict(kind=kind, cov="sandwich")


def test_no_warning_where_nothing_is_missing(
    data: pd.DataFrame, fit: RandomEffectsResult, pooled: PooledResult
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.predict(data, "conditional", level=0.95, history=data[data.id < 5])
        pooled.predict(level=0.5)
