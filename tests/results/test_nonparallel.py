"""Coefficients that differ between thresholds: published figures, other code's maxima, and what follows a fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, PredictionWarning
from clusterglm.fit.own_rows import OwnMarginal, OwnRows, standardised
from clusterglm.likelihood.plan import Part
from clusterglm.likelihood.registry import integrator_for
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.control import Control
from clusterglm.model.distribution import Gaussian

FORMULA = "rating ~ temp + contact"
OPTIONS: dict[str, Any] = {"family": "ordinal", "nonparallel": "contact"}


def wine() -> pd.DataFrame:
    return cg.datasets.load("wine")


def patients(seed: int = 5, m: int = 60, n: int = 6) -> pd.DataFrame:
    """Ratings in four categories, x with another effect at each threshold, in units far from 1."""
    rng = np.random.default_rng(seed)
    cluster, z = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    x, slopes = rng.uniform(-1.7, 1.7, m * n), np.array([0.3, 0.6, 0.9])
    eta = 0.5 * z + rng.normal(size=m)[cluster]
    y = (rng.logistic(size=m * n)[:, None] + eta[:, None] > [-1.2, 0.4, 2.0] - x[:, None] * slopes).sum(axis=1)
    kind = pd.CategoricalDtype(["bad", "fair", "good", "fine"], ordered=True)
    level = pd.Categorical.from_codes(y, dtype=kind)
    return pd.DataFrame({"y": level, "x": 100.0 + 20.0 * x, "z": z, "id": cluster, "item": np.tile(np.arange(n), m)})


@pytest.fixture(scope="module")
def fit() -> Any:
    return cg.random_effects(FORMULA, wine(), cluster="judge", **OPTIONS)


@pytest.fixture(scope="module")
def pooled() -> Any:
    return cg.pooled(FORMULA, wine(), **OPTIONS)


def loglik_by_definition(theta: np.ndarray, nodes: int = 61, reach: float = 8.0) -> float:
    """Of the wine ratings, in (temp, sigma, thresholds, coefficients of contact), by a trapezoid rule."""
    table = wine()
    warm, contact = (np.asarray(table["temp"] == "warm", float), np.asarray(table["contact"] == "yes", float))
    y, judge = table["rating"].astype(int).to_numpy() - 1, pd.factorize(table["judge"])[0]
    u = np.linspace(-reach, reach, nodes)
    w = np.exp(-0.5 * u * u) / np.sqrt(2.0 * np.pi) * (u[1] - u[0])
    cuts = theta[2:6] - contact[:, None] * theta[6:]
    below = expit(cuts[:, :, None] - (theta[0] * warm)[:, None, None] - theta[1] * u)
    p = np.diff(below, axis=1, prepend=0.0, append=1.0)[np.arange(len(y)), y]
    if (p <= 0.0).any():
        return -1e10
    each = np.array([np.log(p)[judge == j].sum(axis=0) for j in range(judge.max() + 1)])
    return float(np.log(np.exp(each) @ w).sum())


# The maximum ----------------------------------------------------------------------------------------------------------


def test_published_figures(pooled: Any) -> None:
    """What clm(rating ~ temp, nominal = ~contact, data = wine) of R's ordinal prints (clm article of the package)."""
    assert pooled.loglik == pytest.approx(-86.20855, abs=5e-6)
    assert (pooled.aic, pooled.n_parameters) == (pytest.approx(190.42, abs=5e-3), 9)
    assert pooled.thresholds.to_list() == pytest.approx([-1.3230, 1.2464, 3.5500, 4.6602], abs=5e-5)
    at = pooled.nonparallel.loc["contactyes"]
    assert (-at).to_list() == pytest.approx([-1.6151, -1.5116, -1.6748, -1.0506], abs=5e-5)
    errors = np.sqrt(np.diag(pooled.cov()))
    expected = [0.535, 0.5623, 0.4748, 0.6560, 0.8604, 1.1618, 0.5906, 0.6488, 0.8965]
    assert errors == pytest.approx(expected, abs=5.1e-5, rel=1e-4)
    assert pooled.params["tempwarm"] == pytest.approx(2.519, abs=5e-4)
    test = cg.compare(cg.pooled(FORMULA, wine(), family="ordinal"), pooled).tests[0]
    assert (test.statistic, test.df, test.pvalue) == (
        pytest.approx(0.5667, abs=5e-5),
        3,
        pytest.approx(0.904, abs=5e-4),
    )


