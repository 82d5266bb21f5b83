"""Firth's penalty: derivatives, and maxima found without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import binom, norm

import clusterglm as cg
from clusterglm.fit.penalty import JeffreysPenalty
from clusterglm.model.family import RESPONSES

EXACT = cg.Control(tol=1e-10)
CODES = pytest.mark.parametrize("code", RESPONSES)

MEANS: dict[str, Any] = {
    "binomial_logit": lambda eta: 1 / (1 + np.exp(-eta)),
    "binomial_probit": norm.cdf,
    "binomial_cloglog": lambda eta: 1 - np.exp(-np.exp(eta)),
    "poisson_log": np.exp,
    "truncated_poisson_log": lambda eta: np.exp(eta) / -np.expm1(-np.exp(eta)),
}


def information(code: str, eta: np.ndarray) -> np.ndarray:
    """Squared slope of the mean over the variance, the slope by differences."""
    mean, step = MEANS[code], 1e-5
    slope = (mean(eta + step) - mean(eta - step)) / (2 * step)
    mu = mean(eta)
    if RESPONSES[code].bounded:
        return slope**2 / (mu * (1 - mu))
    return slope**2 / (mu if code == "poisson_log" else mu * (1.0 + np.exp(eta) - mu))


@CODES
def test_expected_information_by_definition_and_by_differences(code: str) -> None:
    eta, step = np.linspace(-4.0, 1.5, 23), 1e-5
    w, w1, w2 = RESPONSES[code].expected_information(eta)
    np.testing.assert_allclose(w, information(code, eta), rtol=1e-7)
    (ahead, ahead1, _), (back, back1, _) = (RESPONSES[code].expected_information(eta + s) for s in (step, -step))
    np.testing.assert_allclose(w1, (ahead - back) / (2 * step), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(w2, (ahead1 - back1) / (2 * step), rtol=1e-7, atol=1e-9)


@CODES
def test_expected_information_keeps_its_tails(code: str) -> None:
    """Far out it falls without jumps or signs: on a log scale its slope is that of its derivative."""
    eta = np.linspace(-30.0, 3.0, 67)
    w, w1, _ = RESPONSES[code].expected_information(eta)
    assert (w > 0.0).all()
    h = 1e-4
    ends = [np.log(RESPONSES[code].expected_information(eta + s)[0]) for s in (h, -h)]
    np.testing.assert_allclose(w1 / w, (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-6)


@CODES
def test_penalty_derivatives(code: str) -> None:
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(25), rng.normal(size=(25, 2))])
    penalty = JeffreysPenalty(X, rng.integers(1, 5, 25).astype(float), rng.normal(size=25), RESPONSES[code], 0.7)
    gamma, step = np.array([-0.4, 0.6, -0.3]), 1e-5
    here = penalty.evaluate(gamma)
    determinant = np.linalg.slogdet(penalty.information(gamma))[1]
    assert here.value == pytest.approx(0.5 * determinant + 0.7, rel=1e-12)
    rows, without = slice(4, 9), penalty.score_without(gamma)
    kept = np.delete(np.arange(25), rows)
    others = JeffreysPenalty(X[kept], penalty.size[kept], penalty.offset[kept], penalty.response)
    np.testing.assert_allclose(without(rows, others.information(gamma)), others.evaluate(gamma).score, rtol=1e-9)
    for j, unit in enumerate(np.eye(3)):
        ahead, back = penalty.evaluate(gamma + step * unit), penalty.evaluate(gamma - step * unit)
        assert here.score[j] == pytest.approx((ahead.value - back.value) / (2 * step), rel=1e-6, abs=1e-8)
        np.testing.assert_allclose(here.hessian[j], (ahead.score - back.score) / (2 * step), rtol=1e-6, atol=1e-8)


def test_hessian_of_many_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of rows, some at a time, against differences of the score."""
    monkeypatch.setattr("clusterglm.fit.penalty._ELEMENTS", 100)
    rng = np.random.default_rng(6)
    penalty = JeffreysPenalty(rng.normal(size=(30, 9)), np.ones(30), np.zeros(30), RESPONSES["binomial_cloglog"])
    gamma, direction = 0.3 * rng.normal(size=9), rng.normal(size=9)
    ahead, back = (penalty.evaluate(gamma + step * direction).score for step in (1e-5, -1e-5))
    np.testing.assert_allclose(penalty.evaluate(gamma).hessian @ direction, (ahead - back) / 2e-5, rtol=1e-6, atol=1e-7)


def test_where_nothing_is_known_the_penalty_forbids() -> None:
    penalty = JeffreysPenalty(np.ones((3, 1)), np.ones(3), np.zeros(3), RESPONSES["binomial_logit"])
    assert penalty.evaluate(np.array([1e4])).value == -np.inf


