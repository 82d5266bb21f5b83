"""The pooled result, against statsmodels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import clusterglm as cg
from clusterglm.results.models.pooled import PooledResult


@pytest.fixture(scope="module")
def peer(pooled: PooledResult) -> Any:
    """statsmodels' fit of the same arrays, rows in cluster order."""
    d = pooled.data
    clusters = np.repeat(np.arange(d.n_clusters), np.diff(d.starts))
    model = sm.GLM(d.a, d.X, family=sm.families.Binomial())
    return model.fit(cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}, tol=1e-12)


def test_estimates(pooled: PooledResult, peer: Any) -> None:
    np.testing.assert_allclose(pooled.params, peer.params, rtol=1e-7)
    np.testing.assert_allclose(pooled.cov(), peer.normalized_cov_params, rtol=2e-6)  # theirs is one step older
    assert pooled.loglik == pytest.approx(peer.llf)
    assert pooled.aic == pytest.approx(peer.aic)
    assert pooled.deviance == pytest.approx(peer.deviance)
    assert pooled.df_resid == peer.df_resid


def test_robust_covariance(pooled: PooledResult, peer: Any) -> None:
    np.testing.assert_allclose(pooled.cov("robust"), 50 / 49 * peer.cov_params(), rtol=2e-6)


def test_robust_covariance_without_clusters_is_by_row(bacteria: pd.DataFrame, pooled: PooledResult) -> None:
    alone = cg.pooled("yy ~ trt + late", bacteria)
    peer = sm.GLM(pooled.data.a, pooled.data.X, family=sm.families.Binomial()).fit(cov_type="HC0", tol=1e-12)
    np.testing.assert_allclose(alone.cov("robust"), 220 / 219 * peer.cov_params(), rtol=2e-6)
    assert "cluster" not in str(alone.summary()).replace("without cluster effects", "")


@pytest.mark.parametrize("kind", ["response", "pearson", "deviance"])
def test_residuals(pooled: PooledResult, peer: Any, kind: str) -> None:
    found = pooled.residuals(kind)
    np.testing.assert_allclose(found.to_numpy()[pooled.data.row_index], getattr(peer, f"resid_{kind}"), rtol=1e-6)


def test_predict(bacteria: pd.DataFrame, pooled: PooledResult) -> None:
    np.testing.assert_allclose(pooled.predict(bacteria), pooled.predict())
    np.testing.assert_allclose(pooled.predict().sum(), bacteria.yy.sum())  # the score equation of the intercept
    assert pooled.predict(bacteria, scale="link").name == "linear_predictor"


def test_cluster_weights_enter_the_robust_scores(bacteria: pd.DataFrame) -> None:
    from clusterglm.inference.uncertainty.covariance import pooled_scores

    weighted = bacteria.assign(w=np.where(bacteria.ID < "X10", 2.0, 0.5))
    tight = cg.Control(tol=1e-9)
    fit = cg.pooled("yy ~ trt + late", weighted, cluster="ID", cluster_weights="w", control=tight)
    for by_row in (False, True):
        scores = pooled_scores(fit.data, fit.response, fit.fit.beta, by_row=by_row)
        np.testing.assert_allclose(scores.sum(axis=0), 0.0, atol=1e-6)


def test_simulate_counts(epil: pd.DataFrame) -> None:
    fit = cg.pooled("y ~ lbase + trt", epil, family="poisson")
    draws = fit.simulate(300, seed=np.random.SeedSequence(1))
    np.testing.assert_allclose(draws.mean(axis=1).corr(fit.predict()), 1.0, atol=0.01)
    np.testing.assert_allclose(draws.var(axis=1).sum(), fit.predict().sum(), rtol=0.1)


def test_tidy_and_glance(pooled: PooledResult) -> None:
    assert list(pooled.tidy().term) == list(pooled.params.index)
    assert pooled.glance().loc[0, "n_parameters"] == 4
    assert list(pooled.augment().columns) == ["cluster", "observed", "linear_predictor", "mean", "residual"]
