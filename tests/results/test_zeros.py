"""Zero-inflated counts: exact maxima, other programs' numbers, limits, what follows a fit, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import nbinom, norm, poisson

import clusterglm as cg
from clusterglm.errors import (
    ClusterGLMError,
    FormulaError,
    OptionError,
    PredictionWarning,
    ResponseError,
    SeparationError,
)

GOLDEN = Path(__file__).parents[1] / "golden"
KNOWN: dict[str, Any] = json.loads((GOLDEN / "zero_inflated.json").read_text())
GLMMTMB = {record["call"]: record for record in KNOWN["glmmTMB"]}
POISSON, NB = "poisson", "negative_binomial"


def drawn(pi: float, alpha: float = 0.0, sigma: float = 0.0, seed: int = 1, m: int = 60, n: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    mean = np.exp(0.9 + 0.5 * x + sigma * rng.normal(size=m)[cluster])
    y = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, m * n) if alpha > 0.0 else 1.0))
    y = np.where(rng.random(m * n) < pi, 0, y)
    return pd.DataFrame(
        {"y": y, "x": x, "z": rng.normal(size=m * n), "id": cluster, "w": rng.integers(1, 4, m * n), "t": x * 0.1}
    )


def log_probability(y: Any, mu: Any, pi: Any, alpha: float = 0.0) -> Any:
    """By scipy's distributions."""
    pmf = poisson(mu).pmf(y) if alpha == 0.0 else nbinom(1.0 / alpha, 1.0 / (1.0 + alpha * mu)).pmf(y)
    with np.errstate(divide="ignore"):
        return np.log(np.where(y == 0, pi, 0.0) + (1.0 - pi) * pmf)


@pytest.fixture(scope="module")
def salamanders() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "data" / "salamanders.csv")


@pytest.fixture(scope="module")
def mined(salamanders: pd.DataFrame) -> Any:
    return cg.random_effects(
        "count ~ mined + spp", salamanders, cluster="site", family=POISSON, zero_inflation="~ mined"
    )


@pytest.fixture(scope="module")
def pooled_nb() -> Any:
    return cg.pooled("y ~ x", drawn(0.3, 0.5), family=NB, zero_inflation="~ z")


def test_exact_maximum(salamanders: pd.DataFrame) -> None:
    """Of the exactly integrated likelihood, by other code."""
    exact = KNOWN["exact"]
    fit = cg.random_effects("count ~ mined + spp", salamanders, cluster="site", family=POISSON, zero_inflation="~ 1")
    assert fit.loglik == pytest.approx(exact["logLik"], abs=1e-7)
    assert (fit.n_obs, fit.n_clusters) == (exact["n"], exact["n_clusters"])
    errors = np.array([*exact["se"].values()])
    ours = np.array([*fit.params[:-1], fit.sigma, fit.params["zero: (Intercept)"]])
    assert (np.abs(ours - np.array([*exact["parameters"].values()])) / errors).max() < 1e-5
    assert np.sqrt(np.diag(fit.cov())) == pytest.approx(errors, rel=1e-5)
    assert 0.0 <= fit.quadrature.error < 1e-6


