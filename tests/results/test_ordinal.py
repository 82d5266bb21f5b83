"""Fits of ordered categories: exact maxima, derivatives, limits, what follows a fit, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

import clusterglm as cg
from clusterglm.data.prepare import prepare
from clusterglm.data.recession import without_column
from clusterglm.data.request import Request
from clusterglm.errors import ClusterGLMError
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, standardised
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import with_own

GOLDEN = Path(__file__).parents[1] / "golden"
EXACT: dict[str, Any] = json.loads((GOLDEN / "ordinal.json").read_text())
LINKS = ("logit", "cloglog", "probit")
BETWEEN = {
    "logit": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "cloglog": lambda x: -np.expm1(-np.exp(x)),
    "probit": ndtr,
}
EACH_LINK = pytest.mark.parametrize("link", LINKS)
LEVELS = ["bad", "fair", "good", "fine"]


def wine() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "data" / "wine.csv")


def drawn(sigma: float, seed: int, link: str = "logit", m: int = 40, n: int = 5, cuts: Any = (-1.0, 0.4, 2.0)) -> Any:
    """A table whose categories are drawn by their definition."""
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    eta = 0.8 * x + sigma * rng.normal(size=m)[cluster]
    below = BETWEEN[link](np.array(cuts) - eta[:, None])
    y = (rng.random(m * n)[:, None] > below).sum(axis=1)
    kind = pd.CategoricalDtype(LEVELS[: len(cuts) + 1], ordered=True)
    return pd.DataFrame(
        {"y": pd.Categorical.from_codes(y, dtype=kind), "x": x, "id": cluster, "w": rng.integers(1, 4, m * n)}
    )


def probabilities(thresholds: Any, eta: np.ndarray, link: str) -> np.ndarray:
    below = BETWEEN[link](np.asarray(thresholds) - eta[:, None])
    return np.diff(below, axis=1, prepend=0.0, append=1.0)


@pytest.fixture(scope="module", params=LINKS)
def fitted(request: Any) -> Any:
    return cg.random_effects("rating ~ temp + contact", wine(), cluster="judge", family="ordinal", link=request.param)


# The maximum ----------------------------------------------------------------------------------------------------------


@EACH_LINK
def test_exact_maxima(link: str) -> None:
    """Of the exactly integrated likelihood, by other code."""
    exact = EXACT[f"wine_{link}"]
    fit = cg.random_effects(exact["formula"], wine(), family="ordinal", link=link)
    assert fit.loglik == pytest.approx(exact["logLik"], abs=1e-8)
    assert (fit.n_obs, fit.n_clusters, fit.n_parameters) == (exact["n"], exact["n_clusters"], 7)
    ours, errors = np.array([*fit.params, fit.sigma, *fit.thresholds]), np.array([*exact["se"].values()])
    assert np.abs((ours - np.array([*exact["parameters"].values()])) / errors).max() < 1e-6
    assert np.sqrt(np.diag(fit.cov())) == pytest.approx(errors, rel=1e-6)
    assert list(fit.thresholds.index) == ["1|2", "2|3", "3|4", "4|5"]
    assert list(fit.cov().index) == ["tempwarm", "contactyes", "sigma", *fit.thresholds.index]


@EACH_LINK
def test_laplace_is_the_value_of_other_code_near_the_maximum_that_clmm_reports(link: str) -> None:
    """clmm's modes are not found to more than 1e-4 with the cloglog: its value there is compared by other code."""
    exact = EXACT[f"wine_{link}"]
    fit = cg.random_effects(exact["formula"], wine(), family="ordinal", link=link, quadrature="laplace")
    assert fit.loglik == pytest.approx(exact["laplace_logLik_at_clmm"], abs=1e-5)
    assert fit.loglik >= exact["laplace_logLik_at_clmm"] - 1e-8
    if link != "cloglog":
        assert fit.loglik == pytest.approx(exact["clmm_laplace_logLik"], abs=1e-5)


