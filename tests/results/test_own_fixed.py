"""A fixed intercept for every cluster beside a parameter of the response: brute force with a dummy for each cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.request import Request
from clusterglm.errors import OptionError, ResponseError, SeparationError
from clusterglm.fit.own_fixed import OwnWithin, own_cluster_profile
from clusterglm.inference.uncertainty.bias import bias_sums, own_bias
from clusterglm.model.family import with_own
from clusterglm.model.response.own.negative_binomial import NegativeBinomial

NB = "negative_binomial"


def drawn(seed: int, m: int = 30, n: int = 6, alpha: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, x, z = np.repeat(np.arange(m), n), rng.normal(size=m * n), rng.integers(0, 2, m * n)
    mean = np.exp(0.3 + 0.5 * x - 0.2 * z + 0.8 * rng.normal(size=m)[cluster])
    y = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, m * n) if alpha > 0.0 else 1.0))
    y[cluster == 3] = 0
    return pd.DataFrame({"y": y, "x": x, "z": z, "id": cluster, "t": rng.uniform(1.0, 3.0, m * n)})


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return drawn(1)


@pytest.fixture(scope="module")
def fit(data: pd.DataFrame) -> Any:
    return cg.fixed_effects("y ~ x + z", data, cluster="id", family=NB, exposure="t")


@pytest.fixture(scope="module")
def dummies(data: pd.DataFrame) -> Any:
    """The same maximum by a coefficient for each cluster, without those of zeros alone, whose dummy is at -inf."""
    some = data[data.groupby("id")["y"].transform("sum") > 0]
    return cg.pooled("y ~ 0 + C(id) + x + z", some, family=NB, exposure="t", cluster="id")


def test_the_maximum_is_that_with_a_dummy_for_each_cluster(fit: Any, dummies: Any) -> None:
    assert fit.loglik == pytest.approx(dummies.loglik, abs=1e-9)
    assert fit.params.to_numpy() == pytest.approx(dummies.params[["x", "z"]].to_numpy(), abs=1e-9)
    assert fit.family_parameters["alpha"] == pytest.approx(dummies.family_parameters["alpha"], rel=1e-9)
    names = ["x", "z", "alpha"]
    assert fit.cov().to_numpy() == pytest.approx(dummies.cov().loc[names, names].to_numpy(), rel=1e-8, abs=1e-14)


def test_intercepts_and_predictions_have_the_standard_errors_of_the_dummies(
    fit: Any, dummies: Any, data: pd.DataFrame
) -> None:
    effects = fit.cluster_effects.set_index("label")
    known = effects[effects["status"] == "estimated"]
    assert set(data["id"].unique()) - set(known.index) == set(data.groupby("id")["y"].sum().loc[lambda y: y == 0].index)
    assert known["estimate"].to_numpy() == pytest.approx(dummies.params.iloc[: len(known)].to_numpy(), abs=1e-8)
    assert known["std_error"].to_numpy() == pytest.approx(dummies.bse.iloc[: len(known)].to_numpy(), rel=1e-8)
    assert effects.loc[3, "estimate"] == -np.inf
    assert effects.loc[3, "status"] == "all counts 0"
    some = data[data["id"].isin(known.index)]
    one, other = (each.predict(some, level=0.9) for each in (fit, dummies))
    for name in ("estimate", "std_error", "low", "high"):
        assert one[name].to_numpy() == pytest.approx(other[name].to_numpy(), rel=1e-6), name


def test_clusters_of_zeros_are_counted_and_change_nothing(fit: Any, data: pd.DataFrame) -> None:
    zeros = int((data.groupby("id")["y"].sum() == 0).sum())
    assert (fit.n_informative, fit.n_clusters) == (30 - zeros, 30)
    assert f"{zeros} at -inf (only zero counts)" in str(fit)
    some = data[data.groupby("id")["y"].transform("sum") > 0]
    again = cg.fixed_effects("y ~ x + z", some, cluster="id", family=NB, exposure="t")
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-10)
    assert again.params.equals(fit.params)
    assert fit.n_parameters == 2 + 1 + 30


def test_score_and_hessian_are_the_differences_of_the_value(data: pd.DataFrame) -> None:
    response = with_own(NB)
    assert response is not None
    weighted = data.assign(w=np.random.default_rng(1).integers(1, 4, len(data)))
    rows = prepare("y ~ x + z", weighted, Request(response.reads, cluster="id", weights="w", fixed_effects=True))
    within, theta, h = OwnWithin(rows, response), np.array([0.2, 0.1, np.log(0.7)]), 1e-4
    at = within.evaluate(theta)
    for k, move in enumerate(np.eye(3) * h):
        ahead, behind = within.evaluate(theta + move), within.evaluate(theta - move)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=1e-5)
        assert at.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=1e-6, abs=1e-5)


def test_the_value_is_the_sum_of_log_probabilities(fit: Any, data: pd.DataFrame) -> None:
    alpha, y, mean = fit.family_parameters["alpha"], data["y"].to_numpy(), fit.predict().to_numpy()
    r = 1.0 / alpha
    with np.errstate(divide="ignore", invalid="ignore"):
        each = gammaln(y + r) - gammaln(r) - gammaln(y + 1.0) - r * np.log1p(alpha * mean)
        each += np.where(y > 0, y * np.log(alpha * mean / (1.0 + alpha * mean)), 0.0)
    assert fit.loglik == pytest.approx(each.sum(), abs=1e-9)


def test_intercepts_move_with_alpha_as_said(fit: Any) -> None:
    own, rows, h = fit.response, fit.data.rows, 1e-5
    at = own_cluster_profile(rows, own, fit._beta)
    ahead, behind = (own_cluster_profile(rows, own.at(own.working + d), fit._beta).intercepts for d in (h, -h))
    known = fit.fit.informative
    slopes = (ahead[known] - behind[known]) / (2.0 * h)
    assert -at.means[known, -1] == pytest.approx(slopes, abs=1e-7)


def test_a_profile_interval_ends_where_the_dummies_have_it(fit: Any, dummies: Any) -> None:
    one, other = (each.conf_int(method="profile") for each in (fit, dummies))
    assert one.loc[["x", "z", "alpha"]].to_numpy() == pytest.approx(other.loc[["x", "z", "alpha"]].to_numpy(), rel=1e-4)


def test_robust_covariances_are_those_of_the_clusters_scores(fit: Any, data: pd.DataFrame) -> None:
    """By deleting nothing: scores by differences of each cluster's own likelihood, its intercept at its best."""
    known = fit.fit.informative
    theta, h, response = np.append(fit._beta, fit.family_parameters["alpha"]), 1e-5, fit.response

    def values(at: np.ndarray) -> np.ndarray:
        own = NegativeBinomial((at[-1],))
        profile = own_cluster_profile(fit.data.rows, own, at[:-1])
        rows = fit.data.rows
        eta = rows.X @ at[:-1] + rows.offset + np.repeat(profile.intercepts, np.diff(rows.starts))
        each = own.value(eta, rows.a, rows.b) + own.log_constants(rows.a, rows.trials, rows.weights)
        return np.add.reduceat(each, rows.starts[:-1])[known]

    scores = np.column_stack([(values(theta + d) - values(theta - d)) / (2.0 * h) for d in np.eye(3) * h])
    m = int(known.sum())
    expected = fit.cov().to_numpy() @ (scores.T @ scores) @ fit.cov().to_numpy() * m / (m - 1)
    assert fit.cov("robust").to_numpy() == pytest.approx(expected, rel=1e-5)
    assert response.values == (theta[-1],)