@pytest.mark.parametrize(
    ("family", "theirs", "right"),
    [(POISSON, "poisson", "~ 1"), (POISSON, "poisson", "~ mined"), (NB, "nbinom2", "~ mined")],
)
def test_laplace_is_glmmtmbs(salamanders: pd.DataFrame, family: str, theirs: str, right: str) -> None:
    call = f"glmmTMB(count ~ mined + spp + (1 | site), data = d, family = {theirs}, ziformula = {right})"
    known = GLMMTMB[call]
    fit = cg.random_effects(
        "count ~ mined + spp", salamanders, cluster="site", family=family, zero_inflation=right, quadrature="laplace"
    )
    assert fit.loglik == pytest.approx(known["logLik"], abs=1e-6)
    assert fit.loglik >= known["logLik"]
    their = np.array([*known["coef"].values(), *known["zi_coef"].values()])
    assert (np.abs(fit.params.to_numpy() - their) / fit.bse.to_numpy()).max() < 2e-4  # where theirs stopped
    assert fit.bse.to_numpy()[: len(known["se"])] == pytest.approx([*known["se"].values()], rel=2e-3)
    assert np.log(fit.sigma) == pytest.approx(known["theta_working"][0], abs=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_pooled_maxima_are_those_of_a_general_optimiser(alpha: float) -> None:
    data = drawn(0.35, alpha, seed=3)
    fit = cg.pooled("y ~ x", data, family=NB if alpha else POISSON, zero_inflation="~ z")
    y, x, z = (data[name].to_numpy() for name in ("y", "x", "z"))

    def minus(theta: Any) -> float:
        dispersion = float(np.exp(theta[4])) if alpha else 0.0
        each = log_probability(y, np.exp(theta[0] + theta[1] * x), expit(theta[2] + theta[3] * z), dispersion)
        return -float(each.sum()) if np.isfinite(each).all() else 1e6

    found = minimize(minus, [0.5, 0.2, -0.5, 0.0, *([np.log(0.3)] if alpha else [])], method="BFGS", tol=1e-9)
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-7)
    assert fit.params.to_numpy() == pytest.approx(found.x[:4], abs=2e-5)
    h, at = 1e-3, found.x
    steps = np.eye(len(at)) * h
    corners = [
        [minus(at + a + b) - minus(at + a - b) - minus(at - a + b) + minus(at - a - b) for a in steps] for b in steps
    ]
    information = np.array(corners) / (4.0 * h * h)
    assert fit.bse.to_numpy() == pytest.approx(np.sqrt(np.diag(np.linalg.inv(information)))[:4], rel=1e-4)
    if alpha:
        assert fit.family_parameters["alpha"] == pytest.approx(np.exp(found.x[4]), rel=2e-5)


def test_the_log_likelihood_of_random_intercepts_is_the_integral(mined: Any, salamanders: pd.DataFrame) -> None:
    u = np.linspace(-9.0, 9.0, 2001)
    eta = mined.predict(scale="link").to_numpy()
    pi, y = mined.predict(scale="excess").to_numpy(), salamanders["count"].to_numpy()
    each = log_probability(y[:, None], np.exp(eta[:, None] + mined.sigma * u), pi[:, None])
    total = 0.0
    for site in salamanders["site"].unique():
        inside = each[(salamanders["site"] == site).to_numpy()].sum(axis=0) + norm.logpdf(u)
        total += float(np.logaddexp.reduce(inside) + np.log(u[1] - u[0]))
    assert mined.loglik == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize(("level", "sigma", "pi"), [(3.0, 1.5, 0.5), (5.0, 2.5, 0.7), (1.0, 3.0, 0.4)])
def test_fits_of_clusters_with_several_modes(level: float, sigma: float, pi: float) -> None:
    """Large means: zeros are for certain, or the cluster's mean is small. From any start, and against a dense sum."""
    rng, m, n = np.random.default_rng(2), 60, 4
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    counts = rng.poisson(np.exp(level + 0.4 * x + sigma * rng.normal(size=m)[cluster]))
    data = pd.DataFrame({"y": np.where(rng.random(m * n) < pi, 0, counts), "x": x, "id": cluster})
    fit, other = (
        cg.random_effects("y ~ x", data, cluster="id", family=POISSON, zero_inflation="~ 1", sigma=start)
        for start in (None, 0.4)
    )
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-7)
    u = np.linspace(-9.5, 9.5, 20_001)
    eta, certain, y = fit.predict(scale="link").to_numpy(), fit.predict(scale="excess").to_numpy(), data["y"].to_numpy()
    each = log_probability(y[:, None], np.exp(eta[:, None] + fit.sigma * u), certain[:, None])
    logs = np.add.reduceat(each, np.arange(0, m * n, n), axis=0) + norm.logpdf(u)
    exact = float((np.logaddexp.reduce(logs, axis=1) + np.log(u[1] - u[0])).sum())
    assert fit.loglik == pytest.approx(exact, abs=1e-7)
    assert fit.quadrature.error < 1e-6