@EACH_LINK
@pytest.mark.parametrize("nodes", [1, 5, 25])
def test_score_and_hessian_are_the_differences_of_the_value(link: str, nodes: int) -> None:
    response = with_own("ordinal", link)
    assert response is not None
    data = prepare("y ~ x", drawn(0.6, 1, link), Request(response.reads, cluster="id"))
    response = response.of_levels(data.levels)
    data = without_column(data, 0)
    rows = OwnRows(standardised(data, response, Control()), response)
    likelihood = OwnMarginal(rows, integrator_for(Gaussian(), "normal"))
    theta, plan, h = np.array([0.6, 0.5, -0.9, 0.5, 1.8]), (Part(Rule(nodes)),), 1e-4
    at = likelihood.evaluate(theta, plan)
    for k, move in enumerate(np.eye(5) * h):
        ahead, behind = likelihood.evaluate(theta + move, plan), likelihood.evaluate(theta - move, plan)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=1e-5)
        assert at.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=1e-6, abs=1e-4)
    outside = likelihood.evaluate(theta[[0, 1, 3, 2, 4]], plan)
    assert outside.value == -np.inf


@EACH_LINK
@pytest.mark.parametrize("distribution", ["gaussian", "logistic", "student_t(4)"])
def test_value_is_an_integral_that_shares_no_code(link: str, distribution: str) -> None:
    data = drawn(0.9, 4, link, m=15)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link=link, distribution=distribution)
    u = np.linspace(-60.0, 60.0, 40_001)
    density = np.exp(fit.distribution.log_density(u)[0]) * (u[1] - u[0])
    codes = data["y"].cat.codes.to_numpy()
    total = 0.0
    for label in range(15):
        own = (data["id"] == label).to_numpy()
        product = np.ones(len(u))
        for x, code in zip(data["x"][own], codes[own], strict=True):
            product *= probabilities(fit.thresholds, fit.params["x"] * x + fit.sigma * u, link)[:, code]
        total += np.log(product @ density)
    assert fit.loglik == pytest.approx(total, abs=1e-5 if distribution.startswith("student") else 1e-7)


@EACH_LINK
def test_pooled_maximum_has_no_slope(link: str) -> None:
    """By a search that shares nothing with Newton's method on these sums."""
    from scipy.optimize import minimize

    data = drawn(0.3, 2, link).assign(x=lambda d: 50.0 + 3.0 * d["x"])  # far from its mean: columns are centred
    fit = cg.pooled("y ~ x", data, family="ordinal", link=link)
    codes, centred = data["y"].cat.codes.to_numpy(), data["x"].to_numpy() - 50.0

    def loss(theta: np.ndarray) -> float:
        cuts = theta[1] + np.append(0.0, np.cumsum(np.exp(theta[2:])))
        p = probabilities(cuts, theta[0] * centred, link)[np.arange(len(codes)), codes]
        return 1e6 if p.min() <= 0.0 else -float(np.log(p).sum())

    found = minimize(loss, np.array([0.1, -1.0, 0.0, 0.0]), method="BFGS", options={"gtol": 1e-7})
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-8)
    cuts = found.x[1] + np.append(0.0, np.cumsum(np.exp(found.x[2:]))) + 50.0 * found.x[0]
    assert [*fit.params, *fit.thresholds] == pytest.approx([found.x[0], *cuts], rel=1e-5)


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_two_categories_are_the_binary_model(verb: str) -> None:
    data = drawn(0.8, 3, cuts=(0.3,)).assign(b=lambda d: (d["y"] == "fair").astype(int))
    tight = cg.Control(tol=1e-11)
    fit = getattr(cg, verb)("y ~ x", data, cluster="id", family="ordinal", control=tight)
    binary = getattr(cg, verb)("b ~ x", data, cluster="id", control=tight)
    assert fit.loglik == pytest.approx(binary.loglik, rel=1e-13)
    assert [fit.params["x"], -fit.thresholds.iloc[0]] == pytest.approx([*binary.params[::-1]], rel=1e-9)
    assert fit.bse["x"] == pytest.approx(binary.bse["x"], rel=1e-9)
    assert fit.cov().loc["bad|fair", "bad|fair"] == pytest.approx(binary.cov().iloc[0, 0], rel=1e-9)
    assert fit.predict()["fair"].to_numpy() == pytest.approx(binary.predict().to_numpy(), rel=1e-8)
    assert fit.deviance == pytest.approx(binary.deviance, rel=1e-12)
    assert fit.cov("robust").loc["x", "x"] == pytest.approx(binary.cov("robust").loc["x", "x"], rel=1e-8)
    interval = binary.conf_int(method="profile").loc["x"].to_list()
    assert fit.conf_int(method="profile").loc["x"].to_list() == pytest.approx(interval, abs=1e-4)