def test_with_an_intercept_of_each_judge(fit: Any) -> None:
    """The maximum of the likelihood by its definition, and second differences there."""
    names = [*fit.thresholds.index, *fit.params.index[1:]]
    ours = np.array([fit.params.iloc[0], fit.sigma, *fit.thresholds, *fit.nonparallel.iloc[0]])
    found = minimize(lambda t: -loglik_by_definition(t), ours + 0.05, method="BFGS", options={"gtol": 1e-6})
    assert fit.loglik == pytest.approx(-found.fun, abs=1e-8)
    errors = np.sqrt(np.diag(fit.cov()))
    assert list(fit.cov().index) == ["tempwarm", "sigma", *names]
    assert np.abs((ours - found.x) / errors).max() < 1e-4
    steps = 1e-3 * np.eye(len(ours))
    H = np.array(
        [
            [
                sum(i * j * loglik_by_definition(ours + i * e + j * f) for i in (1, -1) for j in (1, -1)) / 4e-6
                for f in steps
            ]
            for e in steps
        ]
    )
    assert errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(-H))), rel=1e-4)


def test_one_factor_alone_has_closed_forms() -> None:
    """Thresholds are log odds of shares, level by level."""
    table = wine()
    found = cg.pooled("rating ~ contact", table, **OPTIONS)
    shares = pd.crosstab(table["contact"], table["rating"], normalize="index").cumsum(axis=1).to_numpy()[:, :-1]
    assert found.thresholds.to_numpy() == pytest.approx(logit(shares[0]), abs=1e-8)
    assert found.nonparallel.to_numpy()[0] == pytest.approx(logit(shares[0]) - logit(shares[1]), abs=1e-8)
    counts = pd.crosstab(table["contact"], table["rating"]).to_numpy()
    assert found.loglik == pytest.approx(np.sum(counts * np.log(counts / counts.sum(axis=1, keepdims=True))), abs=1e-9)
    with pytest.raises(ClusterGLMError, match="every term has coefficients at each threshold already"):
        found.parallel_test()


@pytest.mark.parametrize("nodes", [1, 15])
def test_score_and_hessian_are_the_differences_of_the_value(nodes: int) -> None:
    """In the columns of the search, whose units are others than those of x."""
    found = cg.random_effects("y ~ x + z", patients(), cluster="id", family="ordinal", nonparallel="x")
    rows = OwnRows(standardised(found.data, found.fit.response, Control()), found.fit.response)
    likelihood, plan, h = OwnMarginal(rows, integrator_for(Gaussian(), "normal")), (Part(Rule(nodes)),), 1e-4
    theta = rows.inside(found.fit.beta, (0.7,), found.fit.response.working) + 0.05
    assert np.abs(theta).max() < 5.0
    at = likelihood.evaluate(theta, plan)
    for k, move in enumerate(np.eye(len(theta)) * h):
        ahead, behind = likelihood.evaluate(theta + move, plan), likelihood.evaluate(theta - move, plan)
        assert at.score[k] == pytest.approx((ahead.value - behind.value) / (2.0 * h), rel=1e-6, abs=1e-5)
        assert at.hessian[k] == pytest.approx((ahead.score - behind.score) / (2.0 * h), rel=1e-6, abs=1e-4)
    theta[[2, 3]] = theta[[3, 2]]
    assert likelihood.evaluate(theta, plan).value == -np.inf


# Other structures -----------------------------------------------------------------------------------------------------


