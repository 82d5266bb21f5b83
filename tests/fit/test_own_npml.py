"""Mass points beside a response's own parameters: likelihoods and maxima against SciPy's densities, and limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, ndtr

import clusterglm as cg
from clusterglm.api.own import read_own
from clusterglm.data.ordered import read_levels
from clusterglm.data.prepare import ModelData
from clusterglm.data.request import Request
from clusterglm.errors import ClusterError, ClusterGLMError, ConvergenceWarning, OptionError, ResponseError
from clusterglm.fit.own_npml import OwnOverPoints
from clusterglm.fit.own_rows import OwnRows, standardised
from clusterglm.likelihood.mixture import Mixture
from clusterglm.model.control import Control
from clusterglm.model.family import WITH_OWN, with_own
from clusterglm.model.response.own.base import OwnParameters

exp, log = np.exp, np.log
LEVELS = ["low", "middle", "high", "top"]
FAMILIES = [(r.family, r.link) for r in WITH_OWN.values()]
EACH = pytest.mark.parametrize(("family", "link"), FAMILIES, ids=list(WITH_OWN))
FORMULAS = {
    "beta_binomial": "cbind(s, f) ~ x + z",
    "weibull": "Surv(t, e) ~ x + z",
    "exponential": "Surv(t, e) ~ x + z",
    "ordinal": "c ~ x + z",
    "gamma": "g ~ x + z",
    "truncated_negative_binomial": "k ~ x + z",
}


@cache
def table(seed: int = 4, m: int = 40) -> pd.DataFrame:
    """Responses of every family, with two sorts of clusters; k is drawn from 1 on."""
    rng = np.random.default_rng(seed)
    size = 3 + np.arange(m) % 4
    ids = np.repeat(np.arange(m), size)
    n = len(ids)
    x, z = rng.normal(size=n), rng.normal(size=m)[ids]
    eta = 0.3 + 0.5 * x + 0.2 * z + np.where(rng.random(m) < 0.4, 0.9, -0.6)[ids]
    d = pd.DataFrame({"id": ids, "x": x, "z": z, "y": rng.poisson(exp(eta) * rng.gamma(2.0, 0.5, n))})
    k = [next(v for v in rng.poisson(exp(e + 0.5) * rng.gamma(2.0, 0.5, 99)) if v > 0) for e in eta]
    p = rng.beta(4.0 * expit(eta), 4.0 * expit(-eta))
    s = rng.binomial(6, p)
    c = np.digitize(eta + rng.logistic(size=n), [-0.6, 0.6, 1.9])
    time, censored = (rng.exponential(size=n) * exp(-eta)) ** (1.0 / 1.4), rng.exponential(3.0, n)
    return d.assign(
        k=k, s=s, f=6 - s, g=rng.gamma(2.0, exp(eta) / 2.0), t=np.minimum(time, censored), e=(time <= censored) * 1,
        c=pd.Categorical(np.array(LEVELS)[c], LEVELS, ordered=True), w=1.0 + ids % 3,
    )  # fmt: skip


def formula(family: str) -> str:
    return FORMULAS.get(family, "y ~ x + z")


@cache
def fitted(family: str, link: str | None, points: int | None = None, seed: int = 4) -> Any:
    return cg.nonparametric(
        formula(family),
        table(seed),
        cluster="id",
        family=family,
        link=link,
        points=points,
        control=cg.Control(tol=1e-9),
    )


# What SciPy says of single rows ---------------------------------------------------------------------------------------


def below(link: str) -> Callable[[np.ndarray], np.ndarray]:
    return {"logit": expit, "probit": ndtr, "cloglog": lambda x: -np.expm1(-exp(x))}[link]


def log_densities(family: str, link: str, d: pd.DataFrame, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    """log P of each row at linear predictors, with all constants, by distributions of scipy.stats."""
    mu = exp(eta)
    if family == "negative_binomial":
        r = 1.0 / own[0]
        return st.nbinom.logpmf(d.y.to_numpy(), r, r / (r + mu))
    if family == "negative_binomial1":
        return st.nbinom.logpmf(d.y.to_numpy(), mu / own[0], 1.0 / (1.0 + own[0]))
    if family == "truncated_negative_binomial":
        r = 1.0 / own[0]
        return st.nbinom.logpmf(d.k.to_numpy(), r, r / (r + mu)) - st.nbinom.logsf(0, r, r / (r + mu))
    if family == "beta_binomial":
        return st.betabinom.logpmf(d.s.to_numpy(), 6, own[0] * expit(eta), own[0] * expit(-eta))
    if family == "gamma":
        return st.gamma.logpdf(d.g.to_numpy(), own[0], scale=mu / own[0])
    if family in ("weibull", "exponential"):
        k = own[0] if family == "weibull" else 1.0
        at = st.weibull_min(k, scale=exp(-eta / k))
        return np.where(d.e == 1, at.logpdf(d.t.to_numpy()), at.logsf(d.t.to_numpy()))
    F, ends = below(link), np.concatenate([[-np.inf], own, [np.inf]])
    y = d.c.cat.codes.to_numpy()
    with np.errstate(over="ignore"):
        return log(F(ends[y + 1] - eta) - F(ends[y] - eta))


def brute_force(
    family: str, link: str, d: pd.DataFrame, beta: np.ndarray, points: np.ndarray, weights: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Each cluster's log-likelihood: sums over the mass points of products over rows."""
    eta = d[["x", "z"]].to_numpy() @ beta
    each = [log_densities(family, link, d, eta + u, own) for u in points]
    clusters = [pd.Series(values).groupby(d.id.to_numpy()).sum().to_numpy() for values in each]
    return logsumexp(np.array(clusters).T, b=weights, axis=1)