# Ends of ranges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [POISSON, NB])
def test_without_more_zeros_it_is_the_plain_model(family: str) -> None:
    data = drawn(0.0, 0.5 if family == NB else 0.0, 0.4, seed=5)
    data = data[data["y"] > 0].assign(one=1)
    data.loc[data.index[:3], "y"] = 0  # fewer zeros than any such counts have
    for verb, more in ((cg.pooled, {}), (cg.random_effects, {"cluster": "id"})):
        plain: Any = verb("y ~ x", data, family=family, **more)
        fit: Any = verb("y ~ x", data, family=family, zero_inflation="~ 1", **more)
        assert fit.loglik == plain.loglik
        assert fit.params[:-1].to_numpy() == pytest.approx(plain.params.to_numpy(), rel=1e-12)
        assert fit.bse[:-1].to_numpy() == pytest.approx(plain.bse.to_numpy(), rel=1e-12)
        assert fit.params["zero: (Intercept)"] == -np.inf
        assert np.isnan(fit.bse["zero: (Intercept)"])
        assert fit.zero_inflation_lr_test.statistic == 0.0
        assert fit.predict().to_numpy() == pytest.approx(plain.predict().to_numpy(), rel=1e-9)
        text = " ".join(str(fit).split())
        assert "no zero is one for certain" in text
        with pytest.raises(OptionError, match="P\\(a zero for certain\\)"):
            fit.conf_int(method="profile")


def test_no_inflation_is_tested_against_the_same_counts_without_it() -> None:
    """Where alpha = 0 is the maximum with inflation, and where sigma = 0 is, counts without it have their own."""
    data = drawn(0.35, seed=3)
    for ask in (
        lambda **given: cg.pooled("y ~ x", data, family=NB, **given),
        lambda **given: cg.random_effects("y ~ x", data, cluster="id", family=NB, **given),
    ):
        fit, plain = ask(zero_inflation="~ z"), ask()
        assert fit.family_parameters["alpha"] == 0.0
        assert plain.family_parameters["alpha"] > 0.1
        assert fit.zero_inflation_lr_test.statistic == pytest.approx(2.0 * (fit.loglik - plain.loglik), abs=1e-6)
    rng, by_cluster = np.random.default_rng(2), np.repeat(np.arange(60) % 2, 6)
    data = drawn(0.0, seed=2).assign(z=by_cluster)
    data["y"] = np.where(rng.random(len(data)) < 0.1 + 0.6 * by_cluster, 0, data["y"])
    fit, plain = (
        cg.random_effects("y ~ x", data, cluster="id", family=POISSON, **given)
        for given in ({"zero_inflation": "~ z"}, {})
    )
    assert fit.sigma == 0.0
    assert plain.sigma > 0.2
    assert fit.zero_inflation_lr_test.statistic == pytest.approx(2.0 * (fit.loglik - plain.loglik), abs=1e-6)


def test_inflation_is_tested_at_its_boundary() -> None:
    data = drawn(0.08, seed=8)
    fit, plain = (cg.pooled("y ~ x", data, family=POISSON, zero_inflation=right) for right in ("~ 1", None))
    test = fit.zero_inflation_lr_test
    assert test.statistic == pytest.approx(2.0 * (fit.loglik - plain.loglik), abs=1e-8)
    from scipy.stats import chi2

    assert test.pvalue == pytest.approx(0.5 * chi2.sf(test.statistic, 1), rel=1e-9)
    wider = cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ z").zero_inflation_lr_test
    assert np.isnan(wider.pvalue)
    assert "not known" in str(wider)