def test_slopes_are_integrals_over_a_plane() -> None:
    """Value at the estimates, by a product of trapezoid rules; and no step from there is uphill."""
    data = patients(m=25)
    found = cg.random_effects("y ~ x + z + (z | id)", data, family="ordinal", nonparallel="x")
    u = np.linspace(-7.0, 7.0, 57)
    w = np.exp(-0.5 * u * u) * (u[1] - u[0]) / np.sqrt(2.0 * np.pi)
    first, second = (each.ravel() for each in np.meshgrid(u, u))
    weight, codes = np.outer(w, w).ravel(), data["y"].cat.codes.to_numpy()
    x, z = data["x"].to_numpy(), data["z"].to_numpy()

    def loglik(beta: float, factor: np.ndarray, cuts: np.ndarray, gamma: np.ndarray) -> float:
        effects = factor @ np.array([first, second])
        eta = beta * z[:, None] + effects[0] + z[:, None] * effects[1]
        below = expit((cuts - x[:, None] * gamma)[:, :, None] - eta[:, None, :])
        p = np.diff(below, axis=1, prepend=0.0, append=1.0)[np.arange(len(z)), codes]
        each = np.add.reduceat(np.log(p), np.arange(0, len(z), 6), axis=0)
        return float(np.log(np.exp(each) @ weight).sum())

    at = (found.params["z"], found.fit.factor, found.thresholds.to_numpy(), found.nonparallel.to_numpy()[0])
    assert found.loglik == pytest.approx(loglik(*at), abs=1e-5)
    for k in range(3):
        for side in (-1.0, 1.0):
            gamma = at[3] + side * 1e-3 * np.eye(3)[k]
            assert loglik(at[0], at[1], at[2], gamma) < found.loglik + 1e-6


@pytest.mark.parametrize("random", ["(1 | id)", "(1 | id/item)", "(1 | id) + (1 | item)"])
def test_categories_from_the_other_end(random: str) -> None:
    """P(Y > c) is the model again, with its signs and thresholds turned."""
    data = patients(m=30)
    data["item"] = data["item"] // 2
    back = data.assign(y=data["y"].cat.reorder_categories(data["y"].cat.categories[::-1]))
    one, other = (
        cg.random_effects(f"y ~ x + z + {random}", each, family="ordinal", nonparallel="x", quadrature="laplace")
        for each in (data, back)
    )
    assert one.loglik == pytest.approx(other.loglik, abs=1e-6)
    assert one.nonparallel.to_numpy()[0] == pytest.approx(-other.nonparallel.to_numpy()[0, ::-1], abs=1e-5)
    assert one.thresholds.to_numpy() == pytest.approx(-other.thresholds.to_numpy()[::-1], abs=1e-3)
    assert one.bse.iloc[1:].to_numpy() == pytest.approx(other.bse.iloc[:0:-1].to_numpy(), rel=1e-3)


# After the fit --------------------------------------------------------------------------------------------------------


def test_probabilities_and_their_errors(fit: Any) -> None:
    """By their definition, averaged by a trapezoid rule, and by differences in the estimates."""
    new = pd.DataFrame({"temp": ["cold", "warm"], "contact": ["no", "yes"]})
    u = np.linspace(-8.0, 8.0, 161)
    w = np.exp(-0.5 * u * u) * (u[1] - u[0]) / np.sqrt(2.0 * np.pi)

    def averaged(theta: np.ndarray) -> np.ndarray:
        cuts = theta[2:6] - np.array([[0.0], [1.0]]) * theta[6:]
        below = expit(cuts[:, :, None] - theta[0] * np.array([0.0, 1.0])[:, None, None] - theta[1] * u) @ w
        return np.diff(below, axis=1, prepend=0.0, append=1.0)

    theta = np.array([fit.params.iloc[0], fit.sigma, *fit.thresholds, *fit.nonparallel.iloc[0]])
    found = fit.predict(new, kind="marginal", level=0.9)
    assert found["estimate"].to_numpy() == pytest.approx(averaged(theta).ravel(), abs=1e-8)
    J = np.array([(averaged(theta + e) - averaged(theta - e)).ravel() / 2e-5 for e in 1e-5 * np.eye(len(theta))])
    errors = np.sqrt(np.diag(J.T @ fit.cov().to_numpy() @ J))
    assert found["std_error"].to_numpy() == pytest.approx(errors, rel=1e-6)
    typical = expit(theta[2:6] - theta[6:] - theta[0])
    assert fit.predict(new, scale="cumulative").iloc[1].to_numpy() == pytest.approx(typical, abs=1e-12)
    inside, outside = fit.predict(kind="conditional"), fit.predict(wine(), kind="conditional")
    assert inside.to_numpy() == pytest.approx(outside.to_numpy(), abs=1e-12)


