"""Counts without zeros: maxima by brute force in every structure, what follows a fit, and bad data in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize

import clusterglm as cg
from clusterglm.errors import ClusterGLMError, DataError, OptionError, ResponseError

POISSON, NEGATIVE = "truncated_poisson", "truncated_negative_binomial"
GRID = np.linspace(-9.0, 9.0, 601)
DENSITY = np.exp(-0.5 * GRID**2) / np.sqrt(2.0 * np.pi) * (GRID[1] - GRID[0])


def drawn(seed: int = 1, alpha: float = 0.7, m: int = 60, n: int = 6) -> pd.DataFrame:
    """Clusters of which rows with a zero are left out."""
    rng = np.random.default_rng(seed)
    cluster, x = np.repeat(np.arange(m), n), rng.normal(size=m * n)
    mean = np.exp(0.2 + 0.5 * x + 0.6 * rng.normal(size=m)[cluster])
    y = rng.poisson(mean * (rng.gamma(1.0 / alpha, alpha, m * n) if alpha > 0.0 else 1.0))
    frame = pd.DataFrame({"y": y, "x": x, "id": cluster, "w": rng.integers(1, 4, m * n), "item": np.tile(range(n), m)})
    return frame[frame.y > 0].reset_index(drop=True)


def log_p(y: np.ndarray, eta: np.ndarray, alpha: float) -> np.ndarray:
    """By SciPy's distributions of all counts."""
    mu = np.exp(eta)
    if alpha == 0.0:
        return stats.poisson.logpmf(y, mu) - np.log(-np.expm1(-mu))
    whole = stats.nbinom.logpmf(y, 1.0 / alpha, 1.0 / (1.0 + alpha * mu))
    return whole - np.log(-np.expm1(-np.log1p(alpha * mu) / alpha))


def loglik(frame: pd.DataFrame, theta: np.ndarray, slope: bool = False) -> float:
    """Of (intercept, x, sigma, log(alpha) if there is one), by a dense rule."""
    starts = np.flatnonzero(np.diff(frame.id, prepend=-1))
    eta = theta[0] + theta[1] * frame.x.to_numpy()
    alpha = np.exp(theta[3]) if len(theta) > 3 else 0.0
    rows = log_p(frame.y.to_numpy()[:, None], eta[:, None] + theta[2] * GRID, alpha)
    clusters = np.add.reduceat(rows, starts, axis=0)
    top = clusters.max(axis=1)
    return float(np.sum(top + np.log(np.exp(clusters - top[:, None]) @ DENSITY)))


def estimates(fit: Any) -> np.ndarray:
    own = np.log(fit.family_parameters) if hasattr(fit, "family_parameters") else []
    return np.array([*fit.params, fit.sigma, *own])


@pytest.fixture(scope="module", params=[POISSON, NEGATIVE])
def fitted(request: pytest.FixtureRequest) -> Any:
    return cg.random_effects("y ~ x", drawn(), cluster="id", family=request.param)


def test_the_maximum_is_that_of_brute_force(fitted: Any) -> None:
    frame, theta = drawn(), estimates(fitted)
    assert fitted.loglik == pytest.approx(loglik(frame, theta), abs=1e-7)
    found = minimize(lambda at: -loglik(frame, at), theta + 0.03, method="BFGS", options={"gtol": 1e-4})
    np.testing.assert_allclose(theta, found.x, atol=3e-5)
    h, q = 1e-3, len(theta)
    E = h * np.eye(q)
    information = np.array(
        [
            [
                sum(s * t * -loglik(frame, theta + s * E[i] + t * E[j]) for s in (1, -1) for t in (1, -1))
                for j in range(q)
            ]
            for i in range(q)
        ]
    ) / (4.0 * h * h)
    se = np.sqrt(np.diag(np.linalg.inv(information)))
    if fitted.family == NEGATIVE:
        se[-1] *= float(fitted.family_parameters.iloc[0])
    assert np.sqrt(
        np.diag(fitted.cov(parameters="all") if fitted.family == NEGATIVE else fitted.cov())
    ) == pytest.approx(se[: len(fitted.cov())], rel=1e-3)