def test_where_alpha_is_zero_it_is_the_poisson_fit() -> None:
    data = drawn(3, 20, 4, 0.0)
    fit = cg.fixed_effects("y ~ x + z", data, cluster="id", family=NB)
    poisson = cg.fixed_effects("y ~ x + z", data, cluster="id", family="poisson")
    assert fit.family_parameters["alpha"] == 0.0
    assert fit.loglik == poisson.loglik
    assert fit.params.equals(poisson.params)
    assert fit.bse.equals(poisson.bse)
    assert fit.cluster_effects.equals(poisson.cluster_effects)
    assert fit.predict(level=0.9).equals(poisson.predict(level=0.9))
    assert fit.cov("robust").loc[["x", "z"], ["x", "z"]].to_numpy() == pytest.approx(poisson.cov("robust").to_numpy())
    assert fit.deviance == pytest.approx(poisson.deviance)
    assert fit.dispersion_lr_test.pvalue == 1.0
    assert "The maximum lies at alpha = 0, the Poisson model" in str(fit)
    with pytest.raises(OptionError, match="bias_correction= where the maximum lies at alpha = 0"):
        cg.fixed_effects("y ~ x + z", data, cluster="id", family=NB, bias_correction="analytical")


# Bias -----------------------------------------------------------------------------------------------------------------


