"""Negative binomial fits: exact maxima, derivatives, boundaries, what follows a fit, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, ResponseError
from clusterglm.fit.own import OwnMarginal, OwnRows, standardised
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import Gaussian
from clusterglm.model.family import with_own

GOLDEN = Path(__file__).parents[1] / "golden"
EXACT: dict[str, Any] = json.loads((GOLDEN / "own_parameters.json").read_text())
NB = "negative_binomial"


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "data" / EXACT[name]["csv"])


def drawn(alpha: float, sigma: float, seed: int, m: int = 40, n: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    mean = np.exp(0.3 + 0.5 * x + sigma * rng.normal(size=m)[cluster])
    y = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, m * n) if alpha > 0.0 else 1.0))
    return pd.DataFrame(
        {"y": y, "x": x, "id": cluster, "t": rng.uniform(1.0, 3.0, m * n), "w": rng.integers(1, 4, m * n)}
    )


@pytest.fixture(scope="module")
def salamanders() -> Any:
    return cg.random_effects("count ~ mined + spp", table("salamanders_nbinom2_int"), cluster="site", family=NB)


@pytest.mark.parametrize("name", EXACT)
def test_exact_maxima(name: str) -> None:
    """Of the exactly integrated likelihood, by other code in another parametrisation: log(1 / alpha)."""
    exact = EXACT[name]
    fit = cg.random_effects(exact["formula"], table(name), family="nbinom2")
    assert fit.loglik == pytest.approx(exact["logLik"], abs=1e-6)
    assert (fit.n_obs, fit.n_clusters) == (exact["n"], exact["n_clusters"])
    alpha, se = float(fit.family_parameters["alpha"]), np.sqrt(np.diag(fit.cov()))
    ours = np.array([*fit.params, fit.sigma, -np.log(alpha)])
    errors = np.array([*exact["se"].values()])
    assert np.abs(ours - np.array([*exact["parameters"].values()])).max() < 1e-5 * errors.min()
    assert np.append(se[:-1], se[-1] / alpha) == pytest.approx(errors, rel=1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_laplace_has_its_own_maximum_near_that_of_glmmtmb(name: str) -> None:
    exact = EXACT[name]
    fit = cg.random_effects(exact["formula"], table(name), family=NB, quadrature="laplace")
    assert fit.loglik >= exact["laplace_logLik_at_exact_maximum"] - 1e-8
    assert fit.loglik == pytest.approx(exact["laplace_logLik"], abs=1e-5)


@pytest.mark.parametrize(("nodes", "follows"), [(1, True), (5, True), (25, True)])
def test_score_and_hessian_are_the_differences_of_the_value(nodes: int, follows: bool) -> None:
    response = with_own(NB)
    assert response is not None
    from clusterglm.data.prepare import prepare
    from clusterglm.data.request import Request

    data = prepare("y ~ x", drawn(0.7, 0.6, 1), Request(response.reads, cluster="id"))
    sums = standardised(data, response, Control())
    likelihood = OwnMarginal(OwnRows(sums, response), integrator_for(Gaussian(), "normal"))
    theta, plan, h = np.array([0.2, 0.6, 0.5, np.log(0.6)]), (Part(Rule(nodes)),), 1e-4
    at = likelihood.evaluate(theta, plan)
    for k, move in enumerate(np.eye(4) * h):
        ahead, behind = likelihood.evaluate(theta + move, plan), likelihood.evaluate(theta - move, plan)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=1e-5)
        assert at.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_alpha_is_zero_it_is_the_poisson_fit(seed: int) -> None:
    data = drawn(0.0, 0.5, seed)
    fit = cg.random_effects("y ~ x", data, cluster="id", family=NB)
    poisson = cg.random_effects("y ~ x", data, cluster="id", family="poisson")
    assert fit.family_parameters["alpha"] == 0.0
    assert fit.loglik == poisson.loglik
    assert fit.params.equals(poisson.params)
    assert fit.bse.equals(poisson.bse)
    assert fit.sigma == poisson.sigma
    assert fit.n_parameters == poisson.n_parameters + 1
    assert fit.dispersion_lr_test.pvalue == 1.0
    assert np.isnan(fit.cov().loc["alpha", "alpha"])
    assert "The maximum lies at alpha = 0, the Poisson model" in str(fit)
    assert fit.predict(kind="marginal").equals(poisson.predict(kind="marginal"))
    assert fit.random_effects.equals(poisson.random_effects)
    with pytest.raises(ClusterGLMError, match="profile where the maximum lies at alpha = 0"):
        fit.conf_int(method="profile")


def test_without_differences_between_clusters_it_is_the_pooled_fit() -> None:
    data = drawn(0.5, 0.0, 1)
    fit = cg.random_effects("y ~ x", data, cluster="id", family=NB)
    pooled = cg.pooled("y ~ x", data, family=NB)
    assert fit.sigma == 0.0
    assert fit.loglik == pooled.loglik
    assert fit.family_parameters.equals(pooled.family_parameters)
    assert fit.bse.equals(pooled.bse)
    assert np.isnan(fit.sigma_se)
    assert np.isfinite(fit.cov().loc["alpha", "alpha"])


def test_pooled_maximum_has_no_slope() -> None:
    """By a search that shares nothing with Newton's method on these sums."""
    from scipy.optimize import minimize
    from scipy.stats import nbinom

    data = drawn(0.5, 0.3, 2)
    fit = cg.pooled("y ~ x", data, family=NB)

    def loss(theta: np.ndarray) -> float:
        alpha = np.exp(theta[2])
        mean = np.exp(theta[0] + theta[1] * data["x"])
        return -float(nbinom.logpmf(data["y"], 1.0 / alpha, 1.0 / (1.0 + alpha * mean)).sum())

    found = minimize(loss, np.array([0.0, 0.0, 0.0]), method="BFGS", options={"gtol": 1e-7})
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-8)
    assert [*fit.params, np.log(fit.family_parameters["alpha"])] == pytest.approx(found.x, abs=1e-5)


