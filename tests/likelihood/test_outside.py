"""Summits of likelihoods, bounds of what rules do not see, panels, and the integrands that all of these look at."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from clusterglm.data.arrays import from_arrays
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.ladders import ladders
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.outside import log_outside
from clusterglm.likelihood.scalar.panels import lay_panels
from clusterglm.likelihood.scalar.rules import Part, Rule, rule_of_panels
from clusterglm.model.distribution import Bridge, Cauchy, Distribution, Laplace, LogGamma, StudentT
from clusterglm.model.family import RESPONSES
from clusterglm.model.special import log_normal_density

DISTRIBUTIONS = [Cauchy(), StudentT(3.0), Laplace(), Bridge(), LogGamma()]
THETA = np.array([-0.4, 0.7])
DENSE = np.linspace(-37.0, 37.0, 40_001)


class Clusters:
    """Six clusters of few to many trials: one all failures, one all successes, one far out."""

    def __init__(self, code: str) -> None:
        self.model = RESPONSES[code]
        rng = np.random.default_rng(2)
        self.ids = np.repeat(np.arange(6), 2)
        n = np.repeat([2.0, 4.0, 20.0, 5.0, 3.0, 5e4], 2)
        share = np.repeat([0.5, 0.5, 0.9, 0.0, 1.0, 0.002], 2)
        y = np.round(share * n) + self.model.least
        X = np.column_stack([np.ones(12), rng.normal(size=12)])
        data = from_arrays(y, X, 2, self.model, **({"trials": n} if self.model.trials else {}))
        self.data = data
        self.problem = core_problem(data.X, data, self.model)

    def likelihood(self, distribution: Distribution) -> MarginalLikelihood:
        return MarginalLikelihood(self.problem, distribution, "normal")

    def kernel(self, cluster: int, b: np.ndarray) -> np.ndarray:
        """Log-likelihood of a cluster given its intercept."""
        rows = slice(2 * cluster, 2 * cluster + 2)
        eta = self.data.X[rows] @ THETA
        value: np.ndarray = self.model.value(eta[:, None] + b, self.data.a[rows, None], self.data.b[rows, None]).sum(
            axis=0
        )
        return value


@cache
def on_grid(clusters: Clusters, distribution: Distribution, sigma: float) -> np.ndarray:
    """The log-integrands of all six on a dense grid."""
    every, points = np.arange(6, dtype=np.int64), np.broadcast_to(DENSE, (6, len(DENSE)))
    return clusters.likelihood(distribution).log_integrands(np.append(THETA, sigma), every, points)


@pytest.fixture(scope="module", params=list(RESPONSES))
def clusters(request: pytest.FixtureRequest) -> Clusters:
    return Clusters(request.param)


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_integrands_are_density_times_likelihood(clusters: Clusters, d: Distribution, sigma: float) -> None:
    points = np.random.default_rng(1).uniform(-3.0, 3.0, size=(7, 5))
    which = np.array([0, 5, 2, 2, 1, 3, 4], dtype=np.int64)
    got = clusters.likelihood(d).log_integrands(np.append(THETA, sigma), which, points)
    for row, s, cluster in zip(got, points, which, strict=True):
        want = log_normal_density(s) + clusters.kernel(int(cluster), sigma * d.at(sigma).quantile_of_normal(s))
        np.testing.assert_allclose(row, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
def test_summits_are_where_the_likelihood_is_highest(clusters: Clusters, d: Distribution) -> None:
    sigma = 0.8
    found = clusters.likelihood(d).summits(np.append(THETA, sigma))
    for i, (s, width) in enumerate(zip(found.s, found.width, strict=True)):
        if np.isinf(s):
            assert i == 3 or (i == 4 and clusters.model.family == "binomial")
            continue
        best = minimize_scalar(lambda b, i=i: -clusters.kernel(i, np.array([b]))[0], bracket=(-1.0, 1.0), tol=1e-12)
        assert sigma * d.at(sigma).quantile_of_normal(np.array([s]))[0] == pytest.approx(best.x, abs=1e-4)
        step = 0.01 * width
        at = sigma * d.at(sigma).quantile_of_normal(s + step * np.array([-1.0, 0.0, 1.0]))
        below, here, above = clusters.kernel(i, at)
        assert (2.0 * here - below - above) / step**2 * width**2 == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize(("low", "high"), [(-2.0, 1.0), (-0.1, 0.1), (-9.0, 9.0), (1.5, 4.0)])
@pytest.mark.parametrize("unit", [0.01, 1.0, np.inf])
def test_what_lies_outside_is_bounded(
    clusters: Clusters, d: Distribution, low: float, high: float, unit: float
) -> None:
    sigma, every = 0.9, np.arange(6, dtype=np.int64)
    likelihood, theta = clusters.likelihood(d), np.append(THETA, sigma)

    def heights(points: np.ndarray) -> np.ndarray:
        return likelihood.log_integrands(theta, every, points) - log_normal_density(points)

    bound = log_outside(heights, np.full(6, low), np.full(6, high), likelihood.summits(theta), np.full(6, unit))
    g = on_grid(clusters, d, sigma)
    outside = np.abs(DENSE - 0.5 * (low + high)) > 0.5 * (high - low)
    true = logsumexp(g[:, outside], axis=1) + np.log(DENSE[1] - DENSE[0])
    assert np.all(bound >= true - 2e-2)  # the grid's own error where the density falls steeply
    if unit < 1.0 and clusters.model.family == "binomial":
        whole = logsumexp(g, axis=1) + np.log(DENSE[1] - DENSE[0])
        assert np.all(bound - np.maximum(true, whole - 20.0) < 8.0)  # of use as well


@pytest.mark.parametrize("d", DISTRIBUTIONS, ids=lambda d: d.name)
@pytest.mark.parametrize("sigma", [1e-4, 0.05, 1.5])
def test_panels_integrate_what_they_say(clusters: Clusters, d: Distribution, sigma: float) -> None:
    likelihood, theta = clusters.likelihood(d), np.append(THETA, sigma)

    def log_integrands(which: np.ndarray, points: np.ndarray) -> np.ndarray:
        return likelihood.log_integrands(theta, which, points)

    summits = likelihood.summits(theta)
    kinks = d.at(sigma).kinks
    rough, fine = (lay_panels(log_integrands, summits, kinks, np.full(6, each)) for each in (1e-4, 1e-10))
    for i, (panels, better) in enumerate(zip(rough, fine, strict=True)):
        if np.abs(summits.s[i]) == summits.reach:  # as good as impossible: no bound can be had
            assert better.error > 1e-3 or better.value > -600.0
            continue
        assert panels.error <= 1e-4
        assert better.error <= 1e-9
        assert abs(panels.value - better.value) <= panels.error + better.error
        cluster = np.array([i], dtype=np.int64)
        value = likelihood.evaluate(theta, (Part(rule_of_panels(better.edges), cluster),), 0).value
        assert value == pytest.approx(better.value, rel=1e-12)
        if sigma > 1.0 and i < 5:
            dense = logsumexp(log_integrands(cluster, DENSE[None, :])[0]) + np.log(DENSE[1] - DENSE[0])
            assert abs(better.value - dense) < 1e-8


@pytest.mark.parametrize("d", [Cauchy(), StudentT(0.7), StudentT(4.0)], ids=lambda d: d.name)
@pytest.mark.parametrize("sigma", [0.01, 1.0, 20.0])
def test_rules_of_heavy_tails_hold_all_probability(d: Distribution, sigma: float) -> None:
    for rule in ladders(d, sigma).narrow[2:]:
        s, log_weights = rule.points
        assert logsumexp(log_weights + log_normal_density(s)) == pytest.approx(0.0, abs=2e-5)
        assert sigma * d.quantile_of_normal(s[-1:])[0] >= 60.0


def test_a_mode_too_narrow_for_a_look_around_is_found() -> None:
    """The likelihood's own, where the prior's hides it: adaptive rules go to the higher of the two."""
    model = RESPONSES["binomial_logit"]
    y, n = np.array([700.0, 3.0]), np.array([1000.0, 10.0])
    data = from_arrays(y, np.ones((2, 1)), 1, model, trials=n)
    likelihood = MarginalLikelihood(core_problem(data.X, data, model), Cauchy(), "normal")
    theta = np.array([-0.5, 1e-4])
    mode = likelihood.modes(theta)[0]
    assert 1e-4 * Cauchy().quantile_of_normal(np.array([mode]))[0] == pytest.approx(np.log(7.0 / 3.0) + 0.5, abs=0.01)
    cluster = np.array([0], dtype=np.int64)
    panels = lay_panels(
        lambda i, s: likelihood.log_integrands(theta, i, s), likelihood.summits(theta), (), np.full(2, 1e-9)
    )
    value = likelihood.cluster_values(theta, Rule(45, 9.5, about_mode=True), cluster)[0][0]
    assert value == pytest.approx(panels[0].value, abs=1e-8)
