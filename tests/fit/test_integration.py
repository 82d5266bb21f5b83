"""Automatic rules of many clusters at once: whether the errors that they report bound the true ones."""

from __future__ import annotations

import numpy as np
import pytest

from clusterglm.data.arrays import from_arrays
from clusterglm.fit.integration import choose_plan, ladders
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.marginal import MarginalLikelihood
from clusterglm.likelihood.rules import Rule
from clusterglm.model.distribution import Cauchy, Gaussian
from clusterglm.model.family import RESPONSES

EXACT = Rule(801, 40.0, about_mode=True)


def likelihood_of(code: str, size: int, clusters: int, sigma: float) -> tuple[MarginalLikelihood, np.ndarray]:
    model = RESPONSES[code]
    rng = np.random.default_rng(size)
    n = size * clusters
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2)) * (1.0 if model.family == "binomial" else 0.4)])
    theta = np.array([0.3, -0.5, 0.8, sigma])
    mean = model.mean(X @ theta[:3] + np.repeat(sigma * rng.normal(size=clusters), size))
    y = rng.random(n) < mean if model.family == "binomial" else rng.poisson(mean)
    data = from_arrays(y.astype(float), X, size, model)
    problem = core_problem(data.X, data, model)
    return MarginalLikelihood(problem, clusters, 3, Gaussian(), "normal"), theta


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


def test_a_single_mode_is_followed_and_several_are_not() -> None:
    likelihood, theta = likelihood_of("binomial_logit", 5, 300, 1.0)
    every = choose_plan(likelihood, theta, 1e-6, unimodal=True).plan
    assert all(part.rule.about_mode for part in every)
    assert max(part.rule.nodes for part in every) <= 29
    cautious = choose_plan(likelihood, theta, 1e-6, unimodal=False).plan
    assert not any(part.rule.adaptive for part in cautious)


@pytest.mark.parametrize("distribution", [Gaussian(), Cauchy()], ids=lambda d: d.name)
def test_rules_have_names_of_their_own(distribution: Gaussian | Cauchy) -> None:
    names = {str(rule) for rule in ladders(distribution).rules}
    assert {"trapezoid, 49 nodes", "adaptive Gauss-Hermite, 8 nodes", "adaptive trapezoid, 25 nodes"} <= names