def test_weights_are_repeats_and_offsets_count() -> None:
    data = drawn(0.5, 0.5, 1)
    fit = cg.random_effects("y ~ x", data, cluster="id", family=NB, weights="w", exposure="t")
    repeated = data.loc[data.index.repeat(data["w"])]
    whole = cg.random_effects("y ~ x", repeated, cluster="id", family=NB, exposure="t")
    assert fit.loglik == pytest.approx(whole.loglik, rel=1e-12)
    assert fit.cov().to_numpy() == pytest.approx(whole.cov().to_numpy(), rel=1e-7, abs=1e-10)
    assert fit.deviance == pytest.approx(whole.deviance, rel=1e-10)
    assert (fit.bic, fit.n_obs) == (pytest.approx(whole.bic), whole.n_obs)
    assert len(fit.simulate(1, seed=1)) == len(repeated)
    without = cg.random_effects("y ~ x", data, cluster="id", family=NB)
    assert abs(without.params["(Intercept)"] - fit.params["(Intercept)"]) > 0.3


def test_identical_rows_are_not_added_up() -> None:
    """Rows are no sums: many equal ones have the maximum of as many rows, by weights."""
    once = drawn(0.6, 0.4, 3, m=30, n=4).assign(x=lambda d: (d["x"] > 0).astype(float))
    many = pd.concat([once] * 60)
    fit = cg.pooled("y ~ x", many, family=NB)
    weighed = cg.pooled("y ~ x", once.assign(w=60), family=NB, weights="w")
    assert fit.loglik == pytest.approx(weighed.loglik, rel=1e-11)
    assert fit.family_parameters["alpha"] == pytest.approx(weighed.family_parameters["alpha"], rel=1e-6)


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_robust_covariance_is_the_sandwich_of_differences(verb: str) -> None:
    """Scores are differences of log-likelihoods, by SciPy and a Gauss-Hermite rule that shares no code."""
    from scipy.stats import nbinom

    data = drawn(0.6, 0.6, 5)
    fit = getattr(cg, verb)("y ~ x", data, cluster="id", family=NB)
    random = verb == "random_effects"
    u, w = np.polynomial.hermite_e.hermegauss(60)
    at = np.array([*fit.params, *([fit.sigma] if random else []), fit.family_parameters["alpha"]])

    def logliks(theta: np.ndarray) -> np.ndarray:
        b = theta[2] * u if random else np.zeros(60)
        eta = theta[0] + theta[1] * data["x"].to_numpy()[:, None] + b
        log_p = nbinom.logpmf(data["y"].to_numpy()[:, None], 1.0 / theta[-1], 1.0 / (1.0 + theta[-1] * np.exp(eta)))
        whole = np.add.reduceat(log_p, np.arange(0, len(data), 5), axis=0)
        return np.log(np.exp(whole) @ w / w.sum())

    h = 1e-5
    scores = np.array([(logliks(at + e) - logliks(at - e)) / (2.0 * h) for e in np.eye(len(at)) * h]).T
    A, m = fit.cov().to_numpy(), 40
    assert np.abs(scores.sum(axis=0) * np.sqrt(np.diag(A))).max() < 1e-3
    assert fit.cov("robust").to_numpy() == pytest.approx(A @ (scores.T @ scores) @ A * m / (m - 1), rel=1e-4, abs=1e-7)


