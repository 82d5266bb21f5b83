"""Automatic rules of many clusters at once: whether the errors that they report bound the true ones."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.data.arrays import from_arrays
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.choice import choose_plan
from clusterglm.likelihood.scalar.ladders import ladders
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import Rule
from clusterglm.model.distribution import Bridge, Cauchy, Distribution, Gaussian, Laplace, LogGamma, Logistic, StudentT
from clusterglm.model.family import RESPONSES

EXACT = Rule(801, 40.0, about_mode=True)


def likelihood_of(
    code: str, size: int, clusters: int, sigma: float, distribution: Distribution | None = None, intercept: float = 0.3
) -> tuple[MarginalLikelihood, np.ndarray]:
    model = RESPONSES[code]
    rng = np.random.default_rng(size)
    n = size * clusters
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2)) * (1.0 if model.family == "binomial" else 0.4)])
    theta = np.array([intercept, -0.5, 0.8, sigma])
    mean = model.mean(X @ theta[:3] + np.repeat(sigma * rng.normal(size=clusters), size))
    y = rng.random(n) < mean if model.family == "binomial" else model.simulate(rng, mean)
    data = from_arrays(y.astype(float), X, size, model)
    problem = core_problem(data.X, data, model)
    return MarginalLikelihood(problem, distribution or Gaussian(), "normal"), theta


@pytest.mark.parametrize("code", RESPONSES)
@pytest.mark.parametrize("size", [1, 5, 20])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.0])
def test_reported_errors_bound_the_true_ones(code: str, size: int, sigma: float) -> None:
    m = 4500  # more than get rules one by one
    likelihood, theta = likelihood_of(code, size, m, sigma)
    choice = choose_plan(likelihood, theta, 1e-6, unimodal=True)
    found, exact = np.zeros(m), likelihood.cluster_values(theta, EXACT, None)[0]
    for part in choice.plan:
        clusters = np.arange(m) if part.clusters is None else part.clusters
        found[clusters] = likelihood.cluster_values(theta, part.rule, clusters)[0]
    rounding = 2e-14 * (1.0 + np.abs(exact)).sum()
    assert np.abs(found - exact).sum() <= choice.error + rounding
    assert choice.error < 1e-6


@pytest.mark.parametrize("code", ["binomial_logit", "poisson_log"])
@pytest.mark.parametrize(
    "d", [Cauchy(), StudentT(3.0), Logistic(), Bridge(), LogGamma(), Laplace()], ids=lambda d: d.name
)
@pytest.mark.parametrize(("intercept", "sigma"), [(0.3, 0.5), (-2.0, 3.0)])
def test_so_do_those_of_other_distributions(code: str, d: Distribution, intercept: float, sigma: float) -> None:
    """Beside a trapezoid rule on the whole normal scale, which their own rules have nothing to do with."""
    if code == "poisson_log":  # the dense rule resolves counts up to some hundreds
        sigma = min(sigma, 0.5)
    likelihood, theta = likelihood_of(code, 5, 4500, sigma, d, intercept)
    choice = choose_plan(likelihood, theta, 1e-6, d.unimodal)
    dense = Rule(1_202, 16.0, (0.0,)) if d.kinks else Rule(2_001, 16.0)
    exact = likelihood.cluster_values(theta, dense, None)[0]
    found = likelihood.evaluate(theta, choice.plan, 0).value
    assert abs(found - exact.sum()) <= choice.error + 3e-13 * (1.0 + np.abs(exact)).sum()  # of many small weights
    assert choice.error < 1e-6
    assert choice.there is not None
    assert choice.there.value == pytest.approx(found, rel=1e-13)


def test_a_single_mode_is_followed_and_several_are_not() -> None:
    likelihood, theta = likelihood_of("binomial_logit", 5, 300, 1.0)
    every = choose_plan(likelihood, theta, 1e-6, unimodal=True).plan
    assert all(part.rule.about_mode for part in every)
    assert max(part.rule.nodes for part in every) <= 29
    cautious = choose_plan(likelihood, theta, 1e-6, unimodal=False).plan
    assert not any(part.rule.adaptive for part in cautious)


@pytest.mark.parametrize(("distribution", "nodes"), [(Gaussian(), 49), (Cauchy(), 47)], ids=["gaussian", "cauchy"])
def test_rules_have_names_of_their_own(distribution: Gaussian | Cauchy, nodes: int) -> None:
    names = {str(rule) for rule in ladders(distribution).rules}
    assert {f"trapezoid, {nodes} nodes", "adaptive Gauss-Hermite, 8 nodes", "adaptive trapezoid, 25 nodes"} <= names
