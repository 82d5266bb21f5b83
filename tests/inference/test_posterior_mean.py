"""Means given what is known of a cluster, against integrals that share no code with the package, and against draws."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from clusterglm.inference.distribution.mass_points import scores_at
from clusterglm.inference.predictions.integrals import log_integrals
from clusterglm.inference.predictions.posterior_mean import PosteriorMean, posterior_mean, posterior_of
from clusterglm.model.distribution import distribution as read_distribution
from clusterglm.model.family import response
from clusterglm.model.response.base import Response

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from oracle import Rows, intercept, log_integral
from oracle.models import LINKS
from oracle.response import Long

DISTRIBUTIONS = {
    "gaussian": ("gaussian", ()),
    "logistic": ("logistic", ()),
    "cauchy": ("cauchy", ()),
    "laplace": ("laplace", ()),
    "bridge": ("bridge", ()),
    "log_gamma": ("log_gamma", ()),
    "student_t(3)": ("student_t", (3.0,)),
    "gaussian_mixture(0.3, 3)": ("gaussian_mixture", (0.3, 3.0)),
}
BINOMIAL = [link for link in LINKS if link != "log"]


def clustered(y: list[list[float]], eta: list[list[float]], family: str = "binomial") -> Any:
    """Clusters of single trials, or counts, whose linear predictors at beta = 1 are `eta`."""
    flat = np.array([value for each in y for value in each])
    starts = np.concatenate([[0], np.cumsum([len(each) for each in y])]).astype(np.int64)
    return SimpleNamespace(
        n_clusters=len(y),
        X=np.array([value for each in eta for value in each])[:, None],
        a=flat,
        b=1.0 - flat if family == "binomial" else np.ones(len(flat)),
        offset=np.zeros(len(flat)),
        starts=starts,
        cluster_weights=np.ones(len(y)),
    )


def predicted(
    data: Any, model: Response, name: str, sigma: float, at: np.ndarray, cluster: np.ndarray
) -> PosteriorMean:
    theta = np.array([1.0, sigma])
    posterior = posterior_of(data, model, read_distribution(name), theta)
    return posterior_mean(posterior, at[:, None], np.zeros(len(at)), cluster, gradient=True)


Y = [[0.0, 0.0, 0.0], [1.0, 1.0], [1.0, 0.0, 0.0, 1.0, 0.0], 12 * [0.0, 1.0, 1.0]]
ETA = [[-2.0, 0.3, 1.0], [0.5, -1.0], [0.1, 0.2, -3.0, 1.0, 0.0], list(np.linspace(-2.0, 2.0, 36))]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("link", BINOMIAL)
@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_probabilities_are_ratios_of_certified_integrals(link: str, name: str, sigma: float) -> None:
    model, (code, shape) = response("binomial", link), DISTRIBUTIONS[name]
    data = clustered(Y, ETA)
    at, cluster = np.tile([-9.0, -1.0, 1.5], len(Y)), np.repeat(np.arange(len(Y)), 3)
    found = predicted(data, model, name, sigma, at, cluster)
    assert found.resolved.all()
    law = intercept(code, sigma, *shape)

    def log(y: list[float], eta: list[float]) -> float:
        a = np.array(y, dtype=Long)
        return log_integral(Rows(np.array(eta, dtype=Long), a, 1 - a, Long(0)), link, law).value

    for k, (x, i) in enumerate(zip(at, cluster, strict=True)):
        alone = log(Y[i], ETA[i])
        want = [float(np.exp(log([*Y[i], y], [*ETA[i], x]) - alone)) for y in (1.0, 0.0)]
        got = [np.exp(model.value(found.link[[k]], *np.array([[y], [1.0 - y]])))[0] for y in (1.0, 0.0)]
        np.testing.assert_allclose(got, want, rtol=5e-9)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_expected_counts_against_mpmath(sigma: float) -> None:
    y, eta = [[0.0, 2.0, 1.0], [0.0]], [[0.2, 1.0, -0.5], [-1.0]]
    at, cluster = np.array([0.3, -2.0]), np.array([0, 1])
    found = predicted(clustered(y, eta, "poisson"), response("poisson", "log"), "gaussian", sigma, at, cluster)
    with mp.workdps(25):
        for k, i in enumerate(cluster):

            def integral(power: int, i: int = i) -> mp.mpf:
                def term(v: mp.mpf) -> mp.mpf:
                    log = sum(c * (e + v) - mp.exp(e + v) for c, e in zip(y[i], eta[i], strict=True))
                    return mp.exp(log + power * v - v * v / (2 * sigma**2))

                return mp.quad(term, np.linspace(-12.0 * sigma, 12.0 * sigma, 33).tolist())

            assert float(mp.log(integral(1) / integral(0))) == pytest.approx(found.link[k] - at[k], abs=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "cauchy", "laplace", "bridge", "gaussian_mixture(0.3, 3)"])
@pytest.mark.parametrize("link", [*BINOMIAL, "log"])
def test_gradients_are_those_of_the_link(link: str, name: str) -> None:
    family = "poisson" if link == "log" else "binomial"
    model, data, h = response(family, link), clustered(Y, ETA, family), 1e-4
    cluster, at, offset = np.repeat(np.arange(4), 2), np.tile([-1.0, 0.7], 4), np.linspace(-0.3, 0.3, 8)

    def link_at(theta: np.ndarray) -> PosteriorMean:
        posterior = posterior_of(data, model, read_distribution(name), theta)
        return posterior_mean(posterior, at[:, None], offset, cluster, gradient=True)

    theta = np.array([0.8, 1.3])
    found = link_at(theta)
    for j, step in enumerate(h * np.eye(2)):
        near = [link_at(theta + k * step).link for k in (-2, -1, 1, 2)]
        slope = (near[0] - 8.0 * near[1] + 8.0 * near[2] - near[3]) / (12.0 * h)
        np.testing.assert_allclose(found.gradient[:, j], slope, rtol=2e-5, atol=2e-5)


def test_far_out_the_rows_own_integral_is_taken() -> None:
    """Where a success needs an intercept beyond the cluster's rule, that rule is not believed."""
    data, model = clustered([[0.0, 1.0], [0.0]], [[0.0, 0.0], [0.0]]), response("binomial", "logit")
    at, cluster = np.array([-60.0, 45.0, -60.0, 45.0]), np.array([0, 0, 1, 1])
    found = predicted(data, model, "gaussian", 4.0, at, cluster)
    assert found.resolved.all()
    with mp.workdps(30):
        for k, i in enumerate(cluster):

            def integral(sign: int, i: int = i, x: float = float(at[k])) -> mp.mpf:
                def term(v: mp.mpf) -> mp.mpf:
                    p = 1 / (1 + mp.exp(-v))
                    own = (1 - p) * (p if i == 0 else 1)
                    return mp.exp(-v * v / 32) * own * (1 / (1 + mp.exp(-sign * (x + v))) if sign else 1)

                return mp.quad(term, np.linspace(-100.0, 100.0, 101).tolist())

            sign = 1 if at[k] < 0.0 else -1  # the rarer outcome
            want = float(mp.log(integral(sign) / integral(0)))
            got = model.value(found.link[[k]], np.array([sign > 0]) * 1.0, np.array([sign < 0]) * 1.0)[0]
            assert got == pytest.approx(want, abs=1e-8)


