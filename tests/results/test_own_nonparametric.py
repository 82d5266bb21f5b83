"""Results on mass points with parameters of the response: predictions and their errors by hand, draws, words, files."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, gamma, logsumexp

import clusterglm as cg
from clusterglm.errors import OptionError
from clusterglm.results.tables.export import as_dict

sys.path.insert(0, str(Path(__file__).parent.parent / "fit"))
from test_own_npml import LEVELS, below, brute_force, fitted, formula, log_densities, poisson_table, table

FAMILIES = [
    ("negative_binomial", "log"), ("negative_binomial1", "log"), ("truncated_negative_binomial", "log"),
    ("beta_binomial", "logit"), ("gamma", "log"), ("weibull", "log"), ("exponential", "log"), ("ordinal", "logit"),
    ("ordinal", "probit"), ("ordinal", "cloglog"),
]  # fmt: skip
OF_MEANS = FAMILIES[:5]
EACH = pytest.mark.parametrize(("family", "link"), FAMILIES)


def user_parameters(fit: Any) -> tuple[np.ndarray, Callable[[np.ndarray], tuple[np.ndarray, ...]]]:
    """All parameters in the order of `cov`, and what they are: coefficients, points, weights, the response's own."""
    p, k, finite = len(fit.params), len(fit.fit.points), np.isfinite(fit.fit.points)
    pi = fit.fit.weights
    parts = [fit.params, fit.fit.points[finite], np.log(pi[:-1] / pi[-1]), fit.family_parameters]
    ends = p + np.cumsum([0, finite.sum(), k - 1])

    def split(theta: np.ndarray) -> tuple[np.ndarray, ...]:
        points = np.where(np.isfinite(fit.fit.points), 0.0, np.sign(fit.fit.points) * 35.0)
        points[finite] = theta[p : ends[1]]
        weights = np.exp(np.append(theta[ends[1] : ends[2]], 0.0))
        return theta[:p], points, weights / weights.sum(), theta[ends[2] :]

    return np.concatenate(parts), split


def chances(fit: Any, d: pd.DataFrame, kind: str, theta: np.ndarray) -> np.ndarray:
    """Of the points in each row, by SciPy's densities."""
    beta, points, weights, own = user_parameters(fit)[1](theta)
    if kind == "marginal":
        return np.tile(weights, (len(d), 1))
    each = [brute_force(fit.family, fit.link, d, beta, np.array([u]), np.ones(1), own) for u in points]
    log_f = np.array(each).T + np.log(weights)
    return np.exp(log_f - logsumexp(log_f, axis=1, keepdims=True))[d.id]