def test_two_categories_with_the_cloglog_are_its_binary_model_of_the_lower() -> None:
    data = drawn(0.8, 3, "cloglog", cuts=(0.3,)).assign(low=lambda d: (d["y"] == "bad").astype(int))
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link="cloglog")
    binary = cg.random_effects("low ~ x", data, cluster="id", link="cloglog")
    assert fit.loglik == pytest.approx(binary.loglik, rel=1e-13)
    assert [*binary.params] == pytest.approx([fit.thresholds.iloc[0], -fit.params["x"]], rel=1e-8)
    assert binary.random_effects["mode"].to_numpy() == pytest.approx(-fit.random_effects["mode"].to_numpy(), abs=1e-7)
    ratio = fit.ratios().iloc[0]
    assert (ratio["kind"], ratio["estimate"]) == ("hazard ratio", pytest.approx(np.exp(-fit.params["x"])))
    assert ratio[["estimate", "conf_low", "conf_high"]].to_list() == pytest.approx(
        binary.ratios().iloc[1][["estimate", "conf_low", "conf_high"]].to_list(), rel=1e-7
    )
    assert fit.tidy(exponentiate=True)["estimate"][0] == ratio["estimate"]


def test_two_categories_with_the_probit_in_large_clusters() -> None:
    """Of which no row has a threshold on either side."""
    data = drawn(0.8, 3, "probit", m=12, n=90, cuts=(0.3,)).assign(b=lambda d: (d["y"] == "fair").astype(int))
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link="probit")
    binary = cg.random_effects("b ~ x", data, cluster="id", link="probit")
    assert fit.loglik == pytest.approx(binary.loglik, rel=1e-10)
    assert [-fit.thresholds.iloc[0], fit.params["x"]] == pytest.approx([*binary.params], rel=1e-5)


@EACH_LINK
def test_large_clusters_and_far_columns(link: str) -> None:
    """A column in other units, far from zero, changes nothing but its coefficient and the thresholds."""
    data = drawn(0.7, 6, link, m=10, n=80).assign(far=lambda d: 1000.0 + 0.001 * d["x"])
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link=link)
    far = cg.random_effects("y ~ far", data, cluster="id", family="ordinal", link=link)
    assert far.converged
    assert far.loglik == pytest.approx(fit.loglik, rel=1e-9)
    assert 0.001 * far.params["far"] == pytest.approx(fit.params["x"], rel=1e-5)
    moved = far.thresholds - 1000.0 * far.params["far"]
    assert moved.to_numpy() == pytest.approx(fit.thresholds.to_numpy(), abs=1e-4)
    assert far.bse["far"] == pytest.approx(1000.0 * fit.bse["x"], rel=1e-5)


def test_turned_round_coefficients_change_sign_with_the_logit() -> None:
    data = drawn(0.7, 5)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal")
    turned = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", levels=LEVELS[::-1])
    assert turned.loglik == pytest.approx(fit.loglik, rel=1e-12)
    assert turned.params["x"] == pytest.approx(-fit.params["x"], rel=1e-7)
    assert turned.thresholds.to_numpy() == pytest.approx(-fit.thresholds.to_numpy()[::-1], rel=1e-7)