@pytest.mark.parametrize("family", [POISSON, NEGATIVE])
def test_without_clusters(family: str) -> None:
    frame = drawn()
    fit = cg.pooled("y ~ x", frame, family=family)
    theta = np.array([*fit.params, *(np.log(fit.family_parameters) if family == NEGATIVE else [])])

    def loss(at: np.ndarray) -> float:
        alpha = float(np.exp(at[2])) if len(at) > 2 else 0.0
        return -float(log_p(frame.y.to_numpy(), at[0] + at[1] * frame.x.to_numpy(), alpha).sum())

    assert fit.loglik == pytest.approx(-loss(theta), abs=1e-9)
    found = minimize(loss, theta + 0.05, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(theta, found.x, atol=2e-5)


def test_slopes_nested_and_crossed_effects_come_with_the_kernel() -> None:
    """Models whose further variance is 0 in truth, so that they cannot be less likely than that of one intercept."""
    frame = drawn(alpha=0.0).assign(group=lambda d: d.id // 6)
    one = cg.random_effects("y ~ x", frame, cluster="id", family=POISSON)
    for formula in ("y ~ x + (x | id)", "y ~ x + (1 | group/id)", "y ~ x + (1 | id) + (1 | item)"):
        fit = cg.random_effects(formula, frame, family=POISSON)
        assert fit.loglik >= one.loglik - 1e-6
        assert fit.loglik == pytest.approx(one.loglik, abs=4.0)
    flat = cg.random_effects("y ~ x + (1 | id)", frame, family=POISSON)
    assert flat.loglik == pytest.approx(one.loglik, abs=1e-9)


def test_no_overdispersion_is_the_truncated_poisson_model() -> None:
    frame = drawn(seed=5, alpha=0.0)
    one = cg.random_effects("y ~ x", frame, cluster="id", family=POISSON)
    for seed in range(5, 30):
        frame = drawn(seed=seed, alpha=0.0)
        fit = cg.random_effects("y ~ x", frame, cluster="id", family=NEGATIVE)
        if fit.family_parameters["alpha"] == 0.0:
            break
    one = cg.random_effects("y ~ x", frame, cluster="id", family=POISSON)
    assert fit.family_parameters["alpha"] == 0.0
    assert fit.loglik == one.loglik
    np.testing.assert_array_equal(fit.params, one.params)
    assert "the truncated Poisson model" in str(fit)
    assert fit.dispersion_lr_test.statistic == 0.0


def test_means_are_those_of_counts_above_zero(fitted: Any) -> None:
    data, alpha = fitted.data, 0.0
    if fitted.family == NEGATIVE:
        alpha = float(fitted.family_parameters.iloc[0])
    eta = data.X @ fitted.params.to_numpy()
    y = np.arange(1.0, 4000.0)
    where = np.argsort(data.row_index)

    def mean(at: float) -> float:
        return float(np.exp(log_p(y, np.full(len(y), at), alpha)) @ y)

    typical = fitted.predict().to_numpy()
    assert typical[:20] == pytest.approx([mean(at) for at in eta[where][:20]], rel=1e-8)
    marginal = fitted.predict(kind="marginal").to_numpy()
    few = [
        sum(w * mean(at + fitted.sigma * s) for s, w in zip(GRID[::10], 10.0 * DENSITY[::10], strict=True))
        for at in eta[where][:4]
    ]
    assert marginal[:4] == pytest.approx(few, rel=1e-6)
    with_errors = fitted.predict(kind="marginal", level=0.95)
    assert np.isfinite(with_errors[["estimate", "std_error", "low", "high"]]).all(axis=None)
    assert (with_errors["low"] >= 1.0).all()


@pytest.mark.parametrize("kind", ["pooled", "typical", "marginal", "slopes"])
def test_averages_know_that_alpha_moves_the_mean(kind: str) -> None:
    """Errors by differences of the mean of counts above 0, over a grid of intercepts, in all parameters."""
    data, right = drawn(), ""
    if kind == "slopes":
        rng, right = np.random.default_rng(8), " + (0 + x | id)"
        mean = np.exp(0.7 + (0.3 + 0.8 * rng.normal(size=60)[data["id"]]) * data["x"])
        data = data.assign(y=rng.poisson(mean * rng.gamma(1.5, 1.0 / 1.5, len(data)))).query("y > 0")
    given = {} if kind in ("pooled", "slopes") else {"cluster": "id"}
    verb = cg.pooled if kind == "pooled" else cg.random_effects
    fit = verb(f"y ~ x{right}", data, family=NEGATIVE, **given)
    u = np.linspace(-8.0, 8.0, 401)
    density = stats.norm.pdf(u) * (u[1] - u[0])

    def effect(theta: np.ndarray) -> float:
        def mean(x: np.ndarray) -> float:
            size = 0.0 if kind in ("pooled", "typical") else theta[2] * (x if kind == "slopes" else 1.0)
            mu = np.exp(theta[0] + theta[1] * x + np.multiply.outer(u, size * np.ones_like(x)))
            return float(np.mean(density @ (mu / (1.0 - (1.0 + theta[-1] * mu) ** (-1.0 / theta[-1])))))

        x = data["x"].to_numpy()
        return (mean(x + 1e-4) - mean(x - 1e-4)) / 2e-4

    spread = [] if kind == "pooled" else [fit.variance_components["estimate"].iloc[0] if right else fit.sigma]
    theta = np.concatenate([fit.params, spread, fit.family_parameters])
    slopes = np.array([(effect(theta + h) - effect(theta - h)) / 2e-4 for h in 1e-4 * np.eye(len(theta))])
    found = fit.average_effects(
        "x", **({} if kind == "pooled" else {"kind": kind if kind == "typical" else "marginal"})
    )
    assert found["estimate"].iloc[0] == pytest.approx(effect(theta), rel=1e-6)
    V = fit.cov().to_numpy()
    assert found["std_error"].iloc[0] == pytest.approx(float(np.sqrt(slopes @ V @ slopes)), rel=1e-4)
    if kind == "pooled":  # with effects alpha hardly matters here; the case must tell the two apart somewhere
        alone = slopes[:-1] @ V[:-1, :-1] @ slopes[:-1]
        assert abs(np.sqrt(alone) / found["std_error"].iloc[0] - 1.0) > 0.01


def test_what_follows_a_fit(fitted: Any, tmp_path: Path) -> None:
    drawn_again = fitted.simulate(200, seed=2).to_numpy()
    assert drawn_again.min() == 1.0
    assert drawn_again.mean() == pytest.approx(fitted.predict(kind="marginal").mean(), rel=0.05)
    quantile = fitted.residuals("quantile", seed=1)
    assert abs(quantile.mean()) < 0.25
    for kind in ("response", "pearson", "deviance"):
        assert np.isfinite(fitted.residuals(kind)).all()
    assert set(fitted.ratios()["kind"]) == {"rate ratio", "rate"}
    assert np.isfinite(fitted.average_effects()[["estimate", "std_error"]]).all(axis=None)
    assert np.isfinite(fitted.conf_int(method="profile")).all(axis=None)
    fitted.save(tmp_path / "fit.json")
    again = cg.load(tmp_path / "fit.json")
    assert str(again) == str(fitted)
    assert again.predict(kind="marginal").equals(fitted.predict(kind="marginal"))


@pytest.mark.parametrize("family", [POISSON, NEGATIVE])
def test_whole_weights_are_repeats(family: str) -> None:
    frame = drawn()
    rows = frame.loc[frame.index.repeat(frame.w)]
    one = cg.random_effects("y ~ x", frame, cluster="id", weights="w", family=family)
    other = cg.random_effects("y ~ x", rows, cluster="id", family=family)
    assert one.loglik == pytest.approx(other.loglik, abs=1e-7)
    np.testing.assert_allclose(estimates(one), estimates(other), rtol=1e-5)
    np.testing.assert_allclose(one.cov(), other.cov(), rtol=1e-4)


def test_bad_data_in_words() -> None:
    frame = drawn()
    frame.loc[[3, 7], "y"] = 0
    for family in (POISSON, NEGATIVE):
        with pytest.raises(
            ResponseError, match=r"2 of 217 values of 'y' below 1 \(row 3: 0\)".replace("217", str(len(frame)))
        ):
            cg.random_effects("y ~ x", frame, cluster="id", family=family)
    with pytest.raises(DataError, match="no whole numbers"):
        cg.pooled("y ~ x", drawn().assign(w=0.5), weights="w", family=NEGATIVE)
    assert cg.pooled("y ~ x", drawn().assign(w=0.5), weights="w", family=POISSON).converged
    with pytest.raises(ClusterGLMError):
        cg.pooled("y ~ x", drawn().assign(y=1), family=POISSON)


def test_households_with_cholera() -> None:
    """McKendrick's counts of cases in 55 households that had any (Proc. Edinburgh Math. Soc. 44, 1926)."""
    from scipy.optimize import brentq

    frame = pd.DataFrame({"cases": np.repeat([1, 2, 3, 4], [32, 16, 6, 1])})
    fit = cg.pooled("cases ~ 1", frame, family=POISSON)
    rate = brentq(lambda mu: mu / -np.expm1(-mu) - 86.0 / 55.0, 0.1, 3.0, xtol=1e-14)
    assert np.exp(fit.params["(Intercept)"]) == pytest.approx(rate, rel=1e-8)
    assert rate == pytest.approx(0.972, abs=5e-4)
    assert fit.predict().iloc[0] == pytest.approx(86.0 / 55.0)


@pytest.mark.parametrize("right", ["(x | id)", "(1 | id/sub)", "(1 | id) + (1 | item)"])
def test_marginal_means_with_several_effects_are_those_of_draws(right: str) -> None:
    """A truncated mean is no exponential: averages over effects are of the mean itself."""
    rng, n = np.random.default_rng(5), 240
    ids, x = np.repeat(np.arange(20), 12), rng.normal(size=n)
    d = pd.DataFrame({"id": ids, "sub": np.arange(n) // 4, "item": np.arange(n) % 6, "x": x})
    d["k"] = rng.poisson(np.exp(0.2 + 0.4 * x + 0.7 * rng.normal(size=20)[ids]))
    d = d[d["k"] > 0]
    fit: Any = cg.random_effects(f"k ~ x + {right}", d, family="truncated_poisson", quadrature="laplace")
    table = fit.predict(kind="marginal", level=0.9)
    order = np.argsort(fit.data.row_index)
    scaled = (fit.fit.effects.Z @ fit.fit.factor)[order]
    eta = (fit.data.X @ fit.params.to_numpy())[order]
    rate = np.exp(eta + rng.standard_normal((20_000, scaled.shape[1])) @ scaled.T)
    assert table["estimate"].to_numpy() == pytest.approx((rate / -np.expm1(-rate)).mean(axis=0), rel=0.03)
    free, h = np.flatnonzero(np.diag(fit._delta_covariance("observed")) > 0.0), 1e-5
    values, moved = np.concatenate([fit.fit.beta, fit.fit.phi]), []
    for move in np.eye(len(values))[free] * h:
        ends = []
        for at in (values + move, values - move):
            p = len(fit.fit.beta)
            ends.append(replace(fit, fit=replace(fit.fit, beta=at[:p], phi=at[p:])).predict(kind="marginal").to_numpy())
        moved.append((ends[0] - ends[1]) / (2.0 * h))
    V = fit._delta_covariance("observed")[np.ix_(free, free)]
    errors = np.sqrt(np.einsum("kn,kl,ln->n", np.array(moved), V, np.array(moved)))
    assert table["std_error"].to_numpy() == pytest.approx(errors, rel=1e-4)
    assert np.isfinite(fit.marginal_coefficients()["std_error"]).all()
    if "item" not in right:
        with pytest.raises(OptionError, match="kind='conditional'"):
            fit.predict(kind="posterior")
