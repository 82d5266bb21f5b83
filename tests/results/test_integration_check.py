"""Whether the integrals of a fit are accurate enough, as the fit itself says."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

import clusterglm as cg
from clusterglm.errors import AccuracyWarning
from clusterglm.inference.diagnostics.adequacy import _likelihood, quick_difference
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.scalar.marginal import MarginalLikelihood
from clusterglm.likelihood.scalar.rules import single_rule
from clusterglm.results.models.random_effects import RandomEffectsResult


@pytest.fixture(scope="module")
def binary() -> pd.DataFrame:
    """Clusters of three, far apart: hard to integrate."""
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(300), 3)
    x = rng.normal(size=900)
    y = rng.random(900) < expit(0.3 + x + 2.5 * rng.normal(size=300)[cluster])
    return pd.DataFrame({"y": y.astype(int), "x": x, "id": cluster})


def test_coarse_integrals_are_flagged_and_automatic_ones_are_not(binary: pd.DataFrame) -> None:
    coarse = cg.random_effects("y ~ x", binary, cluster="id", quadrature="laplace")
    with pytest.warns(AccuracyWarning, match="Laplace"):
        found = coarse.integration_check()
    assert not found.adequate
    assert np.abs(found.shift).max() > 0.1
    assert 'quadrature="auto"' in str(found)
    assert "Nine adaptive nodes" in str(coarse)
    fine = cg.random_effects("y ~ x", binary, cluster="id")
    good = fine.integration_check()
    assert good.adequate
    assert abs(good.difference) < 1e-6
    assert np.abs(good.shift).max() < 1e-4
    assert "Nine" not in str(fine)
    # at the coarse estimates, the accurate log-likelihood; and the step goes towards the accurate ones
    data = fine.data
    likelihood = MarginalLikelihood(core_problem(data.X, data, fine.response), fine.distribution, "normal")
    accurate = likelihood.evaluate(coarse.fit.theta, fine.fit.plan, 0).value + data.constant
    assert coarse.loglik - accurate == pytest.approx(found.difference, abs=1e-5)
    se = np.sqrt(np.diag(coarse.fit.covariance))
    np.testing.assert_array_equal(np.sign(found.shift), np.sign(fine.fit.theta - coarse.fit.theta))
    np.testing.assert_allclose(found.shift, (fine.fit.theta - coarse.fit.theta) / se, rtol=0.6)


def test_the_worst_cluster_is_named(golden_frame: Any) -> None:
    data = golden_frame("cbpp_grouped")
    fit = cg.random_effects("cbind(incidence, size - incidence) ~ period", data, cluster="herd", quadrature="laplace")
    found = fit.integration_check()
    assert found.adequate
    assert 0.0 < abs(found.worst) < abs(found.difference) < 0.1
    assert f"cluster {found.worst_cluster} alone" in str(found)


def test_nothing_to_integrate(at_zero: RandomEffectsResult, alternating: pd.DataFrame) -> None:
    assert at_zero.integration_check().adequate
    coarse = cg.random_effects("y ~ x", alternating, cluster="id", quadrature="laplace")
    with pytest.warns(AccuracyWarning, match="too coarse to see sigma"):
        coarse.integration_check()


def test_sigma_held_fixed_does_not_move(binary: pd.DataFrame) -> None:
    fit = cg.random_effects("y ~ x", binary, cluster="id", quadrature="laplace", sigma=2.5, fix_sigma=True)
    with pytest.warns(AccuracyWarning):
        found = fit.integration_check()
    assert np.isnan(found.shift).tolist() == [False, False, True]


@pytest.mark.parametrize(("nodes", "clusters"), [("laplace", 300), ("laplace", 9000), (3, 9000), (8, 9000)])
def test_the_hint_of_a_sample_is_near_the_difference_of_all(nodes: Any, clusters: int) -> None:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(clusters), 3)
    x = rng.normal(size=len(ids))
    y = (rng.random(len(ids)) < expit(0.3 + x + 1.5 * rng.normal(size=clusters)[ids])).astype(int)
    result = cg.random_effects("y ~ x", {"y": y, "x": x, "id": ids}, cluster="id", quadrature=nodes)
    data, fit = result.data, result.fit
    likelihood = MarginalLikelihood(core_problem(data.X, data, fit.response), fit.distribution, "normal")
    nine = likelihood.evaluate(fit.theta, single_rule(9), 0).value
    apart = likelihood.evaluate(fit.theta, fit.plan, 0).value - nine
    if abs(apart) > 0.1:
        assert quick_difference(fit) == pytest.approx(apart, rel=0.05)
        assert "Nine adaptive" in str(result)
    else:
        assert abs(quick_difference(fit)) < 0.1
        assert "Nine adaptive" not in str(result)


def densities(family: str, link: str | None, fit: Any, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """P(y | linear predictor), or a density, by SciPy."""
    own = fit.family_parameters
    if family == "negative_binomial":
        r = 1.0 / own["alpha"]
        return lambda eta: stats.nbinom.pmf(y, r, r / (r + np.exp(eta)))
    if family == "gamma":
        return lambda eta: stats.gamma.pdf(y, own["shape"], scale=np.exp(eta) / own["shape"])
    if family == "weibull":
        k = own["shape"]
        return lambda eta: stats.weibull_min.pdf(y, k, scale=np.exp(-eta / k))
    if family == "beta_binomial":
        return lambda eta: stats.betabinom.pmf(y, 5, own["phi"] * expit(eta), own["phi"] * expit(-eta))
    below = stats.norm.cdf if link == "probit" else expit
    edges = np.concatenate([[-np.inf], fit.thresholds, [np.inf]])
    return lambda eta: below(edges[y + 1] - eta) - below(edges[y] - eta)


@pytest.mark.parametrize(
    ("family", "link", "formula"),
    [
        ("negative_binomial", None, "y ~ x"),
        ("gamma", None, "y ~ x"),
        ("weibull", None, "Surv(y, seen) ~ x"),
        ("beta_binomial", None, "cbind(y, 5 - y) ~ x"),
        ("ordinal", None, "y ~ x"),
        ("ordinal", "probit", "y ~ x"),
    ],
)
def test_fits_by_laplace_with_parameters_of_the_response_print_what_they_are_off_by(
    family: str, link: str | None, formula: str
) -> None:
    """Held against a dense rule over SciPy's densities; the summary of such a fit used to fail."""
    rng = np.random.default_rng(7)
    ids, x = np.repeat(np.arange(150), 2), rng.normal(size=300)
    eta = -0.5 + 0.5 * x + 1.6 * rng.normal(size=150)[ids]
    y = {
        "negative_binomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, 300)),
        "gamma": lambda: np.exp(eta) * rng.gamma(0.3, 1 / 0.3, 300) + 1e-6,
        "weibull": lambda: (rng.exponential(size=300) * np.exp(-eta)) ** 2.0 + 1e-6,
        "beta_binomial": lambda: rng.binomial(5, rng.beta(2.0 * expit(eta), 2.0 * expit(-eta))),
        "ordinal": lambda: np.searchsorted([-0.5, 1.0], eta + rng.logistic(size=300)),
    }[family]()
    data = {"y": y, "x": x, "id": ids, "seen": np.ones(300, dtype=int)}
    fit = cg.random_effects(formula, data, cluster="id", family=family, link=link, quadrature="laplace")
    s = np.linspace(-9.0, 9.0, 721)
    each = densities(family, link, fit, y)
    linear = x * fit.params["x"] + fit.params.get("(Intercept)", 0.0)
    rows = np.array([each(linear + fit.sigma * node) for node in s])
    integrals = (stats.norm.pdf(s)[:, None] * rows.reshape(len(s), 150, 2).prod(axis=2)).sum(axis=0) * (s[1] - s[0])
    off = fit.loglik - np.log(integrals).sum()
    assert abs(off) > 0.1
    assert quick_difference(fit.fit) == pytest.approx(off, rel=0.05)
    said = re.search(r"Nine adaptive nodes change the log-likelihood by (\S+) at", " ".join(str(fit).split()))
    assert said is not None
    assert float(said[1]) == pytest.approx(-off, rel=0.1)
    assert "integration_check" not in str(fit)


