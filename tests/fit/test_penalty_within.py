"""Firth's penalty on conditional likelihoods: against logistic regression of pairs, and against enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import clusterglm as cg
from clusterglm.errors import SeparationError
from clusterglm.fit.penalty_within import PenalizedWithin
from clusterglm.fit.within import WithinSums, sums_within

EXACT = cg.Control(tol=1e-10)


@pytest.fixture(scope="module")
def pairs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Matched pairs, and what each case has more than its control; z separates in part."""
    rng = np.random.default_rng(1)
    dx, dz = rng.normal(size=40), (rng.random(40) < 0.3) * 1.0
    level = rng.normal(size=40)
    d = pd.DataFrame({"id": np.repeat(np.arange(40), 2), "case": np.tile([1, 0], 40)})
    d["x"], d["z"] = level.repeat(2), 0.0
    d.loc[d.case == 1, "x"] += dx
    d.loc[d.case == 1, "z"] = dz
    return d, pd.DataFrame({"y": 1, "dx": dx, "dz": dz})


def test_pairs_are_logistic_regression_of_differences(pairs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Breslow and Day 1980, section 7.3: the same likelihood, and so the same information."""
    d, differences = pairs
    with pytest.raises(SeparationError, match="penalty='firth', whose estimates are finite"):
        cg.conditional("case ~ x + z", d, cluster="id")
    fit = cg.conditional("case ~ x + z", d, cluster="id", penalty="firth", control=EXACT)
    other = cg.pooled("y ~ 0 + dx + dz", differences, penalty="firth", control=EXACT)
    np.testing.assert_allclose(fit.params.to_numpy(), other.params.to_numpy(), rtol=1e-8)
    np.testing.assert_allclose(fit.cov().to_numpy(), other.cov().to_numpy(), rtol=1e-7)
    assert fit.loglik == pytest.approx(other.loglik, rel=1e-8)
    assert fit.penalized_loglik == pytest.approx(other.penalized_loglik, rel=1e-10)
    ends, known = (each.conf_int(method="profile").to_numpy() for each in (fit, other))
    np.testing.assert_allclose(ends, known, rtol=1e-6)
    small = cg.conditional("case ~ x", d, cluster="id", penalty="firth")
    less = cg.pooled("y ~ 0 + dx", differences, penalty="firth")
    (test,), (same,) = cg.compare(small, fit).tests, cg.compare(less, other).tests
    assert test.statistic == pytest.approx(same.statistic, rel=1e-8)
    assert (test.df, test.penalized) == (1, True)


def test_units_and_levels_of_clusters_do_not_matter(pairs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    d = pairs[0].assign(far=lambda d: 1e4 * d.x + 1e6 * d.id)
    one, other = (cg.conditional(f"case ~ {x} + z", d, cluster="id", penalty="firth") for x in ("x", "far"))
    np.testing.assert_allclose(other.params.to_numpy(), one.params.to_numpy() / [1e4, 1.0], rtol=1e-6)
    without = [cg.conditional("case ~ z", d, cluster="id", penalty="firth") for _ in range(2)]
    first, second = (cg.compare(small, fit).tests[0] for small, fit in zip(without, (one, other), strict=True))
    assert first.statistic == pytest.approx(second.statistic, rel=1e-6)


def table(family: str, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"id": np.repeat(np.arange(12), 4), "x": rng.normal(size=48), "g": rng.integers(0, 2, 48)})
    d["y"] = rng.integers(0, 2, 48) if family == "binomial" else rng.poisson(1.5, 48)
    d["o"] = 0.3 * rng.normal(size=48)
    d.loc[d.g == 1, "y"] = 0  # separates
    return d


def parts(d: pd.DataFrame, family: str, beta: np.ndarray) -> tuple[float, np.ndarray]:
    """Conditional log-likelihood (without multinomial coefficients) and information, sum by sum."""
    loglik, information = 0.0, np.zeros((2, 2))
    for _, rows in d.groupby("id"):
        X, y, o = rows[["x", "g"]].to_numpy(float), rows.y.to_numpy(), rows.o.to_numpy()
        total = int(y.sum())
        if family == "poisson":
            p = np.exp(X @ beta + o)
            p /= p.sum()
            loglik += float(y @ np.log(p))
            information += total * ((X.T * p) @ X - np.outer(p @ X, p @ X))
            continue
        ways = [list(way) for way in combinations(range(len(y)), total)]
        sums = np.array([X[way].sum(axis=0) for way in ways])
        height = sums @ beta + np.array([o[way].sum() for way in ways])
        p = np.exp(height - height.max())
        norm = np.log(p.sum()) + height.max()
        p /= p.sum()
        loglik += float(y @ (X @ beta + o) - norm)
        information += (sums.T * p) @ sums - np.outer(p @ sums, p @ sums)
    return loglik, information


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_maximum_by_enumeration(family: str) -> None:
    d = table(family)

    def loss(beta: np.ndarray) -> float:
        loglik, information = parts(d, family, beta)
        return -loglik - 0.5 * float(np.linalg.slogdet(information)[1])

    best = np.zeros(2)
    for _ in range(4):
        best = minimize(loss, best, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    fit = cg.conditional("y ~ x + g", d, cluster="id", family=family, offset="o", penalty="firth")
    np.testing.assert_allclose(fit.params, best, atol=1e-5)
    loglik, information = parts(d, family, fit.params.to_numpy())
    np.testing.assert_allclose(fit.cov(), np.linalg.inv(information), rtol=1e-8)
    assert fit.penalized_loglik - fit.loglik == pytest.approx(0.5 * np.linalg.slogdet(information)[1], rel=1e-9)
    if family == "binomial":
        assert fit.loglik == pytest.approx(loglik, rel=1e-9)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_derivatives_against_differences_of_the_value(family: str) -> None:
    data = cg.conditional("y ~ x + g", table(family), cluster="id", family=family, penalty="firth")
    penalized = PenalizedWithin.of(WithinSums(sums_within(data.data, data.response, 1), conditional=True))
    gamma, step = np.array([0.4, -0.7]), 1e-5
    here = penalized.evaluate(gamma)
    for j, unit in enumerate(np.eye(2)):
        ahead, back = penalized.evaluate(gamma + step * unit), penalized.evaluate(gamma - step * unit)
        assert here.score[j] == pytest.approx((ahead.value - back.value) / (2 * step), rel=1e-7, abs=1e-8)
        np.testing.assert_allclose(here.hessian[j], (ahead.score - back.score) / (2 * step), rtol=2e-5, atol=1e-6)
