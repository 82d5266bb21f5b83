"""Covariance matrices that hold when the model is wrong: sandwiches of per-cluster scores."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.errors import ClusterError
from clusterglm.fit.random_effects import RandomEffectsFit
from clusterglm.likelihood.evaluation import core_problem
from clusterglm.likelihood.marginal import MarginalLikelihood
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

KINDS = ("observed", "robust")


def sandwich(covariance: Array, scores: Array) -> Array:
    """m/(m - 1) A (sum of g g') A, robust against misspecification within clusters.

    Parameters
    ----------
    covariance : ndarray, shape (q, q)
        A, the inverse of the observed information.
    scores : ndarray, shape (m, q)
        Score g of each cluster at the estimate, weights included.

    Returns
    -------
    ndarray, shape (q, q)

    Raises
    ------
    ClusterError
        When there is only one cluster.

    Notes
    -----
    Huber (1967), White (1982). Weights are taken as sampling weights: a cluster's score enters times its weight, so a
    weight of two is not the same as two clusters here.
    """
    m = len(scores)
    if m < 2:
        raise ClusterError(
            "a robust covariance of a single cluster",
            "two clusters or more, independent of each other",
            'kind="observed"',
        )
    half = scores @ covariance
    robust: Array = half.T @ half * (m / (m - 1.0))
    return robust


def pooled_scores(data: ModelData, response: Response, beta: Array, *, by_row: bool) -> Array:
    """Scores of a model without cluster effects.

    Parameters
    ----------
    data : ModelData
    response : Response
    beta : ndarray, shape (p,)
    by_row : bool
        Each row as a cluster of its own.

    Returns
    -------
    ndarray, shape (m, p), or (n, p) if `by_row`
    """
    slope = response.derivatives(data.X @ beta + data.offset, data.a, data.b)[1]
    slope = slope * np.repeat(data.cluster_weights, np.diff(data.starts))
    if by_row:
        return np.asarray(data.X * slope[:, None])
    m = len(data.starts) - 1
    cluster = np.repeat(np.arange(m), np.diff(data.starts))
    return np.column_stack([np.bincount(cluster, data.X[:, j] * slope, m) for j in range(data.X.shape[1])])


def marginal_scores(data: ModelData, fit: RandomEffectsFit) -> Array:
    """Each cluster's score in (beta, sigma) at the estimates of a random-intercept model, shape (m, p + 1)."""
    likelihood = MarginalLikelihood(
        core_problem(data.X, data, fit.response),
        data.n_clusters,
        len(fit.beta),
        fit.distribution,
        fit.integration.scale,
    )
    return likelihood.cluster_scores(fit.theta, fit.plan)