def built(family: str, link: str) -> tuple[ModelData, OwnParameters]:
    response = with_own(family, link)
    assert response is not None
    levels = read_levels(None, response.ordered, family)
    request = Request(response.reads, cluster="id", mass_points=True, levels=levels, cluster_weights="w")
    return read_own(formula(family), table(), request, response)


OWN = {"ordinal": [-0.7, 0.5, 1.6], "beta_binomial": [5.0], "gamma": [1.7], "weibull": [1.3], "exponential": []}


@EACH
def test_derivatives_and_densities(family: str, link: str) -> None:
    data, response = built(family, link)
    rows, own = OwnRows(standardised(data, response, Control()), response), np.array(OWN.get(family, [0.6]))
    psi = replace_values(response, own).working
    theta = rows.inside(np.array([0.4, -0.2]), (), psi)
    held = int(response.location)
    likelihood = OwnOverPoints(rows, theta[2 : 2 + held])
    points, free = np.array([-0.7, 0.9, 2.0]), np.array([True, True, False])
    weights = np.array([0.5, 0.3, 0.2])
    begin = Mixture(np.delete(theta, np.s_[2 : 2 + held]), points, weights, free)
    here, at = likelihood.evaluate(begin), begin.theta
    expected = brute_force(family, link, table(), np.array([0.4, -0.2]), points, weights, own)
    assert here.value == pytest.approx(table().groupby("id").w.first() @ expected, rel=1e-11)
    kernel = likelihood.cluster_weights @ likelihood.mixed_values(begin) + likelihood.constants(begin.beta)
    assert kernel == pytest.approx(here.value, rel=1e-12)
    for j, step in enumerate(1e-5 * np.eye(len(at))):
        up, down = (likelihood.evaluate(begin.at(at + sign * step)) for sign in (1, -1))
        assert (up.value - down.value) / 2e-5 == pytest.approx(here.score[j], abs=1e-6, rel=1e-6)
        np.testing.assert_allclose((up.score - down.score) / 2e-5, here.hessian[j], atol=5e-5, rtol=1e-6)


def replace_values(response: OwnParameters, own: np.ndarray) -> OwnParameters:
    from dataclasses import replace

    return replace(response, values=tuple(own.tolist()))


@EACH
def test_loglik_is_that_of_scipys_densities(family: str, link: str) -> None:
    """Normalised, so that fits of several families compare."""
    fit = fitted(family, link)
    assert fit.converged
    points = np.clip(fit.fit.points, -40.0, 40.0)
    own = fit.family_parameters.to_numpy()
    expected = brute_force(family, link, table(), fit.params.to_numpy(), points, fit.fit.weights, own).sum()
    assert fit.loglik == pytest.approx(expected, abs=1e-7)