def test_robust_covariance_at_the_boundaries_and_by_row() -> None:
    poisson = drawn(0.0, 0.5, 0)
    at_limit = cg.random_effects("y ~ x", poisson, cluster="id", family=NB).cov("robust")
    theirs = cg.random_effects("y ~ x", poisson, cluster="id", family="poisson").cov("robust")
    assert at_limit.iloc[:3, :3].to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-9)
    assert at_limit["alpha"].isna().all()
    alike = drawn(0.5, 0.0, 1)
    at_zero = cg.random_effects("y ~ x", alike, cluster="id", family=NB)
    names = ["(Intercept)", "x", "alpha"]
    pooled = cg.pooled("y ~ x", alike, cluster="id", family=NB).cov("robust")
    assert at_zero.sigma == 0.0
    assert at_zero.cov("robust").loc[names, names].to_numpy() == pytest.approx(pooled.to_numpy(), rel=1e-12)
    alone = cg.pooled("y ~ x", alike.assign(id=range(len(alike))), cluster="id", family=NB).cov("robust")
    assert cg.pooled("y ~ x", alike, family=NB).cov("robust").to_numpy() == pytest.approx(alone.to_numpy(), rel=1e-9)


def test_profile_intervals(salamanders: Any) -> None:
    """An end is where the fit with sigma held there has lost half the quantile; alpha has one too."""
    ends = salamanders.conf_int(method="profile")
    assert list(ends.index[-2:]) == ["sigma", "alpha"]
    low = float(ends.loc["sigma", "low"])
    held = cg.random_effects(
        "count ~ mined + spp", table("salamanders_nbinom2_int"), cluster="site", family=NB, sigma=low, fix_sigma=True
    )
    assert salamanders.loglik - held.loglik == pytest.approx(0.5 * 3.841458820694124, abs=1e-5)
    wald = salamanders.conf_int()
    assert ends.loc["alpha"].to_list() == pytest.approx(wald.loc["alpha"].to_list(), rel=0.02)
    assert not ends.loc["alpha"].equals(wald.loc["alpha"])
    curve = salamanders.profile("alpha", points=5)
    assert curve.loglik.max() == pytest.approx(salamanders.loglik, abs=1e-7)
    assert curve.estimate == salamanders.family_parameters["alpha"]