def mean_of(fit: Any, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    mu = np.exp(eta)
    if fit.family == "beta_binomial":
        return expit(eta)
    if fit.family == "truncated_negative_binomial":
        return mu / -np.expm1(-np.log1p(own[0] * mu) / own[0])
    if fit.family in ("weibull", "exponential"):
        k = own[0] if len(own) else 1.0
        return gamma(1.0 + 1.0 / k) * np.exp(-eta / k)
    return mu


def averages(fit: Any, d: pd.DataFrame, kind: str, theta: np.ndarray) -> np.ndarray:
    """Means, or probabilities of categories, of the rows, shape (n,) or (n, c)."""
    beta, points, _, own = user_parameters(fit)[1](theta)
    chosen, eta = chances(fit, d, kind, theta), d[["x", "z"]].to_numpy() @ beta
    if fit.family == "ordinal":
        ends = np.concatenate([[-np.inf], own, [np.inf]])
        upto = [below(fit.link)(ends - (eta + u)[:, None]) for u in points]
        return np.einsum("jnc,nj->nc", np.diff(upto, axis=2), chosen)
    return sum(chosen[:, j] * mean_of(fit, eta + u, own) for j, u in enumerate(points))


def differences(of: Callable[[np.ndarray], np.ndarray], theta: np.ndarray) -> np.ndarray:
    return np.array([(of(theta + h) - of(theta - h)) / 2e-5 for h in 1e-5 * np.eye(len(theta))])


@EACH
@pytest.mark.parametrize("kind", ["conditional", "marginal"])
def test_predictions_and_their_errors(family: str, link: str, kind: str) -> None:
    """By SciPy's densities, and differences in every parameter: those of the response move probabilities too."""
    fit, d = fitted(family, link), table()
    theta, _ = user_parameters(fit)
    with np.errstate(over="ignore"):
        expected = averages(fit, d, kind, theta)
        slopes = differences(lambda at: averages(fit, d, kind, at), theta)
    V = fit.cov().to_numpy()
    errors = np.sqrt(np.einsum("i...,ij,j...->...", slopes, V, slopes))
    plain, found = fit.predict(kind=kind), fit.predict(kind=kind, level=0.9)
    np.testing.assert_allclose(plain, expected, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(found["estimate"], expected.ravel(), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(found["std_error"], errors.ravel(), rtol=2e-4, atol=1e-7)
    assert (found["status"] == "ok").all()


@pytest.mark.parametrize("family", ["weibull", "exponential"])
@pytest.mark.parametrize("kind", ["conditional", "marginal"])
def test_survival(family: str, kind: str) -> None:
    fit, d, times = fitted(family, "log"), table().head(9), [0.2, 1.0, 2.5]
    theta, split = user_parameters(fit)

    def survival(at: np.ndarray) -> np.ndarray:
        beta, points, _, own = split(at)
        k = own[0] if len(own) else 1.0
        chosen, eta = chances(fit, table(), kind, at)[:9], d[["x", "z"]].to_numpy() @ beta
        hazards = np.exp((eta[:, None] + points)[:, None] + k * np.log(times)[:, None])
        return np.einsum("ntj,nj->nt", np.exp(-hazards), chosen).ravel()

    found = fit.survival(d, times, kind=kind, level=0.9)
    np.testing.assert_allclose(found["survival"], survival(theta), rtol=1e-8)
    slopes = differences(survival, theta)
    errors = np.sqrt(np.einsum("in,ij,jn->n", slopes, fit.cov(), slopes))
    np.testing.assert_allclose(found["std_error"], errors, rtol=1e-4, atol=1e-9)
    # the hazard is the slope of -log S, and half of all have had the event at the median
    near = [fit.survival(d, [t], kind=kind, level=None)["survival"].to_numpy() for t in (1.0 - 1e-6, 1.0 + 1e-6)]
    hazard = found["hazard"].to_numpy().reshape(9, 3)[:, 1]
    np.testing.assert_allclose(hazard, -(np.log(near[1]) - np.log(near[0])) / 2e-6, rtol=1e-5)
    median = fit.predict(d, kind, scale="median")
    halves = [fit.survival(d.iloc[[j]], [t], kind=kind, level=None)["survival"].iloc[0] for j, t in enumerate(median)]
    np.testing.assert_allclose(halves, 0.5, atol=1e-9)
    intervals = fit.predict(d, kind, scale="median", level=0.9)
    np.testing.assert_allclose(intervals["estimate"], median)
    assert (intervals["std_error"] > 0.0).all()


@EACH
def test_robust_covariance(family: str, link: str) -> None:
    """The sandwich of scores of clusters by differences."""
    fit, d = fitted(family, link), table()
    theta, split = user_parameters(fit)
    scores = differences(lambda at: brute_force(family, link, d, *split(at)), theta)
    V, m = fit.cov().to_numpy(), 40
    expected = V @ (scores @ scores.T) @ V * m / (m - 1)
    np.testing.assert_allclose(fit.cov("robust"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("family", "link"), [*FAMILIES[:5], FAMILIES[7]])
def test_draws_are_the_populations(family: str, link: str) -> None:
    fit = fitted(family, link)
    drawn = fit.simulate(300, seed=1)
    pd.testing.assert_frame_equal(drawn.iloc[:, :2], fit.simulate(2, seed=1))
    if family == "ordinal":
        shares = (drawn == LEVELS[0]).to_numpy().mean()
        assert shares == pytest.approx(fit.predict(kind="marginal")[LEVELS[0]].mean(), abs=0.03)
        return
    trials = 6.0 if family == "beta_binomial" else 1.0
    assert drawn.to_numpy().mean() == pytest.approx(trials * fit.predict(kind="marginal").mean(), rel=0.06)


def test_bootstrap_and_intervals() -> None:
    fit = fitted("negative_binomial", "log")
    wald = fit.conf_int()
    assert list(wald.index) == ["x", "z", "alpha"]
    alpha, se = fit.family_parameters["alpha"], np.sqrt(fit.cov().loc["alpha", "alpha"])
    np.testing.assert_allclose(np.log(wald.loc["alpha"]), np.log(alpha) + np.array([-1.0, 1.0]) * 1.959964 * se / alpha)
    found = fit.bootstrap(8, seed=1)
    assert found.names == ("x", "z", "alpha")
    again = fit.bootstrap(8, seed=1, n_jobs=2)
    np.testing.assert_array_equal(found.replicates, again.replicates)
    categories = fitted("ordinal", "logit")
    assert list(categories.conf_int().index) == ["x", "z", "low|middle", "middle|high", "high|top"]
    low, high = categories.conf_int().loc["middle|high"]
    assert 0.5 * (low + high) == pytest.approx(categories.thresholds["middle|high"])
    assert fit.delta_method("log(alpha)")["std_error"].iloc[0] == pytest.approx(se / alpha)


@pytest.mark.parametrize(("family", "link"), [FAMILIES[5], FAMILIES[6], FAMILIES[7], FAMILIES[9]])
def test_quantile_residuals(family: str, link: str) -> None:
    """Marginal ones by hand, from the distribution function of each row."""
    from scipy.special import ndtr

    fit, d = fitted(family, link), table()
    theta, split = user_parameters(fit)
    beta, points, weights, own = split(theta)
    eta = d[["x", "z"]].to_numpy() @ beta
    values = ndtr(fit.residuals("quantile", "marginal", seed=1).to_numpy())
    if family == "ordinal":
        ends, y = np.concatenate([[-np.inf], own, [np.inf]]), d.c.cat.codes.to_numpy()
        upto = sum(w * below(link)(ends[y + 1] - eta - u) for w, u in zip(weights, points, strict=True))
        least = sum(w * below(link)(ends[y] - eta - u) for w, u in zip(weights, points, strict=True))
        assert ((values >= least - 1e-12) & (values <= upto + 1e-12)).all()
        assert fit.residuals("simulated", seed=1).between(0.0, 1.0).all()
        return
    ones = d.assign(e=0)  # log S of all of them
    left = sum(
        w * np.exp(log_densities(family, link, ones, eta + u, own)) for w, u in zip(weights, points, strict=True)
    )
    events = (d.e == 1).to_numpy()
    np.testing.assert_allclose(values[events], 1.0 - left[events], atol=1e-12)
    assert (values[~events] >= 1.0 - left[~events]).all()
    hazards = fit.residuals("cox_snell")
    np.testing.assert_allclose(fit.residuals("martingale"), d.e - hazards)
    assert fit.residuals("martingale").sum() == pytest.approx(0.0, abs=1e-3)  # the score in a shift of all points


def test_pearson_residuals_and_augment() -> None:
    fit, d = fitted("negative_binomial", "log"), table()
    mean, alpha = fit.predict(), fit.family_parameters["alpha"]
    np.testing.assert_allclose(fit.residuals("pearson"), (d.y - mean) / np.sqrt(mean + alpha * mean**2))
    np.testing.assert_allclose(fit.augment()["mean"], mean)


@EACH
def test_travels(family: str, link: str, tmp_path: Path) -> None:
    fit = fitted(family, link)
    fit.save(tmp_path / "fit.json")
    for again in (cg.load(tmp_path / "fit.json"), pickle.loads(pickle.dumps(fit))):
        assert str(again) == str(fit)
        assert type(again) is type(fit)
        np.testing.assert_array_equal(again.predict(kind="marginal"), fit.predict(kind="marginal"))
    content = json.loads(json.dumps(as_dict(fit), allow_nan=False))
    assert content["fit"]["n_parameters"] == fit.n_parameters
    assert (fit.report(tmp_path / "fit.html", n_boot=0, n_sim=0)).stat().st_size > 0
    assert list(fit.tidy()["term"]) == ["x", "z", *fit.family_parameters.index]


def test_words() -> None:
    fit = fitted("ordinal", "logit")
    text = " ".join(str(fit).split())
    assert "Threshold low|middle" in text
    assert "Mean, sd: 0 beside the thresholds" in text
    assert "at these coefficients and parameters of the response no other distribution" in text
    assert fit.n_parameters == 2 + 2 * len(fit.fit.points) - 2 + 3
    assert fit.aic == pytest.approx(2 * fit.n_parameters - 2 * fit.loglik)
    assert fit.mass_points["weight"].sum() == pytest.approx(1.0)
    assert fit.random_effects_mean == pytest.approx(0.0, abs=1e-12)
    assert fit.posterior.shape == (40, len(fit.fit.points))


def test_infinite_points_of_categories() -> None:
    """Clusters in the highest category alone: what is finite has a mean of 0, and the words say so."""
    d = table()
    c = np.where((d.id < 20) & (d.c == "top"), "high", d.c.astype(str))
    d = d.assign(c=pd.Categorical(np.where(d.id <= 10, "top", c), LEVELS, ordered=True))
    fit = cg.nonparametric("c ~ x + z", d, cluster="id", family="ordinal", link="probit")
    points, weights = fit.fit.points, fit.fit.weights
    assert points[-1] == np.inf
    finite = np.isfinite(points)
    assert weights[finite] @ points[finite] == pytest.approx(0.0, abs=1e-12)
    assert "beside which the finite mass points have a mean of 0" in " ".join(str(fit).split())
    own = fit.family_parameters.to_numpy()
    expected = brute_force("ordinal", "probit", d, fit.params.to_numpy(), np.clip(points, -30, 30), weights, own).sum()
    assert fit.loglik == pytest.approx(expected, abs=1e-7)
    assert (fit.predict(kind="marginal", level=0.9)["std_error"] > 0.0).all()
    assert np.isfinite(fit.residuals("quantile", "marginal", seed=1)).all()
    assert (fit.simulate(1, seed=1)[0].cat.categories == LEVELS).all()


def test_clusters_that_never_have_an_event() -> None:
    d = table().assign(e=lambda d: d.e.where(d.id > 7, 0), t=lambda d: d.t.where(d.id > 7, 4.0 + d.t))
    fit = cg.nonparametric("Surv(t, e) ~ x", d, cluster="id", family="weibull")
    assert fit.fit.points[0] == -np.inf
    share = fit.fit.weights[0]
    curve = fit.survival(pd.DataFrame({"x": [0.0]}), [1.0, 1e4])
    assert curve["survival"].iloc[1] == pytest.approx(share, abs=1e-6)
    with pytest.warns(cg.errors.PredictionWarning, match="no finite mean"):
        assert np.isposinf(fit.predict(kind="marginal")).all()
    with pytest.raises(OptionError, match="never has an event"):
        fit.simulate(1, seed=1)
    np.testing.assert_allclose(fit.posterior.iloc[-1, 0], 0.0)


def test_compare_and_select() -> None:
    d = table()
    fits = [fitted("negative_binomial", "log"), cg.nonparametric("y ~ x + z", d, cluster="id", family="poisson")]
    text = str(cg.compare(*fits))
    assert "mass points" in text
    found = cg.select_distribution(
        "y ~ x + z", d, cluster="id", family="negative_binomial", distributions=["gaussian", "nonparametric"]
    )
    assert found.table.loc["nonparametric", "loglik"] == pytest.approx(fits[0].loglik, abs=1e-6)
    assert found.table.loc["nonparametric", "loglik"] > found.table.loc["gaussian", "loglik"]
    assert np.isnan(found.table.loc["nonparametric", "aic_weight"])


@pytest.mark.parametrize("family", ["ordinal", "gamma", "weibull", "beta_binomial"])
def test_no_named_distribution_is_more_likely(family: str) -> None:
    found = cg.select_distribution(
        formula(family), table(), cluster="id", family=family, distributions=["gaussian", "cauchy", "nonparametric"]
    )
    others = found.table["loglik"].drop("nonparametric")
    assert found.table.loc["nonparametric", "loglik"] >= others.max() - 1e-6
    assert f"more than {found.table.loc['nonparametric', 'loglik'] - others.max():.2g} above" in str(found)


def test_what_there_is_not() -> None:
    for family, link in FAMILIES[:1] + FAMILIES[5:8]:
        fit = fitted(family, link)
        for name in ("sample", "profile"):
            with pytest.raises(OptionError, match=f"{name} of a fit on mass points with family"):
                getattr(fit, name)()
        with pytest.raises(OptionError, match="dispersion_lr_test of a fit on mass points"):
            _ = fit.dispersion_lr_test
        with pytest.raises(OptionError, match="profile"):
            fit.conf_int(method="profile")
        with pytest.raises(OptionError, match="typical"):
            fit.predict(kind="typical")
    with pytest.raises(OptionError, match="influence of a fit on mass points"):
        fitted("ordinal", "logit").jackknife(kind="one_step")
    with pytest.raises(OptionError, match="scale='link' with kind='marginal'"):
        fitted("weibull", "log").predict(kind="marginal", scale="link")


def test_new_clusters_are_refused_row_by_row() -> None:
    fit = fitted("ordinal", "logit")
    new = table().head(3).assign(id=[0, 999, 1])
    with pytest.warns(cg.errors.PredictionWarning, match="not seen"):
        found = fit.predict(new)
    assert found.isna().all(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(found.iloc[0], fit.predict().iloc[0])


def test_at_the_limit_everything_is_the_poisson_models(tmp_path: Path) -> None:
    d = poisson_table()
    fit = cg.nonparametric("y ~ x", d, cluster="id", family="negative_binomial")
    assert np.isnan(fit.conf_int().loc["alpha"]).any()
    assert fit.bootstrap(3, seed=1).replicates.shape == (3, 2)
    assert len(fit.simulate(1, seed=1)) == len(d)
    fit.save(tmp_path / "fit.json")
    assert str(cg.load(tmp_path / "fit.json")) == str(fit)
    level = fit.predict(level=0.9)
    assert (level["std_error"] > 0.0).all()


def test_probabilities_given_the_data_are_bayes() -> None:
    fit, d = fitted("beta_binomial", "logit"), table()
    theta, _ = user_parameters(fit)
    first = d.groupby("id").head(1).index
    np.testing.assert_allclose(fit.posterior, chances(fit, d, "conditional", theta)[first], atol=1e-9)