@EACH_LINK
def test_without_differences_between_clusters_it_is_the_pooled_fit(link: str) -> None:
    data = drawn(0.0, 1, link)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link=link)
    pooled = cg.pooled("y ~ x", data, family="ordinal", link=link)
    assert fit.sigma == 0.0
    assert fit.loglik == pooled.loglik
    assert fit.thresholds.equals(pooled.thresholds)
    assert fit.bse.equals(pooled.bse)
    assert np.isnan(fit.sigma_se)
    assert "The maximum lies at sigma = 0" in str(fit)
    held = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link=link, sigma=0.0, fix_sigma=True)
    assert held.loglik == pooled.loglik


def test_thresholds_alone() -> None:
    data = drawn(0.0, 1)
    fit = cg.pooled("y ~ 1", data, family="ordinal")
    share = data["y"].value_counts(sort=False, normalize=True).to_numpy()
    assert fit.predict().iloc[0].to_numpy() == pytest.approx(share, rel=1e-9)
    assert cg.random_effects("y ~ 1", drawn(1.0, 1), cluster="id", family="ordinal").sigma > 0.5


def test_weights_are_repeats_and_offsets_count() -> None:
    data = drawn(0.6, 1).assign(o=lambda d: 0.3 * d["x"] ** 2)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", weights="w", offset="o")
    repeated = data.loc[data.index.repeat(data["w"])]
    whole = cg.random_effects("y ~ x", repeated, cluster="id", family="ordinal", offset="o")
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert fit.cov().to_numpy() == pytest.approx(whole.cov().to_numpy(), rel=1e-7, abs=1e-10)
    assert (fit.bic, fit.n_obs) == (pytest.approx(whole.bic), whole.n_obs)
    assert len(fit.simulate(1, seed=1)) == len(repeated)
    assert fit.cov("robust").to_numpy() == pytest.approx(whole.cov("robust").to_numpy(), rel=1e-6, abs=1e-9)
    without = cg.random_effects("y ~ x", data, cluster="id", family="ordinal")
    assert abs(without.thresholds.iloc[0] - fit.thresholds.iloc[0]) > 0.1


@EACH_LINK
@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_robust_covariance_is_the_sandwich_of_differences(link: str, verb: str) -> None:
    data = drawn(0.7, 5, link)
    fit = getattr(cg, verb)("y ~ x", data, cluster="id", family="ordinal", link=link)
    random, codes = verb == "random_effects", data["y"].cat.codes.to_numpy()
    u, w = np.polynomial.hermite_e.hermegauss(60)
    at = np.array([*fit.params, *([fit.sigma] if random else []), *fit.thresholds])

    def logliks(theta: np.ndarray) -> np.ndarray:
        b = theta[1] * u if random else np.zeros(60)
        eta = theta[0] * data["x"].to_numpy()[:, None] + b
        found = np.stack([probabilities(theta[-3:], e, link)[np.arange(len(codes)), codes] for e in eta.T], axis=1)
        found = np.maximum(found, 1e-300)
        return np.log(np.exp(np.add.reduceat(np.log(found), np.arange(0, len(data), 5), axis=0)) @ w / w.sum())

    h = 1e-5
    scores = np.array([(logliks(at + e) - logliks(at - e)) / (2.0 * h) for e in np.eye(len(at)) * h]).T
    A, m = fit.cov().to_numpy(), 40
    assert np.abs(scores.sum(axis=0) * np.sqrt(np.diag(A))).max() < 1e-3
    assert fit.cov("robust").to_numpy() == pytest.approx(A @ (scores.T @ scores) @ A * m / (m - 1), rel=1e-4, abs=1e-7)
    alone = cg.pooled("y ~ x", data.assign(id=range(len(data))), cluster="id", family="ordinal", link=link)
    each = cg.pooled("y ~ x", data, family="ordinal", link=link).cov("robust")
    assert each.to_numpy() == pytest.approx(alone.cov("robust").to_numpy(), rel=1e-8)


