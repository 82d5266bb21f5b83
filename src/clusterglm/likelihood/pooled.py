"""The likelihood without cluster effects: beta -> value, score, Hessian."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clusterglm import _core
from clusterglm.likelihood.evaluation import Evaluation, OwnArrays, core_problem
from clusterglm.model.arrays import Array
from clusterglm.model.parameters import random_intercept
from clusterglm.model.response.base import Response

_ROWS_TOGETHER = 8  # rows of the same weight that are summed as one cluster
_ONE_NODE = _core.Rule(False, False, np.zeros(1), np.array([0.5 * np.log(2.0 * np.pi)]))


def evaluate_pooled(problem: _core.Problem, beta: Array, order: int = 2, threads: int = 1) -> Evaluation:
    """Log-likelihood (without constants) of independent rows, cluster weights included.

    Parameters
    ----------
    problem : Problem
        The data.
    beta : ndarray, shape (p,)
        Coefficients of the columns of the problem's X.
    order : {0, 1, 2}
        Highest derivative wanted; the others come back as zeros.
    threads : int
        Threads to use; results are the same bits for any number.
    """
    p = len(beta)
    score, hessian = np.zeros(p), np.zeros((p, p))
    value = _core.pooled(problem, np.ascontiguousarray(beta), order, score, hessian, None, threads)
    return Evaluation(value, score, hessian)


def evaluate_pooled_with_own(
    X: Array, data: OwnArrays, response: Response, beta: Array, threads: int = 1
) -> Evaluation:
    """The same of rows whose kernel has parameters of its own, with derivatives in these behind those in beta.

    It is the integral over intercepts without spread, at one node, where its weight makes up for the normal density's.
    Sums are the same bits whatever clusters the rows are in.
    """
    first = np.arange(0, len(X), _ROWS_TOGETHER, dtype=np.int64)
    weights = np.full(len(first), data.cluster_weights[0])
    if np.ptp(data.cluster_weights) > 0.0:
        of_rows = np.repeat(data.cluster_weights, np.diff(data.starts))
        runs = np.concatenate([[0], np.flatnonzero(np.diff(of_rows)) + 1, [len(X)]])
        places = np.arange(len(X)) - np.repeat(runs[:-1], np.diff(runs))
        first = np.flatnonzero(places % _ROWS_TOGETHER == 0).astype(np.int64)
        weights = of_rows[first]
    starts = np.append(first, len(X))
    m, problem = len(weights), core_problem(X, replace(data, starts=starts, cluster_weights=weights), response)
    derived = random_intercept(problem.n_coefficients + problem.n_own)
    score, hessian = np.zeros(len(derived)), np.zeros((len(derived), len(derived)))
    value = _core.marginal(
        problem,
        _core.gaussian(),
        _ONE_NODE,
        random_intercept(problem.n_coefficients).joined(beta, 0.0),
        2,
        None,
        np.zeros(m),
        score,
        hessian,
        None,
        None,
        None,
        None,
        np.zeros(m),
        threads,
    )
    inner = derived.coefficients
    return Evaluation(value, score[inner].copy(), hessian[inner, inner].copy())


def cluster_sums(problem: _core.Problem, beta: Array, n_clusters: int, threads: int = 1) -> tuple[Array, Array]:
    """Per cluster, the sums over rows of the first and second derivative of log P in the linear predictor.

    Returns
    -------
    S1, S2 : ndarray, shape (n_clusters,)
    """
    p = len(beta)
    sums = np.empty((n_clusters, 2))
    _core.pooled(problem, np.ascontiguousarray(beta), 0, np.zeros(p), np.zeros((p, p)), sums, threads)
    return sums[:, 0], sums[:, 1]