def test_thresholds_that_cross_are_said() -> None:
    found = cg.pooled("y ~ x + z", patients(), family="ordinal", nonparallel="x")
    new = pd.DataFrame({"x": [100.0, 2000.0, 3000.0, None], "z": 0.0})
    with pytest.warns(PredictionWarning, match="3 of 4 rows cannot be predicted .2: thresholds that cross"):
        at = found.predict(new)
    assert at.iloc[0].sum() == pytest.approx(1.0)
    assert at.iloc[1:].isna().all(axis=None)
    status = found.predict(new, level=0.9)["status"].unstack()["bad"]
    assert status.str.contains("cross").to_list() == [False, True, True, False]


def test_fits_whose_thresholds_would_cross_are_refused() -> None:
    """The middle category never occurs at x = 1: its probability would fall below 0."""
    x, y = np.repeat([0, 1], 30), np.r_[np.tile([0, 1, 2], 10), np.tile([0, 3, 2], 10)]
    table = pd.DataFrame({"x": x, "y": np.r_[y, 3], "id": np.arange(61) % 7} | {"x": np.r_[x, 0]})
    for fitted in (cg.pooled, cg.random_effects):
        with pytest.raises(ClusterGLMError, match=r"thresholds of 30 of 61 rows that would cross"):
            fitted("y ~ x", table, cluster="id", family="ordinal", nonparallel="x")


def test_tests_of_terms(fit: Any) -> None:
    whole, places = fit.cov().to_numpy(), [6, 7, 8, 9]
    at = fit.nonparallel.to_numpy()[0]
    statistic = at @ np.linalg.solve(whole[np.ix_(places, places)], at)
    table = fit.term_tests().set_index("term")
    assert table.loc["contact", "statistic"] == pytest.approx(statistic)
    assert table["df"].to_list() == [1, 4]
    assert fit.wald_test("contact").statistic == pytest.approx(statistic)
    one = fit.wald_test("`contactyes: 1|2` = `contactyes: 2|3`")
    assert one.estimate[0] == pytest.approx(at[0] - at[1])
    assert one.std_error[0] == pytest.approx(np.sqrt(whole[6, 6] + whole[7, 7] - 2.0 * whole[6, 7]))
    smaller = cg.random_effects(FORMULA, wine(), cluster="judge", family="ordinal")
    test = cg.compare(fit, smaller).tests[0]
    asked = smaller.parallel_test("lr")
    assert (test.smaller, test.df) == ("fit 2", 3)
    assert test.statistic == pytest.approx(asked.statistic[asked.terms.index("contact")], abs=1e-6)
    assert "contact not parallel" in str(cg.compare(fit, smaller))


def test_comparisons_by_columns() -> None:
    data = patients()
    fits = {
        name: cg.pooled(f"y ~ {right}", data, family="ordinal", nonparallel=terms)
        for name, right, terms in (
            ("z", "z", None), ("both", "x + z", None), ("x", "x + z", "x"), ("z apart", "x + z", "z"),
            ("all", "x + z", "."),
        )
    }  # fmt: skip

    def test_of(one: str, other: str) -> Any:
        return cg.compare(fits[one], fits[other]).tests[0]

    assert [test_of(*pair).df for pair in (("z", "both"), ("z", "x"), ("both", "x"), ("x", "all"))] == [1, 3, 2, 2]
    assert test_of("x", "z apart").reason == "neither is a special case of the other"
    joint = 2.0 * (fits["all"].loglik - fits["both"].loglik)
    asked = fits["both"].parallel_test("lr")
    assert asked.statistic[0] == pytest.approx(joint, abs=1e-6)
    rest = fits["x"].parallel_test("lr")
    assert rest.terms == ("all", "z")
    assert rest.statistic == pytest.approx(2.0 * (fits["all"].loglik - fits["x"].loglik), abs=1e-6)
    assert rest.statistic == pytest.approx(fits["x"].parallel_test().statistic, rel=0.2, abs=0.05)