def test_moments_of_the_bias_are_expectations() -> None:
    """Sums over counts, and differences in place of derivatives."""
    own, h = NegativeBinomial((0.6,)), 1e-3
    psi = own.working
    for eta in (-1.0, 0.5, 2.0):
        y = np.arange(4000.0)
        one, at = np.ones(len(y)), np.full(len(y), eta)

        def log_p(own: NegativeBinomial, eta: Any, y: Any = y, one: Any = one) -> Any:
            return own.value(eta, y, one) + own.log_constants(y, one, one)

        p = np.exp(log_p(own, at))
        assert p.sum() == pytest.approx(1.0, abs=1e-12)

        def first(eta: Any, own: NegativeBinomial = own) -> Any:
            return (log_p(own.at(psi + h), eta) - log_p(own.at(psi - h), eta)) / (2.0 * h)

        G = (log_p(own, at + h) - log_p(own, at - h)) / (2.0 * h)
        H = (log_p(own, at + h) - 2.0 * log_p(own, at) + log_p(own, at - h)) / h**2
        M = (first(at + h) - first(at - h)) / (2.0 * h)
        N = (first(at + h) - 2.0 * first(at) + first(at - h)) / h**2
        v, c = (float(each[0]) for each in own.own_bias_moments(np.array([eta])))
        assert -float(p @ H) == pytest.approx(v, rel=1e-5)
        assert float(p @ M) == pytest.approx(0.0, abs=1e-5)  # orthogonal
        assert float(p @ (M * G) + 0.5 * p @ N) == pytest.approx(c, rel=1e-4)
        I = (log_p(own, at + 2 * h) - 2 * log_p(own, at + h) + 2 * log_p(own, at - h) - log_p(own, at - 2 * h)) / (
            2 * h**3
        )
        # in proportion to v, so that coefficients have no bias of first order
        assert float(p @ (G * H) + 0.5 * p @ I) == pytest.approx(-0.5 * v, rel=1e-3)


def test_what_is_corrected_and_what_stays(data: pd.DataFrame) -> None:
    plain, less = (
        cg.fixed_effects("y ~ x + z", data, cluster="id", family=NB, bias_correction=how)
        for how in (None, "analytical")
    )
    assert less.params.equals(plain.params)
    assert less.loglik == plain.loglik
    assert less.deviance == plain.deviance
    assert less.family_parameters["alpha"] > plain.family_parameters["alpha"]
    assert (less.bse > plain.bse).all()
    assert "corrected: analytical" in str(less)
    assert "alpha is too small, and standard errors with it" in str(plain)
    rows, own = plain.data.rows, plain.response
    known = np.repeat(plain.fit.informative, np.diff(rows.starts))
    eta = rows.X @ plain._beta + rows.offset + np.repeat(plain.fit.intercepts, np.diff(rows.starts))
    v, c = own.own_bias_moments(eta[known])
    label = np.repeat(np.arange(30), 6)[known]
    by_hand = sum(c[label == i].sum() / v[label == i].sum() for i in np.unique(label))
    sizes = np.append(0, np.cumsum(np.bincount(label)[np.unique(label)]))
    assert own_bias(sizes, np.ones(len(sizes) - 1), v, c) == pytest.approx(by_hand)
    se = plain.cov().loc["alpha", "alpha"] ** 0.5 / plain.family_parameters["alpha"]
    moved = np.log(less.family_parameters["alpha"] / plain.family_parameters["alpha"])
    assert moved == pytest.approx(-by_hand * se**2, rel=0.05)  # by its information, that of beta hardly moves it


def test_the_correction_takes_off_most_of_the_bias() -> None:
    """Means over 60 data sets of clusters of 4, of log(alpha) and of the coefficient of x."""
    plain, less, slopes = [], [], []
    for seed in range(60):
        data = drawn(100 + seed, 100, 4)
        fit = cg.fixed_effects("y ~ x + z", data, cluster="id", family=NB, bias_correction="analytical")
        slopes.append(fit.params["x"])
        plain.append(np.log(fit.fit.likeliest.alpha))
        less.append(np.log(fit.family_parameters["alpha"]))
    plain_bias, bias = np.mean(plain) - np.log(0.5), np.mean(less) - np.log(0.5)
    assert plain_bias < -0.6
    assert abs(bias) < 0.15
    assert np.mean(slopes) == pytest.approx(0.5, abs=3.0 * np.std(slopes) / np.sqrt(60))