@EACH
def test_gradient_function_is_nowhere_positive(family: str, link: str) -> None:
    """On a dense grid of intercepts, by SciPy's densities: no distribution is more likely at these parameters."""
    fit = fitted(family, link)
    d, own, beta = table(), fit.family_parameters.to_numpy(), fit.params.to_numpy()
    points = np.clip(fit.fit.points, -40.0, 40.0)
    total = brute_force(family, link, d, beta, points, fit.fit.weights, own)
    grid = np.linspace(-9.0, 9.0, 361)
    with np.errstate(divide="ignore"):
        each = np.array([brute_force(family, link, d, beta, np.array([u]), np.ones(1), own) for u in grid])
    gradient = exp(each - total).mean(axis=1) - 1.0
    assert gradient.max() <= 2e-6
    inside = [brute_force(family, link, d, beta, np.array([u]), np.ones(1), own) for u in points]
    np.testing.assert_allclose(exp(np.array(inside) - total).mean(axis=1), 1.0, atol=2e-6)


@pytest.mark.parametrize(
    ("family", "link"),
    [
        ("negative_binomial", "log"),
        ("beta_binomial", "logit"),
        ("ordinal", "logit"),
        ("gamma", "log"),
        ("weibull", "log"),
    ],
)
def test_two_points_against_an_independent_optimiser(family: str, link: str) -> None:
    """SciPy's optimiser over coefficients, points, the logit of a weight and own parameters, from several starts."""
    fit, d = fitted(family, link, points=2), table()
    ordered = family == "ordinal"

    def parts(theta: np.ndarray) -> tuple[np.ndarray, ...]:
        weight = expit(theta[4])
        own = np.cumsum(np.append(theta[5], exp(theta[6:]))) if ordered else exp(theta[5:])
        points = theta[2:4] - (weight * theta[2] + (1.0 - weight) * theta[3] if ordered else 0.0)
        return theta[:2], points, np.array([weight, 1.0 - weight]), own

    def lost(theta: np.ndarray) -> float:
        value = -brute_force(family, link, d, *parts(theta)).sum()
        return float(value) if np.isfinite(value) else 1e10

    own = [-0.5, 0.0, 0.0] if ordered else [0.0]
    starts = [np.array([0.3, 0.1, -a, b, c, *own]) for a, b, c in [(0.5, 0.8, 0.3), (1.5, 0.5, -1.0), (0.1, 2.5, 3.0)]]
    best = min((minimize(lost, start, method="BFGS", options={"gtol": 1e-4}) for start in starts), key=lambda r: r.fun)
    assert fit.loglik == pytest.approx(-best.fun, abs=1e-5)
    beta, points, weights, values = parts(best.x)
    order = np.argsort(points)
    np.testing.assert_allclose(fit.params, beta, atol=2e-3)
    np.testing.assert_allclose(fit.fit.points, points[order], atol=5e-3)
    np.testing.assert_allclose(fit.fit.weights, weights[order], atol=3e-3)
    np.testing.assert_allclose(fit.family_parameters, values, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(("family", "link"), [("negative_binomial", "log"), ("ordinal", "cloglog"), ("gamma", "log")])
def test_standard_errors_against_the_information_of_brute_force(family: str, link: str) -> None:
    """Of what is identified: coefficients, the own parameters, points; thresholds beside points of mean 0."""
    fit, d = fitted(family, link, points=2), table()
    own, ordered = fit.family_parameters.to_numpy(), family == "ordinal"
    held = int(ordered)  # the first threshold, in whose place the points move
    ratio = log(fit.fit.weights[0] / fit.fit.weights[1])
    theta = np.concatenate([fit.params, fit.fit.points, [ratio], own[held:]])

    def at(theta: np.ndarray) -> tuple[np.ndarray, ...]:
        w = expit(theta[4])
        return theta[:2], theta[2:4], np.array([w, 1.0 - w]), np.append(own[:held], theta[5:])

    def value(theta: np.ndarray) -> float:
        return float(brute_force(family, link, d, *at(theta)).sum())

    def user(theta: np.ndarray) -> np.ndarray:
        beta, points, weights, values = at(theta)
        mean = weights @ points if ordered else 0.0
        return np.concatenate([beta, points - mean, [theta[4]], values - mean])

    steps = 2e-4 * np.eye(len(theta))
    information = [
        [value(theta + a + b) - value(theta + a - b) - value(theta - a + b) + value(theta - a - b) for b in steps]
        for a in steps
    ]
    inverse = np.linalg.inv(-np.array(information) / 1.6e-7)
    slopes = np.array([(user(theta + h) - user(theta - h)) / 4e-4 for h in steps]).T
    np.testing.assert_allclose(fit.cov(), slopes @ inverse @ slopes.T, rtol=2e-3, atol=2e-5)
    if ordered:
        assert fit.fit.weights @ fit.fit.points == pytest.approx(0.0, abs=1e-12)


# Limits ---------------------------------------------------------------------------------------------------------------


def test_two_categories_are_the_binomial_model() -> None:
    d = table().assign(b=lambda d: (d.c >= "high").astype(int))
    d["two"] = pd.Categorical(np.where(d.b == 1, "yes", "no"), ["no", "yes"], ordered=True)
    for link in ("logit", "probit", "cloglog"):
        # P(Y <= "no") = F(threshold - eta): of an asymmetric F the binomial model of "no", with its signs turned
        y, sign = ("1 - b", -1.0) if link == "cloglog" else ("b", 1.0)
        plain = cg.nonparametric(f"I({y}) ~ x + z", d, cluster="id", link=link)
        fit = cg.nonparametric("two ~ x + z", d, cluster="id", family="ordinal", link=link)
        assert fit.loglik == pytest.approx(plain.loglik, abs=1e-6)
        np.testing.assert_allclose(sign * fit.params, plain.params, atol=1e-4)
        np.testing.assert_allclose(fit.bse, plain.bse, rtol=1e-3)
        assert fit.n_parameters == plain.n_parameters


def poisson_table(seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(50), 5)
    x, u = rng.normal(size=250), np.where(np.arange(50) % 2 == 0, 0.7, -0.5)[ids]
    y = rng.poisson(exp(0.5 + 0.3 * x + u))
    # less dispersed than Poisson counts: rounded means
    return pd.DataFrame(
        {"y": np.where(np.arange(250) % 2 == 0, np.rint(exp(0.5 + 0.3 * x + u)), y).astype(int), "x": x, "id": ids}
    )


@pytest.mark.parametrize(("family", "limit"), [("negative_binomial", "poisson"), ("negative_binomial1", "poisson")])
def test_counts_that_are_no_more_dispersed_are_the_poisson_model(family: str, limit: str) -> None:
    d = poisson_table()
    fit = cg.nonparametric("y ~ x", d, cluster="id", family=family)
    plain = cg.nonparametric("y ~ x", d, cluster="id", family=limit)
    assert fit.loglik == plain.loglik
    assert fit.family_parameters["alpha"] == 0.0
    np.testing.assert_array_equal(fit.fit.points, plain.fit.points)
    np.testing.assert_array_equal(fit.params, plain.params)
    assert "The maximum lies at alpha = 0" in " ".join(str(fit).split())
    np.testing.assert_allclose(fit.predict(), plain.predict())
    ours, theirs = (each.predict(kind="marginal", level=0.9) for each in (fit, plain))
    pd.testing.assert_frame_equal(ours, theirs)
    np.testing.assert_allclose(fit.cov("robust").iloc[:-1, :-1], plain.cov("robust"))
    assert fit.n_parameters == plain.n_parameters + 1


def test_an_exponential_time_is_a_poisson_count() -> None:
    d = table().assign(log_t=lambda d: log(d.t))
    times = cg.nonparametric("Surv(t, e) ~ x + z", d, cluster="id", family="exponential")
    counts = cg.nonparametric("e ~ x + z", d, cluster="id", family="poisson", exposure="t")
    assert times.loglik == pytest.approx(counts.loglik - (d.e * d.log_t).sum(), abs=1e-6)
    np.testing.assert_allclose(times.params, counts.params, atol=1e-5)


@EACH
def test_one_point_is_no_clustering(family: str, link: str) -> None:
    one, pooled = (
        fitted(family, link, points=1),
        cg.pooled(formula(family), table(), family=family, link=link),
    )
    assert one.loglik == pytest.approx(pooled.loglik, abs=1e-7)
    slopes = [name for name in pooled.params.index if name != "(Intercept)"]
    np.testing.assert_allclose(one.params, pooled.params[slopes], atol=1e-4)
    np.testing.assert_allclose(one.bse, pooled.bse[slopes], rtol=1e-3)
    np.testing.assert_allclose(one.family_parameters, pooled.family_parameters, rtol=1e-4, atol=1e-5)
    assert one.n_parameters == pooled.n_parameters


def test_units_and_order_of_rows_do_not_matter() -> None:
    d = table().assign(x=lambda d: 1000.0 * d.x + 5000.0).sample(frac=1.0, random_state=1)
    for family in ("negative_binomial", "ordinal", "weibull"):
        fit, other = fitted(family, None), cg.nonparametric(formula(family), d, cluster="id", family=family)
        assert other.loglik == pytest.approx(fit.loglik, abs=1e-5)
        assert other.params["x"] * 1000.0 == pytest.approx(fit.params["x"], abs=1e-4)
        shift = 5.0 * fit.params["x"]
        own, point = (shift, 0.0) if family == "ordinal" else (0.0, -shift)
        np.testing.assert_allclose(other.family_parameters, fit.family_parameters + own, atol=2e-3)
        finite = np.isfinite(fit.fit.points)
        np.testing.assert_allclose(other.fit.points[finite], fit.fit.points[finite] + point, atol=2e-2)


# What cannot be fitted ------------------------------------------------------------------------------------------------


def test_clusters_that_are_fitted_exactly_are_refused() -> None:
    d = table().groupby("id").head(1)
    for family, response in (("gamma", "g"), ("weibull", "Surv(t, one)")):
        single = d.assign(one=1)
        with pytest.raises(ClusterError, match="intercepts fit all responses exactly"):
            cg.nonparametric(f"{response} ~ x", single, cluster="id", family=family)
    alike = table().assign(g=lambda d: d.groupby("id").g.transform("first"))
    with pytest.raises(ClusterError, match="shape, and the likelihood with it, grows for ever"):
        cg.nonparametric("g ~ 1", alike, cluster="id", family="gamma")
    assert np.isfinite(cg.nonparametric("g ~ 1", alike, cluster="id", family="gamma", points=1).loglik)


def test_clusters_without_two_categories_are_refused() -> None:
    alike = table().assign(c=lambda d: pd.Categorical(np.array(LEVELS)[d.id % 4], LEVELS, ordered=True))
    with pytest.raises(ClusterError, match="none of the 40 clusters has different categories"):
        cg.nonparametric("c ~ x", alike, cluster="id", family="ordinal")
    with pytest.raises(ClusterError):
        cg.nonparametric("c ~ x", table().assign(id=1), cluster="id", family="ordinal")


def test_other_refusals() -> None:
    with pytest.raises(OptionError, match="mass points with family='gaussian'"):
        cg.nonparametric("g ~ x", table(), cluster="id", family="gaussian")
    with pytest.raises(ClusterGLMError, match="top"):
        cg.nonparametric("c ~ x", table()[lambda d: d.c != "top"], cluster="id", family="ordinal")
    with pytest.warns(ConvergenceWarning, match="1 rounds"):
        cg.nonparametric("y ~ x", table(), cluster="id", family="negative_binomial", control=cg.Control(max_iter=1))


def test_no_finite_alpha_without_clusters_is_none_of_the_points_business() -> None:
    """Where differences between clusters are put into alpha it has no maximum; beside mass points it has one."""
    d, family = table(100, 12), "truncated_negative_binomial"
    with pytest.raises(ResponseError, match="alpha grew"):
        cg.pooled("k ~ x", d, family=family)
    fit = cg.nonparametric("k ~ x", d, cluster="id", family=family)
    own, beta = fit.family_parameters.to_numpy(), np.append(fit.params, 0.0)
    assert fit.loglik == pytest.approx(brute_force(family, "log", d, beta, fit.fit.points, fit.fit.weights, own).sum())
    grid = [brute_force(family, "log", d, beta, np.array([u]), np.ones(1), own) for u in np.linspace(-6.0, 6.0, 241)]
    total = brute_force(family, "log", d, beta, fit.fit.points, fit.fit.weights, own)
    assert (exp(np.array(grid) - total).mean(axis=1) - 1.0).max() <= 2e-6


def test_dropped_rows_are_said() -> None:
    d = table().assign(x=lambda d: d.x.where(d.index > 2), y=lambda d: d.y.astype(float).where(d.index != 7))
    fit = cg.nonparametric("y ~ x + z", d, cluster="id", family="negative_binomial")
    assert sum(each.count for each in fit.data.dropped) == 4
    assert "Dropped" in str(fit)