def test_what_float64_cannot_hold_is_not_resolved() -> None:
    data, model = clustered([[0.0, 1.0]], [[0.0, 0.0]]), response("binomial", "probit")
    found = predicted(data, model, "gaussian", 0.1, np.array([-60.0, 0.0]), np.array([0, 0]))
    assert found.resolved.tolist() == [False, True]


def test_large_clusters_and_many_rows_in_blocks() -> None:
    rng = np.random.default_rng(1)
    eta = rng.normal(size=6000)
    y = (rng.random(6000) < 1.0 / (1.0 + np.exp(-eta - 0.4))).astype(float)
    data, model = clustered([y.tolist(), [0.0]], [eta.tolist(), [0.0]]), response("binomial", "logit")
    at, cluster = np.append(eta, eta), np.repeat([0, 1], 6000)
    found = predicted(data, model, "gaussian", 1.2, at, cluster)
    some = np.array([0, 5, 5999, 6001, 11_999])
    few = predicted(data, model, "gaussian", 1.2, at[some], cluster[some])
    np.testing.assert_allclose(found.link[some], few.link, rtol=2e-10)
    np.testing.assert_allclose(found.gradient[some], few.gradient, rtol=1e-9)
    ratio = log_integrals(
        np.append(data.X[:6000], [[at[5]]], axis=0),
        np.zeros(6001),
        np.append(y, 1.0),
        np.append(1.0 - y, 0.0),
        np.array([0, 6001]),
        np.array([1.0, 1.2]),
        model,
        read_distribution("gaussian"),
    )
    alone = log_integrals(
        data.X, data.offset, data.a, data.b, data.starts, np.array([1.0, 1.2]), model, read_distribution("gaussian")
    )
    assert np.log(model.mean(found.link[[5]]))[0] == pytest.approx((ratio.values - alone.values[:1])[0], abs=1e-8)


