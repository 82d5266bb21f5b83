"""Tests of proportional odds against the wider model, by differences and by a search of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import ClusterGLMError


def patients() -> pd.DataFrame:
    """60 clusters of five ratings in four categories."""
    rng = np.random.default_rng(3)
    cluster, x = np.repeat(np.arange(60), 5), rng.normal(size=300)
    y = np.digitize(0.8 * x + 0.7 * rng.normal(size=60)[cluster] + rng.logistic(size=300), [-1.0, 0.4, 2.0])
    kind = pd.CategoricalDtype(["bad", "fair", "good", "fine"], ordered=True)
    return pd.DataFrame({"y": pd.Categorical.from_codes(y, dtype=kind), "x": x, "id": cluster})


def wider(fit: Any, data: pd.DataFrame) -> tuple[np.ndarray, Callable[[np.ndarray], float]]:
    """Estimates, and the log-likelihood with a slope for each threshold, by a Gauss-Hermite rule of its own.

    In (beta, sigma where there is one, thresholds, differences of the slopes of x and z at the second and third).
    """
    random = fit.kind == "random_effects"
    u, w = np.polynomial.hermite_e.hermegauss(40)
    codes, X = data["y"].cat.codes.to_numpy(), data[["x", "z"]].to_numpy()
    at = np.array([*fit.params, *([fit.sigma] if random else []), *fit.thresholds, 0.0, 0.0, 0.0, 0.0])

    def loglik(theta: np.ndarray) -> float:
        slopes = np.vstack([np.zeros((1, 2)), theta[-4:].reshape(2, 2)])  # at each threshold, beside beta
        b = theta[2] * u if random else np.zeros(40)
        cuts = theta[-7:-4] - X @ slopes.T
        eta = (X @ theta[:2])[:, None] + b
        below = expit(cuts[:, :, None] - eta[:, None, :])
        p = np.diff(below, axis=1, prepend=0.0, append=1.0)[np.arange(len(codes)), codes]
        with np.errstate(invalid="ignore", divide="ignore"):
            whole = np.add.reduceat(np.log(p), np.arange(0, len(data), 5), axis=0)
        found = float(np.log(np.exp(whole) @ w / w.sum()).sum())
        return found if np.isfinite(found) else -1e10

    return at, loglik


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_likelihood_ratios_are_those_of_the_maxima(verb: str) -> None:
    """By a search without derivatives that are ours, from the estimates, in columns of like size."""
    data = patients().assign(z=lambda d: 10.0 + np.sin(5.0 * d["x"]))
    fit = getattr(cg, verb)("y ~ x + z", data, cluster="id", family="ordinal")
    found = fit.parallel_test("lr")
    at, loglik = wider(fit, data)
    top = loglik(at)
    assert top == pytest.approx(fit.loglik, abs=1e-5)
    first = len(at) - 4
    centred = np.eye(len(at))  # thresholds at the mean of z, so that the search is not along a narrow ridge
    centred[first - 3 : first, 1] = 10.0
    centred[first - 2 : first, [first + 1, first + 3]] = np.diag([10.0, 10.0])
    for name, which in (("all", [0, 1, 2, 3]), ("x", [0, 2]), ("z", [1, 3])):
        some = np.r_[np.arange(first), first + np.array(which)]

        def negative(free: np.ndarray, some: np.ndarray = some) -> float:
            inside = np.zeros(len(at))
            inside[some] = free
            return -loglik(centred @ inside)

        begin = np.linalg.solve(centred, at)[some]
        best = minimize(negative, begin, method="BFGS", options={"gtol": 1e-5})
        best = minimize(negative, best.x, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8, "maxfev": 4000})
        expected = 2.0 * (-best.fun - top)
        assert found.statistic[found.terms.index(name)] == pytest.approx(expected, abs=2e-4), name
    assert "likelihood-ratio tests" in str(found)
    assert found.df.tolist() == [4, 2, 2]


EXPLICIT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pooled": ("pooled", "y ~ x + z", {}),
    "intercept": ("random_effects", "y ~ x + z", {"cluster": "id"}),
    "nodes": ("random_effects", "y ~ x + z", {"cluster": "id", "quadrature": 7}),
    "slopes": ("random_effects", "y ~ x + z + (x | id)", {"quadrature": 3}),
}


@pytest.mark.parametrize("model", EXPLICIT)
def test_likelihood_ratios_are_those_of_explicit_fits(model: str) -> None:
    verb, formula, options = EXPLICIT[model]
    data = patients().assign(z=lambda d: np.sin(5.0 * d["x"]))
    rng = np.random.default_rng(2)
    data["y"] = data["y"].cat.codes + (rng.random(len(data)) < 0.3) * (data["x"] > 0.0) * (data["y"].cat.codes == 1)
    fit = getattr(cg, verb)(formula, data, family="ordinal", **options)
    found = fit.parallel_test("lr")
    for name, terms in (("all", "."), ("x", "x"), ("z", "z")):
        explicit = getattr(cg, verb)(formula, data, family="ordinal", nonparallel=terms, **options)
        at = found.terms.index(name)
        assert found.statistic[at] == pytest.approx(2.0 * (explicit.loglik - fit.loglik), abs=1e-8), name
        test = cg.compare(fit, explicit).tests[0]
        assert (test.df, test.statistic) == (found.df[at], pytest.approx(found.statistic[at], abs=1e-8))


def test_published_likelihood_ratios() -> None:
    """What nominal_test(clm(rating ~ temp + contact, data = wine)) prints, in the vignette of R's ordinal.

    No warm wine was rated 1: that of temp is the ratio of a limit, and nonparallel="temp" has no fit.
    """
    found = cg.pooled("rating ~ temp + contact", cg.datasets.load("wine"), family="ordinal").parallel_test("lr")
    assert found.statistic[1:] == pytest.approx([3.1750, 0.5667], abs=5e-5)
    assert found.pvalue[1:] == pytest.approx([0.3654, 0.9040], abs=5e-5)
    with pytest.raises(ClusterGLMError, match="separate"):
        cg.pooled("rating ~ temp", cg.datasets.load("wine"), family="ordinal", nonparallel="temp")


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_maxima_where_thresholds_cross_are_said(verb: str) -> None:
    """The middle category never occurs at x = 1, where thresholds would cross: in the model of nonparallel= too."""
    x, y = np.r_[np.repeat([0, 1], 30), 0], np.r_[np.tile([0, 1, 2], 10), np.tile([0, 3, 2], 10), 3]
    data = pd.DataFrame({"x": x, "y": y, "z": np.sin(np.arange(61.0)), "id": np.arange(61) % 7})
    found = getattr(cg, verb)("y ~ x + z", data, cluster="id", family="ordinal").parallel_test("lr")
    assert np.isnan(found.statistic).tolist() == [True, True, False]
    assert [each.split(":")[0] for each in found.notes] == ["all", "x"]
    assert "up to where thresholds of 30 of 61 rows cross" in found.notes[1]
    assert str(found).endswith(found.notes[1])
    with pytest.raises(ClusterGLMError, match=r"30 of 61 rows that would cross"):
        getattr(cg, verb)("y ~ x + z", data, cluster="id", family="ordinal", nonparallel="x")


def test_score_and_likelihood_ratio_agree_where_the_model_holds_or_nearly() -> None:
    data = patients()
    for fit in (
        cg.random_effects("y ~ x", data, cluster="id", family="ordinal"),
        cg.random_effects("y ~ x + (x | id)", data, family="ordinal", quadrature=9),
        cg.random_effects("y ~ x", data, cluster="id", family="ordinal", sigma=0.5, fix_sigma=True),
    ):
        one, other = fit.parallel_test(), fit.parallel_test(method="lr")
        assert one.statistic == pytest.approx(other.statistic, rel=0.15)
        assert one.df.tolist() == other.df.tolist()
    with pytest.raises(ClusterGLMError, match="method='wald'"):
        fit.parallel_test("wald")


@pytest.mark.parametrize("verb", ["pooled", "random_effects"])
def test_parallel_effects_by_differences_of_the_wider_model(verb: str) -> None:
    """Score and information of the model with a slope for each threshold, by a Gauss-Hermite rule of its own."""
    data = patients().assign(z=lambda d: 10.0 + np.sin(5.0 * d["x"]))
    fit = getattr(cg, verb)("y ~ x + z", data, cluster="id", family="ordinal")
    found = fit.parallel_test()
    at, loglik = wider(fit, data)
    steps = np.diag(np.r_[1e-3, 1e-4, np.full(len(at) - 2, 1e-3)] * np.r_[np.ones(len(at) - 4), 1.0, 0.1, 1.0, 0.1])
    score = np.array([(loglik(at + e) - loglik(at - e)) / (2.0 * e.sum()) for e in steps])

    def twice(e: np.ndarray, f: np.ndarray) -> float:
        corners = loglik(at + e + f) - loglik(at + e - f) - loglik(at - e + f) + loglik(at - e - f)
        return corners / (4.0 * e.sum() * f.sum())

    H = np.array([[twice(e, f) for f in steps] for e in steps])
    assert found.terms == ("all", "x", "z")
    assert found.df.tolist() == [4, 2, 2]
    assert found.statistic[0] == pytest.approx(score @ np.linalg.solve(-H, score), rel=1e-3)
    some = np.r_[np.arange(len(at) - 4), len(at) - 4, len(at) - 2]
    expected = score[some] @ np.linalg.solve(-H[np.ix_(some, some)], score[some])
    assert found.statistic[1] == pytest.approx(expected, rel=1e-3)


def test_parallel_effects_where_there_are_none() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=3000)
    below = expit(np.array([-1.0, 0.5]) - np.outer(x, [1.5, 0.2]))
    below[:, 1] = np.maximum(below[:, 1], below[:, 0])
    y = (rng.random(3000)[:, None] > below).sum(axis=1)
    data = pd.DataFrame({"y": y, "x": x, "z": rng.normal(size=3000)})
    found = cg.pooled("y ~ x + z", data, family="ordinal").parallel_test()
    assert found.pvalue[1] < 1e-10
    assert found.pvalue[2] > 0.01
    assert "chi2" in str(found)
    for fit in (
        cg.pooled("y ~ x", data, family="ordinal", link="cloglog"),
        cg.pooled("y ~ 1", data, family="ordinal"),
        cg.pooled("y ~ x", data[data["y"] > 0], family="ordinal"),
    ):
        with pytest.raises(ClusterGLMError, match="parallel effects"):
            fit.parallel_test()