def test_profile_intervals_end_where_the_likelihood_has_fallen(fit: Any) -> None:
    """Held there, all else at its best by a search without our derivatives."""
    ends = fit.conf_int(method="profile").loc["contactyes: 2|3"]
    theta = np.array([fit.params.iloc[0], fit.sigma, *fit.thresholds, *fit.nonparallel.iloc[0]])
    others = np.delete(np.arange(10), 7)
    for end in ends:

        def negative(free: np.ndarray, end: float = end) -> float:
            whole = theta.copy()
            whole[7], whole[others] = end, free
            return -loglik_by_definition(whole, 31, 6.0)

        best = minimize(negative, theta[others], method="BFGS", options={"gtol": 1e-4})
        assert -best.fun == pytest.approx(fit.loglik - 0.5 * 3.841458820694124, abs=2e-4)


def test_draws_have_the_probabilities_of_their_rows() -> None:
    found = cg.pooled("y ~ x", patients(), family="ordinal", nonparallel="x")
    expected = found.predict()
    drawn = found.simulate(400, seed=3)
    codes = drawn.apply(lambda column: column.cat.codes).to_numpy()
    shares = np.column_stack([(codes == c).mean(axis=1) for c in range(4)])
    z = (shares - expected.to_numpy()) / np.sqrt(expected.to_numpy() * (1.0 - expected.to_numpy()) / 400.0)
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0, abs=0.1)
    assert drawn[0].cat.categories.to_list() == ["bad", "fair", "good", "fine"]
    again = found.bootstrap(n_boot=30, seed=1)
    assert (len(again.failures), again.replicates.shape) == (0, (30, 6))
    residuals = found.residuals(seed=1)
    assert (abs(residuals.mean()) < 0.15, abs(residuals.std() - 1.0) < 0.15) == (True, True)


def test_ratios_of_simulated_responses() -> None:
    """Drawn from proportional odds, fitted with and without: the mean is about the two degrees of freedom."""
    data = patients()
    small, large = (cg.pooled("y ~ x", data, family="ordinal", nonparallel=terms) for terms in (None, "x"))
    found = cg.bootstrap_test(small, large, n_boot=100, seed=2)
    assert found.asymptotic.statistic == pytest.approx(2.0 * (large.loglik - small.loglik), abs=1e-6)
    assert found.asymptotic.df == 2
    assert np.mean(found.replicates) == pytest.approx(2.0, abs=0.7)


def test_power_of_the_other_terms() -> None:
    found = cg.random_effects("y ~ x + z", patients(), cluster="id", family="ordinal", nonparallel="x")
    table = cg.power(found, "z", clusters=[60], replicates=8, seed=1).to_frame()
    assert (table["failed"].iloc[0], table["rejected"].iloc[0]) == (0, 8)
    assert table["mean_estimate"].iloc[0] == pytest.approx(found.params["z"], abs=0.2)


def test_a_posterior_lies_about_the_maximum() -> None:
    found = cg.random_effects("y ~ x + z", patients(m=100), cluster="id", family="ordinal", nonparallel="x")
    posterior = found.sample(400, chains=2, seed=1, prior=cg.Prior(coefficients="normal(0, 100)"))
    table = posterior.summary().table
    errors = found.bse
    for name in found.params.index:
        assert abs(table.loc[name, "mean"] - found.params[name]) < 0.35 * errors[name]
        assert table.loc[name, "sd"] == pytest.approx(errors[name], rel=0.2)