def test_profile_intervals(fitted: Any) -> None:
    """An end is where the fit with sigma held there has lost half the quantile; thresholds have one too."""
    ends = fitted.conf_int(method="profile")
    assert list(ends.index) == ["tempwarm", "contactyes", "sigma", "1|2", "2|3", "3|4", "4|5"]
    low = float(ends.loc["sigma", "low"])
    held = cg.random_effects(
        "rating ~ temp + contact",
        wine(),
        cluster="judge",
        family="ordinal",
        link=fitted.link,
        sigma=low,
        fix_sigma=True,
    )
    assert fitted.loglik - held.loglik == pytest.approx(0.5 * 3.841458820694124, abs=1e-5)
    wald = fitted.conf_int()
    assert ends.loc["2|3"].to_list() == pytest.approx(wald.loc["2|3"].to_list(), abs=0.15)
    curve = fitted.profile("3|4", points=5)
    assert curve.loglik.max() == pytest.approx(fitted.loglik, abs=1e-9)
    assert curve.estimate == pytest.approx(fitted.thresholds["3|4"])


# What follows a fit ---------------------------------------------------------------------------------------------------


def test_predictions_are_probabilities(fitted: Any) -> None:
    new = pd.DataFrame({"temp": ["cold", "warm"], "contact": ["no", "yes"], "judge": [3, 5]})
    eta = np.array([0.0, float(fitted.params.sum())])
    expected = probabilities(fitted.thresholds, eta, fitted.link)
    typical = fitted.predict(new)
    assert list(typical.columns) == ["1", "2", "3", "4", "5"]
    assert typical.to_numpy() == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert fitted.predict(new, scale="cumulative").to_numpy() == pytest.approx(expected.cumsum(axis=1)[:, :-1])
    assert fitted.predict(new, scale="link").to_numpy() == pytest.approx(eta)
    modes = fitted.random_effects.set_index("label")["mode"]
    conditional = probabilities(fitted.thresholds, eta + modes[[3, 5]].to_numpy(), fitted.link)
    assert fitted.predict(new, "conditional").to_numpy() == pytest.approx(conditional, abs=1e-12)
    assert fitted.predict(new, 0.5).to_numpy() == pytest.approx(
        probabilities(fitted.thresholds, eta + 0.5, fitted.link)
    )
    u, w = np.polynomial.hermite_e.hermegauss(80)
    averaged = (
        sum(
            wk * probabilities(fitted.thresholds, eta + fitted.sigma * uk, fitted.link)
            for uk, wk in zip(u, w, strict=True)
        )
        / w.sum()
    )
    assert fitted.predict(new, "marginal").to_numpy() == pytest.approx(averaged, abs=1e-9)
    assert fitted.predict().sum(axis=1).to_numpy() == pytest.approx(np.ones(72))


@pytest.mark.parametrize("kind", ["typical", "marginal"])
@pytest.mark.parametrize("scale", ["probability", "cumulative"])
def test_standard_errors_of_predictions_are_those_of_differences(fitted: Any, kind: str, scale: str) -> None:
    new = pd.DataFrame({"temp": ["warm"], "contact": ["no"]})
    found = fitted.predict(new, kind, scale=scale, level=0.9)
    u, w = np.polynomial.hermite_e.hermegauss(80)
    at = np.array([*fitted.params, fitted.sigma, *fitted.thresholds])

    def values(theta: np.ndarray) -> np.ndarray:
        b = theta[2] * u if kind == "marginal" else np.zeros(80)
        p = w @ probabilities(theta[3:], theta[0] + b, fitted.link) / w.sum()
        return p if scale == "probability" else p.cumsum()[:-1]

    gradient = np.array([(values(at + e) - values(at - e)) / 2e-5 for e in np.eye(len(at)) * 1e-5])
    assert found["estimate"].to_numpy() == pytest.approx(values(at), abs=1e-10)
    expected = np.sqrt(np.einsum("qc,qr,rc->c", gradient, fitted.cov().to_numpy(), gradient))
    assert found["std_error"].to_numpy() == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert (found["low"] < found["estimate"]).all()
    assert (found["estimate"] < found["high"]).all()
    assert (found["status"] == "ok").all()