def test_scores_of_clusters_at_given_intercepts() -> None:
    data, model = clustered(Y, ETA), response("binomial", "cloglog")
    members, v = np.array([3, 0]), np.array([[0.3, -1.0, np.inf], [2.0, 0.0, -np.inf]])
    by_beta, by_intercept = scores_at(data, model, np.array([0.7]), members, v)
    for c, i in enumerate(members):
        rows = slice(data.starts[i], data.starts[i + 1])
        for k in range(2):
            slope = model.derivatives(0.7 * data.X[rows, 0] + v[c, k], data.a[rows], data.b[rows])[1]
            found = [*by_beta[:, c, k], by_intercept[c, k]]
            np.testing.assert_allclose(found, [slope @ data.X[rows, 0], slope.sum()], rtol=1e-12)


def test_made_up_clusters_without_an_intercept() -> None:
    X, model = np.array([[0.5], [1.0], [-2.0]]), response("binomial", "logit")
    a, b, starts = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0]), np.array([0, 2, 3])
    found = log_integrals(X, np.zeros(3), a, b, starts, np.array([0.4, 0.0]), model, read_distribution("gaussian"))
    p = 1.0 / (1.0 + np.exp(-0.4 * X[:, 0]))
    np.testing.assert_allclose(found.values, [np.log((1.0 - p[0]) * p[1]), np.log(1.0 - p[2])])
    np.testing.assert_allclose(found.scores[:, 0], [-p[0] * 0.5 + 1.0 - p[1], 2.0 * p[2]])
    assert found.accurate.all()


def test_a_cluster_without_an_accurate_integral_does_not_taint_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves tell which it was; here the one with a row beyond all others."""
    import clusterglm.inference.predictions.integrals as module

    real = module.choose_plan

    def doubtful(likelihood: Any, theta: np.ndarray, tolerance: float, unimodal: bool) -> Any:
        choice = real(likelihood, theta, tolerance, unimodal)
        bad = np.any(likelihood.cluster_values(theta, choice.plan[0].rule, None)[0] < -50.0)
        return type(choice)(choice.plan, 1.0) if bad else choice

    X, starts, theta = np.array([[1.0], [0.5], [80.0], [0.2], [1.0]]), np.arange(6), np.array([1.0, 0.5])
    model, law = response("binomial", "logit"), read_distribution("gaussian")
    plain = log_integrals(X, np.zeros(5), np.zeros(5), np.ones(5), starts, theta, model, law)
    assert plain.accurate.all()
    monkeypatch.setattr(module, "choose_plan", doubtful)
    found = log_integrals(X, np.zeros(5), np.zeros(5), np.ones(5), starts, theta, model, law)
    assert found.accurate.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(found.values, plain.values, rtol=1e-9)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-7)


@pytest.mark.parametrize("name", ["laplace", "log_gamma", "gaussian", "cauchy"])
def test_a_sharp_cluster_thousands_of_sigmas_out_is_right_or_said_to_be_unknown(name: str) -> None:
    """No rule that knows its error reaches such an integral; a rule taken for want of better is not believed."""
    data, model = clustered([[0.0], [1.0]], [[0.0], [0.0]]), response("binomial", "cloglog")
    data.a, data.b = np.array([2e6, 1.0]), np.array([30.0, 0.0])
    found = predicted(data, model, name, 1e-5, np.array([-3.0, 0.5, 0.5]), np.array([0, 0, 1]))
    assert found.resolved[2]
    law = intercept(name, 1e-5)
    for k, (i, x) in enumerate(((0, -3.0), (0, 0.5), (1, 0.5))):
        rows = [np.array([0.0, x], dtype=Long), np.append(data.a[[i]], 1.0), np.append(data.b[[i]], 0.0)]
        eta, a, b = (np.asarray(each, dtype=Long) for each in rows)
        more, alone = (log_integral(Rows(eta[:n], a[:n], b[:n], Long(0)), "cloglog", law) for n in (2, 1))
        error = abs(float(np.log(model.mean(found.link[[k]]))[0]) - float(more.value - alone.value))
        assert error < 1e-8 + float(more.error + alone.error) or not found.resolved[k]


def test_nothing_infinite_comes_from_far_intercepts_of_no_weight() -> None:
    """Heavy tails beside a row whose likelihood falls like exp(-exp(v))."""
    data, model = clustered([[0.0, 1.0]], [[0.0, -1.0]]), response("binomial", "cloglog")
    data.b = np.array([1e6, 0.0])
    found = predicted(data, model, "cauchy", 8.0, np.array([0.5]), np.array([0]))
    assert np.isfinite(found.gradient).all()
    assert found.resolved.all()