def test_poisson_counts_with_certain_zeros_have_no_dispersion() -> None:
    data = drawn(0.4, 0.0, seed=21)
    poisson_fit = cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ 1")
    fit = cg.pooled("y ~ x", data, family=NB, zero_inflation="~ 1")
    if fit.family_parameters["alpha"] == 0.0:
        assert fit.loglik == poisson_fit.loglik
        assert "alpha = 0" in str(fit)
    else:
        assert fit.loglik > poisson_fit.loglik
    assert fit.dispersion_lr_test.statistic == pytest.approx(
        max(0.0, 2.0 * (fit.loglik - poisson_fit.loglik)), abs=1e-7
    )


def test_likelihood_ratios_of_the_counts_formula() -> None:
    """Ordinary ones, of terms of zeros too; without inflation there is no test."""
    data = drawn(0.3, seed=41)
    small, large = (cg.pooled(f"y ~ {right}", data, family=POISSON, zero_inflation="~ z") for right in ("1", "x"))
    (test,) = cg.compare(small, large).tests
    assert test.statistic == pytest.approx(2.0 * (large.loglik - small.loglik))
    assert test.df == 1
    constant = cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ 1")
    (test,) = cg.compare(constant, large).tests
    assert test.statistic == pytest.approx(2.0 * (large.loglik - constant.loglik))
    assert test.df == 1
    (test,) = cg.compare(constant, small).tests
    assert "neither is a special case" in test.reason
    (test,) = cg.compare(cg.pooled("y ~ x", data, family=POISSON), large).tests
    assert np.isnan(test.statistic)
    assert "differ" in test.reason


def test_an_intercept_that_does_not_vary() -> None:
    data = drawn(0.3, 0.0, 0.0, seed=13, m=40, n=5)
    fit, pooled = (
        cg.random_effects("y ~ x", data, cluster="id", family=POISSON, zero_inflation="~ z"),
        cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ z"),
    )
    assert fit.loglik >= pooled.loglik - 1e-9
    held = cg.random_effects(
        "y ~ x", data, cluster="id", family=POISSON, zero_inflation="~ z", sigma=0.0, fix_sigma=True
    )
    assert held.loglik == pytest.approx(pooled.loglik, abs=1e-10)
    assert held.params.to_numpy() == pytest.approx(pooled.params.to_numpy())
    assert held.pooled.loglik == pooled.loglik


# What follows a fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fitted", ["mined", "pooled_nb"])
def test_intervals_by_profiles_and_robust_ones(fitted: str, request: pytest.FixtureRequest) -> None:
    fit = request.getfixturevalue(fitted)
    names = [*fit.data.names, *(["sigma"] if fitted == "mined" else ["alpha"])]
    names += [name for name in fit.params.index if name.startswith("zero: ")]
    for found in (fit.conf_int(), fit.conf_int(method="profile"), fit.conf_int(cov="robust")):
        assert list(found.index) == names
        estimates = {**fit.params, **fit.family_parameters, "sigma": getattr(fit, "sigma", 0.0)}
        assert all(found.loc[name, "low"] < estimates[name] < found.loc[name, "high"] for name in names)
    assert fit.cov(parameters="all").shape == (len(names), len(names))
    assert list(fit.cov(parameters="coefficients")) == list(fit.data.names)
    curve = fit.profile(names[-1], to=2.0, points=5)
    assert curve.loglik.max() == pytest.approx(fit.loglik, abs=1e-7)


def test_scores_of_clusters_add_up_to_nothing(mined: Any, pooled_nb: Any) -> None:
    for fit in (mined, pooled_nb):
        scores, _ = fit._free_scores()
        assert np.abs(scores.sum(axis=0)).max() < 1e-4
        assert np.abs(scores).max() > 0.1


def test_robust_errors_hold_rows_repeated() -> None:
    """Scores in all parameters, alpha among them: an information that is the mean of outer products, about."""
    fit = cg.pooled("y ~ x", drawn(0.3, 0.5, seed=11, m=800), family=NB, zero_inflation="~ z")
    ratio = np.sqrt(np.diag(fit.cov("robust")) / np.diag(fit.cov()))
    assert ratio == pytest.approx(np.ones(len(ratio)), abs=0.15)