def test_words_tables_and_files(fit: Any, tmp_path: Path) -> None:
    text = str(fit)
    assert "Not parallel:     contact: coefficients for each threshold" in text
    assert "Coefficients at each threshold:" in text
    assert text.index("contactyes: 1|2") < text.index("Threshold 1|2")
    file = tmp_path / "fit.json"
    fit.save(file)
    again = cg.load(file)
    assert str(again) == text
    assert np.array_equal(
        again.predict(wine(), kind="marginal").to_numpy(), fit.predict(wine(), kind="marginal").to_numpy()
    )
    content = json.loads(file.read_text())
    tidy = fit.tidy(exponentiate=True)
    own = tidy[tidy["component"] == "nonparallel"].set_index("term")
    ratios = fit.ratios().set_index("term")
    assert own["estimate"].to_numpy() == pytest.approx(np.exp(fit.nonparallel.to_numpy()[0]))
    assert ratios.loc[own.index, "conf_low"].to_numpy() == pytest.approx(own["conf_low"].to_numpy())
    assert fit.bse.index.to_list() == ["tempwarm", *own.index]
    assert "contactyes: 4|5" in str(cg.table(fit))
    assert "contactyes: 4|5" in str(fit.summary(cov="robust"))
    fit.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("contactyes: 3|4") > 1
    assert "contact = no" in page
    assert fit.plot.coefficients().data["term"].to_list() == list(fit.params.index)
    smaller = cg.update(fit, "~ . - temp", data=wine())
    assert smaller.nonparallel.index.to_list() == ["contactyes"]
    assert content["format"] == "clusterglm result"


def test_damaged_files_are_refused(fit: Any, tmp_path: Path) -> None:
    from clusterglm.results.files import schema

    response, data = fit.fit.response, fit.data
    assert schema.fit_misfit(fit.fit, data) is None
    for wrong in (
        {"a": data.a + 100.0 * data.b},
        {"by_threshold": None},
    ):
        assert schema.fit_misfit(fit.fit, replace(data, **wrong)) is not None
    plain = cg.random_effects(FORMULA, wine(), cluster="judge", family="ordinal")
    assert schema.fit_misfit(plain.fit, replace(plain.data, by_threshold=data.by_threshold)) is not None
    assert response.columns == ("contactyes",)


# What is asked for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["x + g", "~ x + g", ["x", "g"], "g + x"])
def test_terms_in_any_form(given: Any) -> None:
    data = patients(m=80).assign(g=lambda d: np.where(d["item"] % 2, "b", "a"))
    found = cg.pooled("y ~ x + z + g", data, family="ordinal", nonparallel=given)
    assert found.nonparallel.index.to_list() == ["x", "gb"]
    assert found.params.index.to_list()[:2] == ["z", "x: bad|fair"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nonparallel": "w"}, "'w', which is no term of the formula 'y ~ x . z'"),
        ({"nonparallel": "1"}, "the thresholds themselves"),
        ({"nonparallel": "x - z"}, "with a minus"),
        ({"nonparallel": "(1 | id)"}, "random terms"),
        ({"nonparallel": ""}, "terms of the formula"),
        ({"nonparallel": 3}, "terms of the formula"),
        ({"nonparallel": "x", "link": "probit"}, "link='probit', whose rows depend on the distance"),
        ({"nonparallel": "x", "link": "cloglog"}, "link='cloglog'"),
        ({"nonparallel": "x", "family": "poisson"}, "nonparallel= with family='poisson'"),
        ({"nominal": "x"}, "here it is nonparallel="),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterGLMError, match=words):
        cg.pooled("y ~ x + z", patients(), **{"family": "ordinal", **options})


def test_two_categories_have_one_threshold() -> None:
    with pytest.raises(ClusterGLMError, match="two categories, which have one threshold"):
        cg.pooled("y ~ x", patients().assign(y=lambda d: d["y"].cat.codes > 1), family="ordinal", nonparallel="x")


def test_covariates_that_separate_at_a_threshold() -> None:
    """No warm wine was rated 1, no cold one 5."""
    with pytest.raises(
        ClusterGLMError, match=r"'tempwarm: 1\|2' and 'tempwarm: 4\|5' separate the categories"
    ) as raised:
        cg.pooled(FORMULA, wine(), family="ordinal", nonparallel="temp")
    assert "leave their terms out of nonparallel=" in str(raised.value)