def brute_force(code: str, X: np.ndarray, y: np.ndarray, n: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Maximum by a simplex, of a likelihood and an information written out anew."""

    def loss(beta: np.ndarray) -> float:
        eta = X @ beta + offset
        mu = MEANS[code](eta)
        with np.errstate(all="ignore"):
            if code == "poisson_log":
                value = np.sum(y * eta - n * mu)
            else:
                value = np.sum(np.where(y > 0, y * np.log(mu), 0) + np.where(n > y, (n - y) * np.log1p(-mu), 0))
            half = 0.5 * np.linalg.slogdet((X.T * (n * information(code, eta))) @ X)[1]
        return -(value + half) if np.isfinite(value + half) else 1e10

    best = np.zeros(X.shape[1])
    for _ in range(6):
        best = minimize(loss, best, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}).x
    return best


@CODES
@pytest.mark.parametrize("separated", [False, True])
def test_maximum_by_brute_force(code: str, separated: bool) -> None:
    rng = np.random.default_rng(11)
    family, link = code.split("_")
    x, g = rng.normal(size=40), np.arange(40) % 4 == 0
    n, offset = rng.integers(1, 4, 40), 0.3 * rng.normal(size=40)
    y = rng.binomial(n, MEANS["binomial_logit"](0.5 * x)) if family == "binomial" else rng.poisson(n * np.exp(0.4 * x))
    if separated:
        y = np.where(g, 0, y)
    frame = {"y": y, "z": n - y, "x": x, "g": g.astype(int), "n": n, "o": offset}
    left, how = ("cbind(y, z)", {"offset": "o"})
    if family == "poisson":  # as many trials are an exposure
        left, frame["o"] = "y", offset + np.log(n)
    fit = cg.pooled(f"{left} ~ x + g", frame, family=family, link=link, penalty="firth", **how)
    X = np.column_stack([np.ones(40), x, g])
    np.testing.assert_allclose(fit.params, brute_force(code, X, y, n, offset), atol=2e-5)
    assert fit.converged
    assert fit.optimization.gradient_norm < 1e-6


def test_exact_solution_of_one_proportion() -> None:
    """Half a success and half a failure more, in the logit model without covariates (Firth 1993)."""
    fit = cg.pooled("y ~ 1", {"y": [1, 1, 1, 1, 1, 0, 0]}, penalty="firth", control=EXACT)
    assert fit.params.iloc[0] == pytest.approx(np.log(5.5 / 2.5), rel=1e-9)
    counts = cg.pooled("y ~ 1", {"y": [0, 0, 0]}, family="poisson", penalty="firth", control=EXACT)
    assert counts.params.iloc[0] == pytest.approx(np.log(0.5 / 3), rel=1e-9)  # half an event more


def test_weights_count_rows_and_clusters() -> None:
    rng = np.random.default_rng(2)
    d = pd.DataFrame({"y": rng.integers(0, 2, 30), "x": rng.normal(size=30), "w": rng.integers(1, 4, 30)})
    d["id"], d["u"] = np.arange(30) // 3, 1 + (np.arange(30) // 3) % 2
    one = cg.pooled("y ~ x", d, weights="w", cluster="id", cluster_weights="u", penalty="firth", control=EXACT)
    repeated = d.loc[np.repeat(d.index, d.w * d.u)]
    other = cg.pooled("y ~ x", repeated, penalty="firth", control=EXACT)
    np.testing.assert_allclose(one.params, other.params, rtol=1e-9)
    np.testing.assert_allclose(one.cov(), other.cov(), rtol=1e-8)
    assert one.penalized_loglik == pytest.approx(other.penalized_loglik, rel=1e-12)


def test_units_of_covariates_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=60)
    d = pd.DataFrame({"x": x, "far": 1e6 + 1e4 * x, "y": rng.integers(0, 2, 60)})
    one, other = (cg.pooled(f"y ~ {name}", d, penalty="firth", control=EXACT) for name in ("x", "far"))
    assert other.params["far"] == pytest.approx(one.params["x"] / 1e4, rel=1e-7)
    assert other.loglik == pytest.approx(one.loglik, rel=1e-10)
    assert one.penalized_loglik - other.penalized_loglik == pytest.approx(-np.log(1e4), rel=1e-8)  # of det(X'WX)
    none = cg.pooled("y ~ 1", d, penalty="firth")
    first, second = (cg.compare(none, fit).tests[0].statistic for fit in (one, other))
    assert first == pytest.approx(second, rel=1e-7)


def test_bias_of_order_1_over_n_is_gone() -> None:
    """The mean of a log-odds ratio over all tables that two groups of twelve can give."""
    p, count = MEANS["binomial_logit"](np.array([0.3, -0.5])), np.arange(13)
    first, second = (binom.pmf(count, 12, each) for each in p)
    mean = 0.0
    for s, t in np.argwhere(np.outer(first, second) > 1e-5):
        table = {"s": [s, t], "f": [12 - s, 12 - t], "x": [0.0, 1.0]}
        mean += first[s] * second[t] * cg.pooled("cbind(s, f) ~ x", table, penalty="firth").params["x"]
    assert mean == pytest.approx(-0.8, abs=0.005)