def test_tables_and_files(salamanders: Any, tmp_path: Path) -> None:
    alpha = salamanders.family_parameters["alpha"]
    row = salamanders.tidy().set_index("term").loc["alpha"]
    assert row["component"] == "response"
    assert row["estimate"] == alpha
    assert salamanders.glance()["alpha"].item() == alpha
    assert list(salamanders.cov(parameters="coefficients").index) == list(salamanders.params.index)
    assert f"{alpha:.5g} (Std. Error" in str(salamanders)
    for fit in (salamanders, salamanders.pooled):
        fit.save(tmp_path / "fit.json")
        again = cg.load(tmp_path / "fit.json")
        assert str(again) == str(fit)
        assert again.predict().equals(fit.predict())
        assert again.simulate(1, seed=3).equals(fit.simulate(1, seed=3))
        assert again.residuals("quantile", seed=3).equals(fit.residuals("quantile", seed=3))


def test_modes_are_where_the_posterior_is_highest(salamanders: Any) -> None:
    from scipy.optimize import minimize_scalar
    from scipy.stats import nbinom, norm

    data, alpha = salamanders.data, float(salamanders.family_parameters["alpha"])
    rows = slice(data.starts[4], data.starts[5])
    eta, y = data.X[rows] @ salamanders.params.to_numpy(), data.a[rows]

    def loss(b: float) -> float:
        size = 1.0 / (1.0 + alpha * np.exp(eta + b))
        return -float(nbinom.logpmf(y, 1.0 / alpha, size).sum() + norm.logpdf(b, scale=salamanders.sigma))

    assert salamanders.random_effects["mode"][4] == pytest.approx(minimize_scalar(loss, tol=1e-12).x, abs=1e-6)
    conditional, typical = salamanders.predict(kind="conditional"), salamanders.predict()
    mode = np.repeat(salamanders.random_effects["mode"].to_numpy(), np.diff(data.starts))[np.argsort(data.row_index)]
    assert (conditional / typical).to_numpy() == pytest.approx(np.exp(mode))
    assert salamanders.predict(kind="marginal").to_numpy() == pytest.approx(
        typical.to_numpy() * np.exp(0.5 * salamanders.sigma**2)
    )


@pytest.mark.parametrize("intercepts", ["conditional", "marginal"])
def test_quantile_residuals_are_normal_where_the_model_holds(intercepts: str) -> None:
    fit = cg.random_effects("y ~ x", drawn(0.8, 0.5, 8, m=300), cluster="id", family=NB)
    found = fit.residuals("quantile", intercepts, seed=1)
    assert abs(found.mean()) < 0.08
    assert found.std() == pytest.approx(1.0, abs=0.06)
    poisson = cg.random_effects("y ~ x", drawn(0.8, 0.5, 8, m=300), cluster="id", family="poisson")
    assert poisson.residuals("quantile", intercepts, seed=1).std() > 1.05


def test_every_other_member_says_why_not(salamanders: Any) -> None:
    from clusterglm.results.models.own import WORK

    for fit in (salamanders, salamanders.pooled):
        for name in dir(fit):
            if name.startswith("_") or name in WORK:
                continue
            with pytest.raises(ClusterGLMError, match="parameters of its own"):
                getattr(fit, name)()


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        ("random_effects", {"distribution": "student_t"}, "the shape of student_t to be estimated"),
        ("random_effects", {"penalty": "soft"}, "penalty='soft' with family"),
        ("random_effects", {"separation": "limit"}, 'separation="limit" with family'),
        ("random_effects", {"link": "logit"}, "link='logit'"),
        ("random_effects", {"formula": "x ~ y"}, "whole numbers from 0 on for family='negative_binomial'"),
        ("pooled", {"penalty": "firth"}, "penalty='firth' with family"),
        ("fixed_effects", {"penalty": "firth"}, "penalty='firth' with family"),
        ("conditional", {}, "which has parameters of its own"),
        ("select_distribution", {"n_boot": 9}, "n_boot=9 with family"),
    ],
)
def test_what_there_is_not(verb: str, given: dict[str, Any], words: str) -> None:
    asked = {"formula": "y ~ x", **given}
    cluster = {} if "|" in asked["formula"] else {"cluster": "id"}
    with pytest.raises(ClusterGLMError, match=words.replace("(", r"\(").replace("|", r"\|")):
        getattr(cg, verb)(data=drawn(0.5, 0.5, 1), family=NB, **cluster, **asked)