def test_rows_that_cannot_be_predicted_are_said(fitted: Any) -> None:
    new = pd.DataFrame({"temp": ["warm", None], "contact": ["no", "yes"]})
    with pytest.warns(cg.errors.PredictionWarning, match="1 of 2 rows cannot be predicted"):
        found = fitted.predict(new)
    assert found.isna().all(axis=1).tolist() == [False, True]
    assert fitted.predict(new, level=0.9)["status"].iloc[-1] != "ok"


@EACH_LINK
def test_draws_have_the_probabilities_of_the_model(link: str) -> None:
    data = drawn(0.8, 2, link)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link=link)
    many = fit.simulate(400, seed=3)
    assert many[0].cat.ordered
    assert list(many[0].cat.categories) == LEVELS
    share = np.array([[(many[j] == level).mean() for level in LEVELS] for j in many]).mean(axis=0)
    assert share == pytest.approx(fit.predict(kind="marginal").mean().to_numpy(), abs=0.01)
    assert many[7].equals(fit.simulate(400, seed=3)[7])


@EACH_LINK
def test_the_model_is_found_again(link: str) -> None:
    fit = cg.random_effects("y ~ x", drawn(0.8, 2, link, m=600), cluster="id", family="ordinal", link=link)
    z = (np.array([*fit.params, fit.sigma, *fit.thresholds]) - [0.8, 0.8, -1.0, 0.4, 2.0]) / np.sqrt(np.diag(fit.cov()))
    assert np.abs(z).max() < 3.0


@EACH_LINK
@pytest.mark.parametrize("intercepts", ["conditional", "marginal"])
def test_quantile_residuals_are_normal_where_the_model_holds(link: str, intercepts: str) -> None:
    data = drawn(0.6, 8, link, m=100, n=15)  # of so many that modes take up little of the noise
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", link=link)
    found = fit.residuals(intercepts=intercepts, seed=1)
    assert abs(found.mean()) < 0.08
    assert found.std() == pytest.approx(1.0, abs=0.06)
    assert found.equals(fit.residuals("quantile", intercepts, seed=1))


def test_tables_and_files(fitted: Any, tmp_path: Path) -> None:
    tidy = fitted.tidy().set_index("term")
    assert tidy.loc["2|3", "component"] == "threshold"
    assert tidy.loc["2|3", "estimate"] == fitted.thresholds["2|3"]
    assert tidy.loc["2|3", ["conf_low", "conf_high"]].to_list() == fitted.conf_int().loc["2|3"].to_list()
    assert "Categories:       1 < 2 < 3 < 4 < 5" in str(fitted)
    assert f"Threshold 1|2:    {fitted.thresholds.iloc[0]:.5g} (Std. Error" in str(fitted)
    latent = {"logit": np.pi**2 / 3.0, "cloglog": np.pi**2 / 6.0, "probit": 1.0}[fitted.link]
    assert fitted.icc == pytest.approx(fitted.sigma**2 / (fitted.sigma**2 + latent))
    assert fitted.wald_test("tempwarm = contactyes").pvalue < 0.2
    for fit in (fitted, fitted.pooled):
        fit.save(tmp_path / "fit.json")
        again = cg.load(tmp_path / "fit.json")
        assert str(again) == str(fit)
        assert again.predict(level=0.9).equals(fit.predict(level=0.9))
        assert again.simulate(1, seed=3).equals(fit.simulate(1, seed=3))
        assert again.residuals(seed=3).equals(fit.residuals(seed=3))
        fit.report(tmp_path / "fit.html")
        assert "4|5" in (tmp_path / "fit.html").read_text()