@pytest.mark.parametrize("kind", ["typical", "marginal", "conditional"])
def test_predictions_are_the_models(mined: Any, salamanders: pd.DataFrame, kind: str) -> None:
    mean, count, zero, excess = (mined.predict(kind=kind, scale=s) for s in ("response", "count", "zero", "excess"))
    assert mean.to_numpy() == pytest.approx(((1.0 - excess) * count).to_numpy(), rel=1e-10)
    eta = mined.predict(scale="link").to_numpy()
    if kind == "typical":
        assert count.to_numpy() == pytest.approx(np.exp(eta), rel=1e-12)
        assert zero.to_numpy() == pytest.approx((excess + (1.0 - excess) * np.exp(-count)).to_numpy(), rel=1e-10)
    if kind == "marginal":
        assert count.to_numpy() == pytest.approx(np.exp(eta + 0.5 * mined.sigma**2), rel=1e-10)
        u = np.linspace(-8.0, 8.0, 4001)
        none = (np.exp(-np.exp(eta[:, None] + mined.sigma * u)) * norm.pdf(u)).sum(axis=1) * (u[1] - u[0])
        assert zero.to_numpy() == pytest.approx((excess + (1.0 - excess) * none).to_numpy(), rel=1e-8)
    if kind == "conditional":
        modes = dict(zip(mined.random_effects["label"], mined.random_effects["mode"], strict=True))
        assert np.log(count).to_numpy() == pytest.approx(eta + salamanders["site"].map(modes).to_numpy(), rel=1e-9)


@pytest.mark.parametrize("scale", ["response", "count", "zero", "excess"])
def test_standard_errors_of_predictions_are_the_delta_methods(pooled_nb: Any, scale: str) -> None:
    rows = pd.DataFrame({"x": [0.3, -1.0], "z": [0.2, 1.5]})
    table = pooled_nb.predict(rows, scale=scale, level=0.95)
    assert table["estimate"].to_numpy() == pytest.approx(pooled_nb.predict(rows, scale=scale).to_numpy())

    def value(theta: Any) -> Any:
        mu, pi, r = np.exp(theta[0] + theta[1] * rows["x"]), expit(theta[3] + theta[4] * rows["z"]), 1.0 / theta[2]
        none = pi + (1.0 - pi) * (1.0 + mu / r) ** -r
        return {"response": (1.0 - pi) * mu, "count": mu, "zero": none, "excess": pi}[scale].to_numpy()

    theta = np.concatenate([pooled_nb.params[:2], pooled_nb.family_parameters, pooled_nb.params[2:]])
    steps = np.eye(5) * 1e-5
    gradient = np.array([(value(theta + h) - value(theta - h)) / 2e-5 for h in steps])
    variance = np.einsum("ki,kl,li->i", gradient, pooled_nb.cov().to_numpy(), gradient)
    assert table["std_error"].to_numpy() == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert ((table["low"] < table["estimate"]) & (table["estimate"] < table["high"])).all()


def test_new_rows_say_what_they_lack(mined: Any) -> None:
    rows = pd.DataFrame({"mined": ["yes", None, "never"], "spp": ["GP", "GP", "GP"]})
    with pytest.warns(PredictionWarning, match="2 of 3 rows"):
        found = mined.predict(rows)
    assert found.notna().to_list() == [True, False, False]
    assert mined.predict(rows, level=0.9)["status"].to_list()[0] == "ok"


def test_draws_have_the_fits_zeros_and_means(pooled_nb: Any) -> None:
    many = pooled_nb.simulate(400, seed=2)
    assert (many == 0).to_numpy().mean() == pytest.approx(pooled_nb.predict(scale="zero").mean(), abs=0.004)
    assert many.to_numpy().mean() == pytest.approx(pooled_nb.predict().mean(), rel=0.01)
    assert pooled_nb.simulate(2, seed=5).equals(pooled_nb.simulate(2, seed=5))