def test_unknown_families_are_told_all() -> None:
    with pytest.raises(ClusterGLMError, match="negative_binomial"):
        cg.pooled("y ~ x", drawn(0.5, 0.5, 1), family="negbin")


def test_one_huge_count_among_zeros_is_fitted() -> None:
    """Against the root of the score in r = 1 / alpha, at the mean that is the maximum for any alpha."""
    from scipy.optimize import brentq
    from scipy.special import digamma

    y = np.array([0] * 99 + [10**6])
    fit = cg.pooled("y ~ 1", pd.DataFrame({"y": y}), family=NB)

    def score(psi: float) -> float:
        r = np.exp(-psi)
        return float((digamma(y + r) - digamma(r) + np.log(r / (r + y.mean())) + 1.0 - (r + y) / (r + y.mean())).sum())

    assert fit.converged
    assert np.log(fit.family_parameters["alpha"]) == pytest.approx(brentq(score, 4.0, 10.0, xtol=1e-12), abs=1e-5)
    assert fit.params["(Intercept)"] == pytest.approx(np.log(y.mean()), abs=1e-6)


def test_a_parameter_without_a_maximum_is_refused() -> None:
    from clusterglm.fit.own import refuse_boundless

    response = with_own(NB)
    assert response is not None
    refuse_boundless(response, np.array([10.0]))
    with pytest.raises(ResponseError, match="alpha grew to 1e"):
        refuse_boundless(response, np.array([20.0]))


def test_nested_models_are_tested_by_the_likelihood_ratio(salamanders: Any) -> None:
    smaller = cg.random_effects("count ~ mined", table("salamanders_nbinom2_int"), cluster="site", family=NB)
    first, second = cg.compare(smaller, salamanders, salamanders.pooled).tests
    assert first.statistic == pytest.approx(2.0 * (salamanders.loglik - smaller.loglik))
    assert (first.df, first.boundary) == (6, False)
    assert (second.df, second.boundary) == (1, True)
    poisson = drawn(0.0, 0.5, 0)
    fits = [cg.random_effects(f"y ~ {terms}", poisson, cluster="id", family=NB) for terms in ("1", "x")]
    assert "end of its range" in str(cg.compare(*fits))


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_bootstrap_of_all_parameters(verb: str) -> None:
    fit = getattr(cg, verb)("y ~ x", drawn(0.6, 0.6, 5), cluster="id", family=NB)
    found = fit.bootstrap(12, seed=3)
    names = ["(Intercept)", "x", *(["sigma"] if verb == "random_effects" else []), "alpha"]
    assert list(found.names) == names
    assert found.failures == ()
    assert np.abs(found.bias / np.sqrt(np.diag(fit.cov()))).max() < 1.5
    assert found.std_error == pytest.approx(np.sqrt(np.diag(fit.cov())), rel=0.8)
    assert np.array_equal(fit.bootstrap(12, seed=3, n_jobs=2).replicates, found.replicates)
    # without dispersion about half the replicates have alpha = 0, by log-likelihoods with all constants
    poisson = getattr(cg, verb)("y ~ x", drawn(0.0, 0.5 * (verb != "pooled"), 0), cluster="id", family=NB)
    zero = poisson.bootstrap(12, seed=3).replicates[:, -1] == 0.0
    assert 2 <= zero.sum() <= 11


