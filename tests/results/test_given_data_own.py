"""What data say of clusters where the response has parameters of its own: by modes and densities on a grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit, gammaln

import clusterglm as cg
from clusterglm.errors import PredictionWarning
from clusterglm.results.topics.newdata import new_rows
from clusterglm.results.topics.prediction import Wanted

GRID = np.linspace(-6.0, 6.0, 4001)

LogP = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(responses, linear predictors, the response's parameters) -> log P, in SciPy's or textbooks' words."""


def nb2(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    return stats.nbinom.logpmf(y, 1.0 / own[0], 1.0 / (1.0 + own[0] * np.exp(eta)))


def truncated(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    return nb2(y, eta, own) - np.log(-np.expm1(-np.log1p(own[0] * np.exp(eta)) / own[0]))


def gamma(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    return stats.gamma.logpdf(y, own[0], scale=np.exp(eta) / own[0])


def beta_binomial(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    p = expit(eta)
    return stats.betabinom.logpmf(y, 8, p * own[0], (1.0 - p) * own[0])


def ordinal(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    ends = np.concatenate([[-np.inf], own, [np.inf]])
    return np.log(expit(ends[y + 1] - eta) - expit(ends[y] - eta))


def cloglog(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    ends = np.concatenate([[-np.inf], own, [np.inf]])
    low, high = np.exp(ends[y] - eta), np.exp(ends[y + 1] - eta)
    return np.log(-np.expm1(low - high)) - low


def weibull(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    t = np.abs(y)
    return np.where(y > 0.0, np.log(own[0]) + (own[0] - 1.0) * np.log(t) + eta, 0.0) - t ** own[0] * np.exp(eta)


def table(family: str) -> pd.DataFrame:
    rng = np.random.default_rng(12)
    n = 240
    i, x = np.repeat(np.arange(40), 6), rng.normal(size=n)
    d = pd.DataFrame({"id": i, "x": x, "item": np.tile(np.arange(6), 40)})
    eta = 0.3 + 0.5 * x + 0.8 * rng.normal(size=40)[i]
    eta += 0.6 * rng.normal(size=6)[d["item"]] + 0.5 * x * rng.normal(size=40)[i]
    mixed = rng.gamma(2.0, 0.5, n)
    if family in ("inflated", "hurdle"):
        return d.assign(
            y=rng.poisson(np.exp(eta + 0.7) * (mixed if family == "hurdle" else 1.0)) * (rng.random(n) < 0.7)
        )
    if family.endswith("negative_binomial"):
        d["y"] = rng.poisson(np.exp(eta) * mixed)
        return d if family == "negative_binomial" else d[d["y"] > 0].reset_index(drop=True)
    if family == "gamma":
        return d.assign(y=np.exp(eta) * mixed)
    if family == "beta_binomial":
        p = rng.beta(6.0 * expit(eta), 6.0 * expit(-eta))
        return d.assign(y=rng.binomial(8, p), size=8)
    if family == "weibull":
        t = (rng.exponential(size=n) * np.exp(-eta)) ** (1.0 / 1.4)
        return d.assign(t=np.minimum(t, 1.5), event=(t < 1.5).astype(int))
    return d.assign(y=np.digitize(eta + rng.logistic(size=n), [-0.8, 0.6, 1.7]))


def inflated(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    p, mu = expit(own[0]), np.exp(eta)
    return np.where(y == 0, np.log(p + (1.0 - p) * np.exp(-mu)), np.log1p(-p) + stats.poisson.logpmf(y, mu))


def hurdle(y: np.ndarray, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
    p = expit(own[1])
    return np.where(y == 0, np.log(p), np.log1p(-p) + truncated(np.maximum(y, 1), eta, own[:1]))


LOG_P: dict[str, LogP] = {
    "negative_binomial": nb2, "truncated_negative_binomial": truncated, "gamma": gamma, "beta_binomial": beta_binomial,
    "ordinal": ordinal, "cloglog": cloglog, "weibull": weibull,
    "inflated": inflated, "hurdle": hurdle,
}  # fmt: skip


def fitted(family: str, right: str = "") -> tuple[Any, pd.DataFrame, np.ndarray]:
    """A fit, its data, and its responses as `LOG_P` takes them."""
    d = table(family)
    left = {"beta_binomial": "cbind(y, size - y)", "weibull": "Surv(t, event)"}.get(family, "y")
    options: dict[str, Any] = {"family": "ordinal" if family in ("ordinal", "cloglog") else family}
    options |= {"link": "cloglog"} if family == "cloglog" else {}
    if family == "inflated":
        options = {"family": "poisson", "zero_inflation": "~ 1"}
    elif family == "hurdle":
        options = {"family": "negative_binomial", "hurdle": "~ 1"}
    options |= {} if right else {"cluster": "id"}
    if options["family"] == "ordinal":
        options["levels"] = [0, 1, 2, 3]
    fit = cg.random_effects(f"{left} ~ x{right}", d, **options)
    y = np.where(d["event"] == 1, d["t"], -d["t"]) if family == "weibull" else d["y"].to_numpy()
    return fit, d, y


def estimates(fit: Any) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients, sigma, the response's parameters), and their covariance in this order."""
    zeros = fit.params.index.str.startswith("zero: ")
    own = fit.family_parameters if hasattr(fit, "family_parameters") else []
    return np.concatenate([fit.params[~zeros], [fit.sigma], own, fit.params[zeros]]), fit.cov().to_numpy()


def design(fit: Any, d: pd.DataFrame) -> np.ndarray:
    return d[["x"]].to_numpy() if fit.family == "ordinal" else np.column_stack([np.ones(len(d)), d["x"]])


def of_cluster(log_p: LogP, y: np.ndarray, eta: np.ndarray, sigma: float, own: np.ndarray) -> tuple[np.ndarray, float]:
    """Density of a cluster's intercept on the grid, given its data, and its mode."""
    at = log_p(y[:, None], eta[:, None] + GRID, own).sum(axis=0) - 0.5 * (GRID / sigma) ** 2
    density = np.exp(at - at.max())

    def loss(u: np.ndarray) -> float:
        return float(-log_p(y, eta + u[0], own).sum() + 0.5 * (u[0] / sigma) ** 2)

    start = GRID[np.argmax(at)]
    found = minimize(loss, [start], method="Nelder-Mead", options={"xatol": 1e-11, "fatol": 1e-15})
    return density / density.sum(), float(found.x[0])


def by_differences(of: Callable[[np.ndarray], Any], theta: np.ndarray, h: float = 3e-4) -> np.ndarray:
    return np.array([(np.asarray(of(theta + e)) - of(theta - e)) / (2.0 * h) for e in h * np.eye(len(theta))]).T


def predicted(family: str, own: np.ndarray, link: float) -> Any:
    """What is predicted at a linear predictor."""
    if family == "ordinal":
        return expit(own - link)
    if family == "cloglog":
        return -np.expm1(-np.exp(own - link))
    if family == "weibull":
        return np.exp(gammaln(1.0 + 1.0 / own[0]) - link / own[0])
    if family == "beta_binomial":
        return expit(link)
    if family == "inflated":
        return expit(-own[0]) * np.exp(link)
    if family == "hurdle":
        return expit(-own[1]) * predicted("truncated_negative_binomial", own[:1], link)
    none = (1.0 + own[0] * np.exp(link)) ** (-1.0 / own[0]) if family.startswith("truncated") else 0.0
    return np.exp(link) / (1.0 - none)


@pytest.mark.parametrize("family", list(LOG_P))
def test_errors_at_modes_are_those_of_all_parameters_and_of_what_data_leave_open(family: str) -> None:
    fit, d, y = fitted(family)
    log_p, X, (theta, V) = LOG_P[family], design(fit, d), estimates(fit)
    p, more = X.shape[1], {"scale": "cumulative"} if fit.family == "ordinal" else {}
    for cluster in (3, 17):
        rows = np.flatnonzero(d["id"] == cluster)

        def link(at: np.ndarray, rows: np.ndarray = rows) -> float:
            """The first row's linear predictor at the mode."""
            eta = X[rows] @ at[:p]
            return float(eta[0] + of_cluster(log_p, y[rows], eta, at[p], at[p + 1 :])[1])

        density, mode = of_cluster(log_p, y[rows], X[rows] @ theta[:p], theta[p], theta[p + 1 :])
        left_open, own = float(density @ (GRID - mode) ** 2), theta[p + 1 :]
        G = np.atleast_2d(by_differences(lambda at: predicted(family, at[p + 1 :], link(at)), theta))
        by_link = np.ravel(by_differences(lambda at: predicted(family, own, at[0]), np.array([link(theta)])))  # noqa: B023
        se = np.sqrt(np.einsum("kq,qr,kr->k", G, V, G) + by_link**2 * left_open)
        found = fit.predict(d.iloc[rows[:1]], kind="conditional", level=0.95, **more)
        assert found["estimate"].to_numpy() == pytest.approx(np.ravel(predicted(family, own, link(theta))), rel=1e-6)
        assert found["std_error"].to_numpy() == pytest.approx(se, rel=2e-4)


@pytest.mark.parametrize("family", ["negative_binomial", "truncated_negative_binomial", "gamma", "beta_binomial"])
def test_means_given_data_are_averages_over_the_density_of_the_intercept(family: str) -> None:
    fit, d, y = fitted(family)
    log_p, X, (theta, V) = LOG_P[family], design(fit, d), estimates(fit)
    p = X.shape[1]
    for cluster in (3, 17):
        rows = np.flatnonzero(d["id"] == cluster)

        def mean(at: np.ndarray, rows: np.ndarray = rows) -> float:
            eta = X[rows] @ at[:p]
            density, _ = of_cluster(log_p, y[rows], eta, at[p], at[p + 1 :])
            return float(density @ predicted(family, at[p + 1 :], eta[0] + GRID))

        found = fit.predict(d.iloc[rows[:1]], kind="posterior", level=0.95).iloc[0]
        assert found["estimate"] == pytest.approx(mean(theta), rel=1e-7)
        G = by_differences(mean, theta)
        assert found["std_error"] == pytest.approx(np.sqrt(G @ V @ G), rel=2e-4)


@pytest.mark.parametrize("family", ["negative_binomial", "truncated_negative_binomial"])
def test_effects_at_modes_are_those_of_all_parameters(family: str) -> None:
    fit, d, y = fitted(family)
    log_p, X, (theta, V) = LOG_P[family], design(fit, d), estimates(fit)
    starts, h = np.flatnonzero(np.diff(d["id"], prepend=-1)), 1e-4
    places = np.split(np.arange(len(d)), starts[1:])

    def modes(at: np.ndarray) -> np.ndarray:
        each = [of_cluster(log_p, y[rows], X[rows] @ at[:2], at[2], at[3:])[1] for rows in places]
        return np.repeat(each, np.diff(np.append(starts, len(d))))

    def effects(at: np.ndarray, u: np.ndarray) -> np.ndarray:
        eta = X @ at[:2] + u
        ends = [predicted(family, at[3:], eta + s * at[1]) for s in (h, -h)]
        return (ends[0] - ends[1]) / (2.0 * h)

    known = modes(theta)
    slopes = by_differences(lambda at: effects(at, modes(at)).mean(), theta)
    by_mode = (effects(theta, known + 1e-3) - effects(theta, known - 1e-3)) / 2e-3
    noise = 0.0
    for rows in places:
        density, mode = of_cluster(log_p, y[rows], X[rows] @ theta[:2], theta[2], theta[3:])
        noise += (by_mode[rows].sum() / len(d)) ** 2 * float(density @ (GRID - mode) ** 2)
    found = fit.average_effects("x", kind="conditional").iloc[0]
    assert found["estimate"] == pytest.approx(effects(theta, known).mean(), rel=1e-6)
    assert found["std_error"] == pytest.approx(np.sqrt(slopes @ V @ slopes + noise), rel=3e-4)


@pytest.mark.parametrize("right", ["", " + (x | id)"])
@pytest.mark.parametrize("family", ["negative_binomial", "gamma"])
def test_clusters_with_a_history_are_predicted_as_if_they_were_of_the_fit(family: str, right: str) -> None:
    fit, d, _ = fitted(family, right)
    few = d[d["id"] < 7].sample(frac=1.0, random_state=3)
    renamed = few.assign(id=few["id"].map(lambda i: f"new {i}"))
    for kind in ("conditional", "posterior") if not right else ("conditional",):
        one = fit.predict(few, kind=kind, level=0.9)
        other = fit.predict(renamed, kind=kind, level=0.9, history=renamed.sample(frac=1.0, random_state=4))
        columns = ["estimate", "std_error", "low", "high"]
        np.testing.assert_allclose(other[columns], one[columns], rtol=1e-6)
    with pytest.warns(PredictionWarning, match="1: cluster"):
        few_known = fit.predict(few.iloc[:1].assign(id="new 99"), kind="conditional")
    assert few_known.isna().all()


def joint_modes(y: np.ndarray, fixed: np.ndarray, Z: np.ndarray, precision: np.ndarray, alpha: float) -> np.ndarray:
    """Linear predictors of negative binomial counts at the modes of all effects, by Newton's method."""
    u = np.zeros(Z.shape[1])
    for _ in range(60):
        mu = np.exp(fixed + Z @ u)
        score, curvature = (y - mu) / (1.0 + alpha * mu), mu * (1.0 + alpha * y) / (1.0 + alpha * mu) ** 2
        u = u + np.linalg.solve(Z.T @ (curvature[:, None] * Z) + precision, Z.T @ score - precision @ u)
    return np.asarray(fixed + Z @ u)


@pytest.mark.parametrize("family", ["negative_binomial", "inflated"])
def test_errors_at_modes_of_slopes_are_those_of_all_parameters(family: str) -> None:
    fit, d, y = fitted(family, " + (x | id)")
    log_p, X, V, rows = LOG_P[family], design(fit, d), fit.cov().to_numpy(), np.flatnonzero(d["id"] == 11)
    own = fit.params[2:] if family == "inflated" else fit.family_parameters
    theta = np.concatenate([fit.params[:2], fit.variance_components["estimate"], own])

    def covariance(at: np.ndarray) -> np.ndarray:
        cross = at[2] * at[3] * at[4]
        return np.array([[at[2] ** 2, cross], [cross, at[3] ** 2]])

    def links(at: np.ndarray) -> np.ndarray:
        precision, fixed = np.linalg.inv(covariance(at)), X[rows] @ at[:2]

        def loss(b: np.ndarray) -> float:
            return float(0.5 * b @ precision @ b - log_p(y[rows], fixed + X[rows] @ b, at[5:]).sum())

        exact = {"xatol": 1e-10, "fatol": 1e-15, "maxiter": 2000, "maxfev": 2000}
        return np.asarray(fixed + X[rows] @ minimize(loss, [0.0, 0.0], method="Nelder-Mead", options=exact).x)

    s = np.linspace(-4.0, 4.0, 201)
    scaled = np.stack(np.meshgrid(s, s, indexing="ij"), axis=-1).reshape(-1, 2)
    b = scaled @ np.linalg.cholesky(covariance(theta)).T
    eta = (X[rows] @ theta[:2])[:, None] + X[rows] @ b.T
    log_density = log_p(y[rows][:, None], eta, theta[5:]).sum(axis=0) - 0.5 * np.square(scaled).sum(axis=1)
    density = np.exp(log_density - log_density.max())
    left_open = (eta - links(theta)[:, None]) ** 2 @ density / density.sum()
    G = by_differences(links, theta)
    found = fit.predict(d.iloc[rows], kind="conditional", scale="link", level=0.95)
    assert found["estimate"].to_numpy() == pytest.approx(links(theta), abs=1e-6)
    assert found["std_error"].to_numpy() == pytest.approx(
        np.sqrt(np.einsum("nq,qr,nr->n", G, V, G) + left_open), rel=2e-4
    )


def test_joint_modes_of_crossed_effects_move_with_the_dispersion() -> None:
    fit, d, y = fitted("negative_binomial", " + (1 | id) + (1 | item)")
    at, Z, alpha = np.arange(len(d)), np.zeros((len(d), 46)), float(fit.family_parameters.iloc[0])
    Z[at, d["id"]], Z[at, 40 + d["item"]] = 1.0, 1.0
    sds = fit.variance_components["estimate"].to_numpy()
    precision, fixed = np.diag(np.repeat(sds**-2.0, [40, 6])), design(fit, d) @ fit.params.to_numpy()
    rows = new_rows(fit.data, d)
    found = fit._at("conditional", rows, "link", Wanted(0.95, "observed"))
    assert found.estimate == pytest.approx(joint_modes(y, fixed, Z, precision, alpha), abs=1e-6)
    h = 1e-4
    moved = [joint_modes(y, fixed, Z, precision, alpha + step) for step in (h, -h)]
    assert found.by_response[:, 0] == pytest.approx((moved[0] - moved[1]) / (2.0 * h), abs=2e-5)
    assert np.abs(found.by_response).max() > 1e-2
    table = fit.predict(d, kind="conditional", level=0.95)
    assert np.isfinite(table[["estimate", "std_error", "low", "high"]]).all(axis=None)


@pytest.mark.parametrize("family", ["ordinal", "weibull", "inflated", "hurdle"])
@pytest.mark.parametrize("right", [" + (x | id)", " + (1 | id) + (1 | item)"])
def test_what_is_no_mean_at_modes_of_several_effects_has_intervals(family: str, right: str) -> None:
    """As wide for rows of the fit as for the same rows anew, about what is predicted at the modes as numbers."""
    fit, d, _ = fitted(family, right)
    found = fit.predict(d, kind="conditional", level=0.9)
    values = found[["estimate", "std_error", "low", "high"]]
    assert np.isfinite(values).all(axis=None)
    assert ((values["low"] < values["estimate"]) & (values["estimate"] < values["high"])).all()
    np.testing.assert_array_equal(values, fit.predict(kind="conditional", level=0.9)[values.columns])
    link = fit.predict(d, kind="conditional", scale="link").to_numpy()
    known = fit.predict(d, kind=link - fit.predict(d, kind=0.0, scale="link").to_numpy(), level=0.9)
    np.testing.assert_allclose(known["estimate"], values["estimate"], rtol=1e-10)