@pytest.mark.parametrize("quadrature", ["laplace", 3, 15])
@pytest.mark.parametrize("options", [{"zero_inflation": "~ 1"}, {"hurdle": "~ 1"}], ids=["inflated", "hurdle"])
@pytest.mark.parametrize("family", ["poisson", "negative_binomial"])
def test_fits_by_a_fixed_rule_with_a_zero_part_print(family: str, options: dict[str, str], quadrature: Any) -> None:
    data = cg.datasets.load("salamanders")
    fit = cg.random_effects("count ~ mined", data, cluster="site", family=family, quadrature=quadrature, **options)
    assert "Log-likelihood" in str(fit)


def test_rules_are_chosen_by_the_weights_of_clusters():
    """What lies outside a rule's nodes is held against the integral, not against its power by the cluster's weight."""
    rng = np.random.default_rng(4)
    ids, x = np.repeat(np.arange(40), 5), rng.normal(size=200)
    y = (rng.random(200) < 1.0 / (1.0 + np.exp(-x - rng.standard_cauchy(40)[ids]))).astype(int)
    data = {"y": y, "x": x, "id": ids, "w": np.where(ids % 2, 40.0, 0.01)}
    fit = cg.random_effects("y ~ x", data, cluster="id", distribution="cauchy", cluster_weights="w")
    np.testing.assert_array_equal(
        _likelihood(fit.fit, fit.data, fit.data.X, fit.response).weights, fit.data.cluster_weights
    )