def test_residuals_are_normal_if_the_model_holds(mined: Any, pooled_nb: Any) -> None:
    z = pooled_nb.residuals("quantile", seed=1)
    assert abs(z.mean()) < 0.15
    assert z.std() == pytest.approx(1.0, abs=0.1)
    for kind in ("response", "pearson", "simulated"):
        assert pooled_nb.residuals(kind, seed=1, n_sim=40).notna().all()
    assert pooled_nb.residuals("pearson").var() == pytest.approx(1.0, abs=0.25)
    assert mined.residuals("quantile", "marginal", seed=3).std() == pytest.approx(1.05, abs=0.1)
    with pytest.raises(OptionError, match="deviance"):
        mined.residuals("deviance")


def test_zeros_that_are_left_are_tested_against_the_fitted_model(salamanders: pd.DataFrame, mined: Any) -> None:
    test = mined.zero_inflation_test(60, seed=4)
    assert 0.9 < test.ratio < 1.1
    plain = cg.random_effects("count ~ mined + spp", salamanders, cluster="site", family=POISSON)
    assert plain.zero_inflation_test(60, seed=4).ratio > test.ratio + 0.1


def test_tables(mined: Any, pooled_nb: Any) -> None:
    table = mined.tidy().set_index("term")
    assert list(table["component"].unique()) == ["coefficient", "random_intercept", "zero"]
    row = table.loc["zero: minedyes"]
    assert row["z"] == pytest.approx(row["estimate"] / row["std_error"])
    assert row["pvalue"] < 1e-6
    odds = mined.tidy(exponentiate=True).set_index("term").loc["zero: minedyes", "estimate"]
    assert odds == pytest.approx(np.exp(row["estimate"]))
    glance = pooled_nb.glance().iloc[0]
    assert (glance["family"], glance["zero_inflation"]) == (NB, "~ z")
    assert glance["alpha"] == pooled_nb.family_parameters["alpha"]
    text = str(mined)
    assert text.index("Counts (log of the mean):") < text.index("Zeros (log odds of a zero for certain):")
    assert "Zeros (log odds" in mined._repr_html_()
    shown = str(cg.compare(mined, mined.pooled))
    assert "zero-inflated poisson" in shown
    assert mined.n_parameters == 11
    assert pooled_nb.n_parameters == 5


@pytest.mark.parametrize("fitted", ["mined", "pooled_nb"])
def test_saved_and_loaded(fitted: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    fit = request.getfixturevalue(fitted)
    fit.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fit)
    assert again.predict(scale="zero").equals(fit.predict(scale="zero"))
    assert again.simulate(1, seed=1).equals(fit.simulate(1, seed=1))
    assert again.conf_int(cov="robust").equals(fit.conf_int(cov="robust"))


def test_the_bootstrap_fits_both_predictors_again() -> None:
    fit = cg.pooled("y ~ x", drawn(0.35, seed=9), family=POISSON, zero_inflation="~ 1")
    found = fit.bootstrap(40, seed=1)
    assert found.std_error == pytest.approx(np.sqrt(np.diag(fit.cov())), rel=0.5)


# Data ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [POISSON, NB])
def test_whole_weights_are_repeats(family: str) -> None:
    data = drawn(0.3, 0.4, 0.5, seed=17, m=25, n=4)
    repeated = data.loc[data.index.repeat(data["w"])]
    for verb, more in ((cg.pooled, {}), (cg.random_effects, {"cluster": "id"})):
        fit: Any = verb("y ~ x", data, family=family, weights="w", zero_inflation="~ z", **more)
        long: Any = verb("y ~ x", repeated, family=family, zero_inflation="~ z", **more)
        assert fit.loglik == pytest.approx(long.loglik, abs=1e-8)
        assert fit.params.to_numpy() == pytest.approx(long.params.to_numpy(), abs=1e-5)
        assert fit.n_obs == long.n_obs
        assert len(fit.simulate(1, seed=1)) == long.n_obs