def test_average_effects_are_of_the_mean(salamanders: Any) -> None:
    """The mean is that of a Poisson model with these coefficients: only their covariance is another."""
    data = drawn(0.6, 0.6, 5)
    fit = cg.random_effects("y ~ x", data, cluster="id", family=NB)
    eta, beta, sigma = fit.predict(scale="link").to_numpy(), fit.params["x"], fit.sigma
    for kind, factor in (("typical", 1.0), ("marginal", np.exp(0.5 * sigma**2))):
        found = fit.average_effects(kind=kind).iloc[0]
        assert found["estimate"] == pytest.approx(beta * np.exp(eta).mean() * factor, rel=1e-9)
        x, mean = data["x"].to_numpy(), np.exp(eta) * factor
        gradient = [beta * mean.mean(), mean.mean() + beta * (x * mean).mean()]
        gradient += [0.0 if kind == "typical" else sigma * found["estimate"]]
        V = fit.cov().iloc[:3, :3].to_numpy()
        assert found["std_error"] == pytest.approx(np.sqrt(gradient @ V @ gradient), rel=1e-7)
    pooled = cg.pooled("y ~ x", data, family=NB)
    assert pooled.average_effects().iloc[0]["estimate"] == pytest.approx(pooled.params["x"] * pooled.predict().mean())


def test_compare_has_no_test_but_criteria(salamanders: Any) -> None:
    poisson = cg.random_effects(
        "count ~ mined + spp", table("salamanders_nbinom2_int"), cluster="site", family="poisson"
    )
    words = " ".join(str(cg.compare(salamanders, poisson)).split())
    assert "no test, family or link differ" in words
    assert "negative_binomial" in words


def test_plots_draw_what_is_known_and_refuse_the_rest(salamanders: Any) -> None:
    drawn_ones = (
        "coefficients",
        "profile",
        "caterpillar",
        "rootogram",
        "influence",
        "calibration",
        "qq",
        "integration",
    )
    for name in drawn_ones:
        assert getattr(salamanders.plot, name)() is not None
    with pytest.raises(ClusterGLMError, match="parameters of its own"):
        salamanders.plot.gradient()


@pytest.mark.parametrize("distribution", ["logistic", "cauchy", "student_t(4)"])
def test_other_distributions_of_the_intercept(distribution: str) -> None:
    """The log-likelihood is that of a dense rule over the intercept, cluster by cluster."""
    from scipy import stats

    data = drawn(0.5, 0.6, 4, m=12)
    fit = cg.random_effects("y ~ x", data, cluster="id", family=NB, distribution=distribution)
    alpha, sigma = float(fit.family_parameters["alpha"]), fit.sigma
    assert sigma > 0.05
    density = {"logistic": stats.logistic, "cauchy": stats.cauchy, "student_t(4)": stats.t(4)}[distribution]
    u = np.linspace(-1.0, 1.0, 40_001)[1:-1]
    b, jacobian = u / (1.0 - u**2), (1.0 + u**2) / (1.0 - u**2) ** 2
    total = 0.0
    for _, rows in data.groupby("id"):
        eta = fit.params["(Intercept)"] + fit.params["x"] * rows["x"].to_numpy()
        log_p = np.zeros_like(b)
        for at, y in zip(eta, rows["y"].to_numpy(), strict=True):
            scaled = np.logaddexp(0.0, at + b + np.log(alpha))
            constant = stats.nbinom.logpmf(y, 1.0 / alpha, 1.0 / (1.0 + alpha)) + (y + 1.0 / alpha) * np.log1p(alpha)
            log_p += y * (at + b) - (y + 1.0 / alpha) * scaled + constant
        total += np.log(np.sum(np.exp(log_p) * density.pdf(b / sigma) / sigma * jacobian) * (u[1] - u[0]))
    assert fit.loglik == pytest.approx(total, abs=1e-5)


def test_report_and_command_line(salamanders: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from clusterglm.cli import app

    page = salamanders.report(tmp_path / "r.html").read_text()
    assert "alpha" in page
    assert "whose response has parameters of its own" not in page
    path = tmp_path / "s.csv"
    table("salamanders_nbinom2_int").to_csv(path, index=False)
    found = CliRunner().invoke(app, ["fit", str(path), "count ~ mined + spp", "--cluster", "site", "--family", NB])
    assert found.exit_code == 0, found.output
    assert "alpha:" in found.output