def test_bootstrap_of_all_parameters() -> None:
    data = drawn(0.8, 2, m=60)
    fit = cg.random_effects("y ~ x", data, cluster="id", family="ordinal", quadrature=9)
    found = fit.bootstrap(12, seed=4)
    assert list(found.names) == ["x", "sigma", *fit.thresholds.index]
    assert found.failures == ()
    assert found.replicates.shape == (12, 5)
    assert np.abs(found.bias / np.sqrt(np.diag(fit.cov()))).max() < 1.5
    again = fit.bootstrap(12, seed=4, n_jobs=2)
    assert np.array_equal(again.replicates, found.replicates)
    kind = pd.CategoricalDtype(LEVELS, ordered=True)
    few = pd.DataFrame({"y": pd.Categorical(["bad", "fair", "good", "fine"] * 2, dtype=kind), "x": np.arange(8.0) % 3})
    lost = cg.pooled("y ~ x", few, family="ordinal").bootstrap(20, seed=1)
    assert any("no response in" in reason for reason, _ in lost.failures)


def test_functions_of_thresholds_and_coefficients(fitted: Any) -> None:
    for fit in (fitted, fitted.pooled):
        V, at = fit.cov(), fit.thresholds
        found = fit.delta_method({"width": "`4|5` - `1|2`", "where": "(`2|3` - tempwarm) / exp(contactyes)"})
        assert found["estimate"].to_list() == pytest.approx(
            [at["4|5"] - at["1|2"], (at["2|3"] - fit.params["tempwarm"]) * np.exp(-fit.params["contactyes"])]
        )
        variance = V.loc["4|5", "4|5"] + V.loc["1|2", "1|2"] - 2.0 * V.loc["4|5", "1|2"]
        assert found["std_error"].iloc[0] == pytest.approx(np.sqrt(variance))
        size = np.exp(-fit.params["contactyes"])
        gradient = pd.Series({"2|3": size, "tempwarm": -size, "contactyes": -found["estimate"].iloc[1]})
        names = list(gradient.index)
        expected = np.sqrt(gradient @ V.loc[names, names] @ gradient)
        assert found["std_error"].iloc[1] == pytest.approx(expected)


def test_several_beside_each_other(fitted: Any) -> None:
    smaller = cg.random_effects("rating ~ temp", wine(), cluster="judge", family="ordinal", link=fitted.link)
    found = cg.compare({"smaller": smaller, "random": fitted, "pooled": fitted.pooled})
    assert found.to_frame()["loglik"].to_list() == [smaller.loglik, fitted.loglik, fitted.pooled.loglik]
    first, second = found.tests
    assert (first.df, first.statistic) == (1, pytest.approx(2.0 * (fitted.loglik - smaller.loglik)))
    assert second.pvalue == pytest.approx(fitted.clustering_test.pvalue)
    other = cg.random_effects("rating ~ temp", wine(), cluster="judge", family="poisson")
    with pytest.raises(ClusterGLMError, match="different data"):
        cg.compare(smaller, other)


def test_every_other_member_says_why_not(fitted: Any) -> None:
    from clusterglm.results.models.ordinal import WORK

    for fit in (fitted, fitted.pooled):
        for name in dir(fit):
            if name.startswith("_") or name in WORK:
                continue
            with pytest.raises(ClusterGLMError, match="family='ordinal'"):
                getattr(fit, name)()
    for ask in (
        lambda: fitted.predict(kind="posterior"),
        lambda: fitted.predict(kind="marginal", scale="link"),
        lambda: fitted.predict(scale="response"),
        lambda: fitted.residuals("pearson"),
    ):
        with pytest.raises(ClusterGLMError):
            ask()