def test_fractions_of_weights() -> None:
    data = drawn(0.3, 0.4, seed=17, m=25, n=4).assign(half=lambda d: d["w"] / 2.0)
    half = cg.pooled("y ~ x", data, family=POISSON, weights="half", zero_inflation="~ z")
    whole = cg.pooled("y ~ x", data, family=POISSON, weights="w", zero_inflation="~ z")
    assert half.loglik == pytest.approx(0.5 * whole.loglik, rel=1e-10)
    with pytest.raises(OptionError, match="whole numbers"):
        cg.pooled("y ~ x", data, family=NB, weights="half", zero_inflation="~ z")


def test_offsets_row_order_and_missing_covariates_of_zeros() -> None:
    data = drawn(0.3, 0.0, 0.4, seed=23)
    data.loc[[5, 17], "z"] = np.nan
    data.loc[40, "x"] = np.nan
    fit = cg.random_effects("y ~ x", data, cluster="id", family=POISSON, zero_inflation="~ z", offset="t")
    assert fit.n_obs == len(data) - 3
    assert any("2 rows without covariates of zero_inflation=" in note for note in fit.data.notes)
    shuffled = data.sample(frac=1.0, random_state=1)
    other = cg.random_effects("y ~ x + offset(t)", shuffled, cluster="id", family=POISSON, zero_inflation="~ z")
    assert other.loglik == pytest.approx(fit.loglik, abs=1e-9)
    assert other.params.to_numpy() == pytest.approx(fit.params.to_numpy(), abs=1e-7)


def test_columns_in_any_unit() -> None:
    data = drawn(0.3, seed=29).assign(year=lambda d: 2000.0 + 10.0 * d["z"])
    far = cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ year")
    near = cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ z")
    assert far.loglik == pytest.approx(near.loglik, abs=1e-9)
    assert far.params["zero: year"] == pytest.approx(near.params["zero: z"] / 10.0, rel=1e-6)


def refused(match: str, kind: type[ClusterGLMError] = ClusterGLMError, **arguments: Any) -> None:
    data = arguments.pop("data", drawn(0.3, seed=31, m=10))
    verb = arguments.pop("verb", cg.pooled)
    with pytest.raises(kind, match=match):
        verb(arguments.pop("formula", "y ~ x"), data, **{"family": POISSON, "zero_inflation": "~ 1", **arguments})


def test_what_is_refused_is_named() -> None:
    data = drawn(0.3, seed=31, m=10)
    refused("no zero among", ResponseError, data=data.assign(y=data["y"] + 1))
    refused("family='binomial'", OptionError, data=data.assign(y=(data["y"] > 0) * 1), family="binomial")
    refused("family='gaussian'", OptionError, family="gaussian")
    refused("random terms", FormulaError, zero_inflation="~ (1 | id)")
    refused("an offset", FormulaError, zero_inflation="~ x + offset(t)")
    refused("begins with ~", FormulaError, zero_inflation="y ~ x")
    refused("at once", OptionError, hurdle="~ 1")
    refused("unknown|nothere", zero_inflation="~ nothere")
    refused("firth", OptionError, penalty="firth")
    refused("separation", OptionError, separation="limit")
    refused("cauchy", OptionError, verb=cg.random_effects, cluster="id", distribution="cauchy")


def test_covariates_that_tell_zeros_apart_are_named() -> None:
    data = drawn(0.4, seed=37)
    data["group"] = np.where(data["id"] % 2 == 0, "some", "none")
    data = data[(data["group"] == "some") | (data["y"] > 0)]
    with pytest.raises(SeparationError, match="group"):
        cg.pooled("y ~ x", data, family=POISSON, zero_inflation="~ group")


def test_members_that_do_not_work_refuse_in_words(mined: Any) -> None:
    for name in ("r2", "hausman", "to_marginaleffects"):
        found = getattr(mined, name)
        with pytest.raises(OptionError, match=name):
            found()
