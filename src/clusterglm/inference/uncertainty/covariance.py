"""Covariance matrices that hold when the model is wrong: sandwiches of per-cluster scores."""

from __future__ import annotations

import numpy as np

from clusterglm.data.prepare import ModelData
from clusterglm.engine.block import Block
from clusterglm.errors import ClusterError
from clusterglm.fit.estimates import RandomEffectsFit
from clusterglm.fit.sums import Sums, products_of, repeats_in, whole_weights
from clusterglm.likelihood.evaluation import ClusterArrays
from clusterglm.model.arrays import Array
from clusterglm.model.response.base import Response

KINDS = ("observed", "robust")


def sandwich(covariance: Array, scores: Array, repeats: Array) -> Array:
    """m/(m - 1) A (sum of g g') A, robust against misspecification within clusters.

    Parameters
    ----------
    covariance : ndarray, shape (q, q)
        A, the inverse of the observed information.
    scores : ndarray, shape (k, q)
        Score of each cluster at the estimate, weights included.
    repeats : ndarray, shape (k,)
        How many clusters each one stands for, m in all; see `data.repeats`.

    Returns
    -------
    ndarray, shape (q, q)

    Raises
    ------
    ClusterError
        When there is only one cluster.

    Notes
    -----
    Huber (1967), White (1982). A weight of two, where all of them are whole numbers, is two clusters of half the score
    each. Other weights are sampling weights: a cluster's score enters times its weight.
    """
    m = float(repeats.sum())
    _refuse_one(m)
    half = (scores / np.sqrt(repeats)[:, None]) @ covariance
    robust: Array = half.T @ half * (m / (m - 1.0))
    return robust


def sandwich_of_products(covariance: Array, products: Array, m: int) -> Array:
    """Robust covariance from the sum over m clusters of the outer products of their scores, both of shape (q, q)."""
    _refuse_one(m)
    robust: Array = covariance @ products @ covariance * (m / (m - 1.0))
    return robust


def _refuse_one(m: float) -> None:
    if m < 2:
        raise ClusterError(
            "a robust covariance of a single cluster",
            "two clusters or more, independent of each other",
            'kind="observed"',
        )


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
    return _pooled_scores(data.X, data, response, beta, by_row)


def pooled_products(sums: Sums, beta: Array, *, by_row: bool) -> Array:
    """Sum of the outer products of these scores, shape (p, p), over blocks."""
    inside = sum(sums.blocks.each(_products, sums.standard.inside(beta), by_row, whole_weights(sums)))
    back = np.linalg.inv(sums.standard.L)
    return np.asarray(back.T @ inside @ back)


def marginal_products(sums: Sums, fit: RandomEffectsFit) -> Array:
    """Sum of the outer products of `marginal_scores`, shape (p + 1, p + 1), over blocks."""
    theta = fit.parameters.joined(sums.standard.inside(fit.beta), fit.sigma)
    of = sums.marginal(fit.integrator)
    inside = of.outer_products(theta, fit.plan, whole_weights(sums))
    back = np.linalg.inv(fit.parameters.to_user(sums.standard.L))
    return np.asarray(back.T @ inside @ back)


def _products(block: Block, gamma: Array, by_row: bool, whole: tuple[bool, bool]) -> Array:
    scores = _pooled_scores(block.X, block.data, block.response, gamma, by_row)
    repeats = repeats_in(block.data, whole)
    return products_of(scores, repeats.rows if by_row else repeats.clusters)  # by row, there are no weights of clusters


def _pooled_scores(X: Array, data: ClusterArrays, response: Response, beta: Array, by_row: bool) -> Array:
    slope = response.derivatives(X @ beta + data.offset, data.a, data.b)[1]
    slope = slope * np.repeat(data.cluster_weights, np.diff(data.starts))
    if by_row:
        return np.asarray(X * slope[:, None])
    m = len(data.starts) - 1
    cluster = np.repeat(np.arange(m), np.diff(data.starts))
    return np.column_stack([np.bincount(cluster, X[:, j] * slope, m) for j in range(X.shape[1])])


def free_scores(data: ModelData, fit: RandomEffectsFit) -> Array:
    """Each cluster's score in the free parameters of a random-intercept model, shape (m, q)."""
    if fit.sigma == 0.0:
        return pooled_scores(data, fit.response, fit.beta, by_row=False)
    return marginal_scores(data, fit)[:, fit.parameters.free]


def marginal_scores(data: ModelData, fit: RandomEffectsFit) -> Array:
    """Each cluster's score in (beta, sigma) at the estimates of a random-intercept model, shape (m, p + 1)."""
    return fit.integrator.likelihood(data.X, data, fit.response).unit_scores(fit.theta, fit.plan)
