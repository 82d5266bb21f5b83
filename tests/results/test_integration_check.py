"""Whether the integrals of a fit are accurate enough, as the fit itself says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
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
        assert quick_difference(fit, data) == pytest.approx(apart, rel=0.05)
        assert "Nine adaptive" in str(result)
    else:
        assert abs(quick_difference(fit, data)) < 0.1
        assert "Nine adaptive" not in str(result)


def test_rules_are_chosen_by_the_weights_of_clusters():
    """What lies outside a rule's nodes is held against the integral, not against its power by the cluster's weight."""
    rng = np.random.default_rng(4)
    ids, x = np.repeat(np.arange(40), 5), rng.normal(size=200)
    y = (rng.random(200) < 1.0 / (1.0 + np.exp(-x - rng.standard_cauchy(40)[ids]))).astype(int)
    data = {"y": y, "x": x, "id": ids, "w": np.where(ids % 2, 40.0, 0.01)}
    fit = cg.random_effects("y ~ x", data, cluster="id", distribution="cauchy", cluster_weights="w")
    np.testing.assert_array_equal(_likelihood(fit.fit, fit.data, fit.data.X).weights, fit.data.cluster_weights)