def test_bias_of_coefficients_of_a_negative_binomial_is_nothing() -> None:
    """By the general formula with moments that are in proportion, as the note at `own_bias` says."""

    class Moments(NegativeBinomial):
        def bias_moments(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            v, _ = self.own_bias_moments(eta)
            return v, -0.5 * v

    rng = np.random.default_rng(1)
    X, eta, starts = rng.normal(size=(20, 2)), rng.normal(size=20), np.arange(0, 21, 4)
    score, *_ = bias_sums(X, starts, np.ones(5), eta, np.ones(20), Moments((0.5,)))
    assert np.abs(score).max() < 1e-14


# After the fit --------------------------------------------------------------------------------------------------------


def test_a_replicate_is_the_two_fits_to_its_responses(data: pd.DataFrame) -> None:
    options: dict[str, Any] = {"cluster": "id", "family": NB}
    fit, null = cg.fixed_effects("y ~ x", data, **options), cg.pooled("y ~ x", data, **options)
    test: Any = fit.test_clustering(n_boot=3, seed=11)
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - null.loglik), abs=1e-8)
    eta = null.data.rows.X @ null._beta
    for seed, statistic in zip(np.random.SeedSequence(11).spawn(3), test.replicates, strict=True):
        new = data.assign(y=null.response.draw(np.random.default_rng(seed), eta, None).astype(int))
        one, other = (verb("y ~ x", new, **options) for verb in (cg.fixed_effects, cg.pooled))
        assert statistic == pytest.approx(2.0 * (one.loglik - other.loglik), abs=1e-4)


@pytest.mark.parametrize("how", [None, "analytical"])
def test_deletion_of_clusters(how: str | None, data: pd.DataFrame) -> None:
    """At the maximum, whatever is corrected: exact deletion is the fit without the cluster."""
    options: dict[str, Any] = {"cluster": "id", "family": NB}
    fit = cg.fixed_effects("y ~ x + z", data, bias_correction=how, **options)
    found = fit.influence("exact", clusters=[2, 3, 7])
    assert found.parameters == ("x", "z", "alpha")
    for at, cluster in enumerate((2, 3, 7)):
        without = cg.fixed_effects("y ~ x + z", data[data["id"] != cluster], **options)
        expected = [*without.params, without.family_parameters["alpha"]]
        assert found.deleted[at] == pytest.approx(expected, rel=1e-5)
    assert found.displacement[1] == pytest.approx(0.0, abs=1e-9)  # of zeros alone
    deletion = fit._deletion()
    total = sum(deletion.cluster_hessian(i) for i in range(30))
    assert total == pytest.approx(-deletion.information, rel=1e-9, abs=1e-9)
    one = fit.influence(clusters=[2, 3, 7])
    assert np.abs(one.dfbetas - found.dfbetas).max() < 0.1


def test_it_goes_to_files_reports_tables_and_back(fit: Any, tmp_path: Path, data: pd.DataFrame) -> None:
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert again.cluster_effects.equals(fit.cluster_effects)
    assert again.conf_int(method="profile").equals(fit.conf_int(method="profile"))
    fit.report(tmp_path / "fit.html")
    assert "negative_binomial" in (tmp_path / "fit.html").read_text()
    poisson = cg.fixed_effects("y ~ x + z", data, cluster="id", family="poisson", exposure="t")
    both = cg.compare(poisson, fit)
    assert both.to_frame()["loglik"].to_numpy() == pytest.approx([poisson.loglik, fit.loglik])


def test_without_covariates(data: pd.DataFrame) -> None:
    fit = cg.fixed_effects("y ~ 1", data, cluster="id", family=NB)
    some = data[data.groupby("id")["y"].transform("sum") > 0]
    dummies = cg.pooled("y ~ 0 + C(id)", some, family=NB)
    assert fit.loglik == pytest.approx(dummies.loglik, abs=1e-9)
    assert fit.cov().to_numpy() == pytest.approx(dummies.cov().iloc[-1:, -1:].to_numpy(), rel=1e-8)


def test_what_it_does_not_know_it_says(data: pd.DataFrame, fit: Any) -> None:
    def fitted(formula: str = "y ~ x", table: pd.DataFrame = data, **given: Any) -> Any:
        return cg.fixed_effects(formula, table, **{"cluster": "id", "family": NB, **given})

    with pytest.raises(OptionError, match="average_effects of a fit"):
        fit.average_effects()
    with pytest.raises(OptionError, match="profile of estimates that were corrected"):
        fitted(bias_correction="analytical").conf_int(method="profile")
    with pytest.raises(OptionError, match="by split panels"):
        fitted(bias_correction="jackknife")
    with pytest.raises(OptionError, match="penalty='firth'"):
        fitted(penalty="firth")
    with pytest.raises(OptionError, match="profiled out"):
        fitted(family="negative_binomial1")
    with pytest.raises(ResponseError, match="every count is 0"):
        fitted(table=data.assign(y=0))
    with pytest.raises(SeparationError, match="'s'"):
        fitted("y ~ s", data.assign(s=(data["y"] > 0) & (data["x"] > -10)))
